"""What would one tell a colleague about this audit, in words made from the numbers?

Every sentence is built from a table; where an input is missing the section says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.agreement import CONFOUNDERS, PROXIES, dominant_confounder, leverage
from analysis.paired import compare_paired
from analysis.result import AuditResult
from analysis.robustness import ABSOLUTE, UNORDERED, dominant_shift, level_name
from analysis.stats import Correlation
from analysis.tables import BASE
from analysis.voxels import TRUTHS

CHANGE = "abs_delta_lesion_vol_mm3"


def summary(audit: AuditResult) -> str:
    """Markdown; one section a question, paragraphs of whole sentences."""
    parts = ["# What the audit found", ""]
    for title, sentences in sections(audit):
        parts += [f"## {title}", "", *(f"- {s}" for s in sentences), ""]
    return "\n".join(parts)


def sections(audit: AuditResult) -> list[tuple[str, list[str]]]:
    """Title and sentences of each section; sections without a sentence are left out."""
    made: list[tuple[str, Iterable[str]]] = [
        ("Read this first", audit.warnings),
        ("Cohort", _cohort(audit)),
        ("Measured change against the truth", _agreement(audit)),
        ("What moves ΔV", _confounders(audit)),
        ("Quality control", _qc(audit)),
        ("Probabilities and uncertainty, voxel by voxel", _voxels(audit)),
        ("Simulated scanner shifts", _robustness(audit)),
        ("What protects", audit.protection.words if audit.protection else ()),
        ("Uncertainty and shift sensitivity", _uncertainty(audit)),
        ("Groups of subjects", _phenotypes(audit)),
        ("What could not be computed", audit.missing),
    ]
    return [(title, said) for title, s in made if (said := list(s))]


def _cohort(audit: AuditResult) -> list[str]:
    n, doubtful = len(audit.base), audit.verdicts["verdict"].str.startswith("Doubtful").sum()
    said = [f"{n} {'subject' if n == 1 else 'subjects'} with a measured change."]
    if audit.flags is not None or audit.sensitivity is not None:
        said.append(
            f"ΔV of {doubtful} of {n} is doubtful, by QC or because shifts alone move it as much "
            "(tables/subjects.csv says why, subject by subject)."
        )
    return said


def _agreement(audit: AuditResult) -> list[str]:
    if audit.agreement is None:
        return []
    said = [_proxy(row) for _, row in audit.agreement.iterrows()]
    truth = _find(audit.correlations, "change_gt_vol_mm3", CHANGE, "spearman")
    if truth is not None:
        said.append(f"|ΔV| follows the true change volume: Spearman ρ = {truth.estimate}.")
    for t in audit.proxy_tests:
        low_high = "" if np.isnan(t.low) else f", 95 % interval {t.low:.3g} to {t.high:.3g}"
        p = "" if np.isnan(t.p_holm) else f", Holm-adjusted p = {t.p_holm:.3g}"
        said.append(
            f"{t.a} less {t.b}: median {t.median_difference:.3g}{low_high}; rank-biserial "
            f"{t.effect:.2f}{p}, n = {t.n}."
        )
    return said


def _proxy(row: pd.Series[float]) -> str:
    name, n = str(row["proxy"]), int(row["n"])
    over, under = int(row["n_over"]), int(row["n_under"])
    verb, count = ("overestimates", over) if over >= under else ("underestimates", under)
    median = row["median_error_mm3"]
    interval = (
        ""
        if np.isnan(row["median_error_low_mm3"])
        else f", 95 % interval {row['median_error_low_mm3']:.0f} to "
        f"{row['median_error_high_mm3']:.0f}"
    )
    return (
        f"`{name}` ({PROXIES[name]}) {verb} in {count} of {n} subjects (median error "
        f"{median:+.0f} mm³{interval}); median Dice {row['dice_median']:.2f}."
    )


def _confounders(audit: AuditResult) -> list[str]:
    said = []
    top = dominant_confounder(list(audit.correlations))
    if top is not None:
        e, given = top.estimate, " at equal true change" if "partial" in top.method else ""
        sure = np.isfinite(e.low) and not e.low <= 0 <= e.high
        said.append(
            f"Dominant confounder of |ΔV|{given}, by rank: {CONFOUNDERS[top.x]} (`{top.x}`), "
            f"ρ = {e}" + ("." if sure else "; the interval does not exclude 0.")
        )
    column = "intensity_diff_p95"
    pearson = _find(audit.correlations, column, CHANGE, "pearson")
    spearman = _find(audit.correlations, column, CHANGE, "spearman")
    if pearson is not None and spearman is not None:
        subject, without = leverage(audit.base, column)
        tail = (
            f" Without {subject}, Pearson r is {without:.2f}: the correlation hangs on one subject."
            if abs(pearson.estimate.value - without) > 0.2
            else ""
        )
        said.append(
            f"Intensity difference between the visits (`{column}`) and |ΔV|: Pearson r = "
            f"{pearson.estimate}; Spearman ρ = {spearman.estimate}.{tail}"
        )
    return said


def _qc(audit: AuditResult) -> list[str]:
    flags, quality = audit.flags, audit.quality
    if flags is None or audit.thresholds is None:
        return []
    review = flags[flags["qc_needs_review"]]
    said = [f"{len(review)} of {len(flags)} subjects need review{_named(review['subject'])}."]
    said += [f"{row['subject']}: {row['qc_reason']}." for _, row in review.iterrows()]
    unsure = flags.loc[flags["qc_change_not_confident"], "subject"]
    said.append(f"Large change that is not to be trusted: {', '.join(unsure) or 'none'}.")
    if quality is not None and quality.n_failures:
        said.append(
            f"{quality.n_failures} of {quality.n} subjects failed (`{quality.column}` ≤ "
            f"{quality.failure_at_most:g}); QC flagged {len(quality.caught)} of them: sensitivity "
            f"{quality.sensitivity}, specificity {quality.specificity}."
        )
        if quality.missed:
            said.append(f"Confident but wrong, missed by QC: {', '.join(quality.missed)}.")
    elif quality is not None:
        said.append(
            f"None of {quality.n} subjects failed (`{quality.column}` ≤ "
            f"{quality.failure_at_most:g}): how good QC is cannot be said."
        )
    return said + _best_uncertainty(audit)


def _best_uncertainty(audit: AuditResult) -> list[str]:
    ranked = audit.discrimination
    if ranked is None or ranked["auroc"].isna().all():
        return []
    best = ranked.iloc[0]
    chance = not best["auroc_low"] > 0.5
    tail = " The interval holds 0.5: not shown to be better than chance." if chance else ""
    return [
        f"Best of {len(ranked)} uncertainties at finding failures: `{best['uncertainty']}`, AUROC "
        f"{best['auroc']:.2f} (95 % interval {best['auroc_low']:.2f} to {best['auroc_high']:.2f}; "
        f"chosen after looking, hence optimistic).{tail}"
    ]


def _voxels(audit: AuditResult) -> list[str]:
    said = []
    for one in audit.voxels.found if audit.voxels else ():
        if one.harmonization != BASE:
            continue
        r, against = one.tally.reliability, f"against {TRUTHS[one.truth]}"
        if r.n:
            over = r.sum_probability.sum() - r.sum_truth.sum()
            said.append(
                f"Calibration {against} ({one.tally.scans} scans, {r.n:,} voxels with "
                f"p ≥ {r.minimum_probability:g}): expected calibration error {r.ece:.3f}; on the "
                f"whole the model is {'surer' if over > 0 else 'less sure'} than it should be."
            )
        gains = {m: c.gain for m, c in one.curves().items() if np.isfinite(c.gain)}
        if gains:
            best = max(gains, key=lambda measure: gains[measure])
            said.append(
                f"Error retention {against}: ordering voxels by `{best}` takes {gains[best]:.0%} "
                f"of the gain that a perfect uncertainty would; the best of {len(gains)} measures."
            )
    return said


def _robustness(audit: AuditResult) -> list[str]:
    rows, table, sensitivity = audit.robustness, audit.robustness_summary, audit.sensitivity
    if rows is None or table is None or sensitivity is None:
        return []
    said = []
    top = dominant_shift(table)
    if top is not None:
        name, level = str(top["shift"]), int(top["level"])
        said.append(
            f"Dominant shift: {name}, {level_name(name, level)}. It alone moves ΔV by a median of "
            f"{top[f'{ABSOLUTE}_median']:.0f} mm³ (IQR {top[f'{ABSOLUTE}_q25']:.0f} to "
            f"{top[f'{ABSOLUTE}_q75']:.0f}; mean {top[f'{ABSOLUTE}_mean']:.0f}, "
            f"n = {int(top[f'{ABSOLUTE}_n'])})."
        )
    if not sensitivity.empty:
        worst = sensitivity.iloc[int(sensitivity["deltav_abs_max"].to_numpy().argmax())]
        said.append(
            f"Most sensitive: {worst['subject']}, by {worst['deltav_abs_max']:.0f} mm³ under "
            f"{worst['worst_shift']}."
        )
    if "relative_risk_max" in sensitivity:
        known = sensitivity["relative_risk_max"].dropna()
        said.append(
            f"In {int((known > 1).sum())} of {len(known)} subjects with a true change, some shift "
            "fakes more change than there really is."
        )
    present = sorted(UNORDERED & set(rows["shift"]))
    if present:
        said.append(
            f"The levels of {', '.join(present)} are opposite directions (brighter, darker), not "
            "severities: level 2 is not more than level 1."
        )
    return said + _control(audit)


def _control(audit: AuditResult) -> list[str]:
    contrast = audit.mode_contrast
    if contrast is None or contrast.empty:
        return []
    # One value a subject: its shifts are not independent of one another.
    means = contrast.groupby("subject")[["t1_only", "both"]].mean()
    test = compare_paired(means["t1_only"], means["both"], ("t1_only", "both"))
    p = "" if np.isnan(test.p_value) else f", p = {test.p_value:.3g}"
    return [
        f"Control: shifting both visits alike moves ΔV by a mean of {means['both'].mean():.0f} "
        f"mm³, the follow-up alone by {means['t1_only'].mean():.0f} mm³ (rank-biserial "
        f"{test.effect:.2f}{p}, n = {test.n})."
    ]


def _uncertainty(audit: AuditResult) -> list[str]:
    said = []
    for c in audit.uncertainty_correlations:
        if c.method == "spearman" and c.estimate.n > 1 and np.isfinite(c.estimate.value):
            said.append(f"`{c.x}` against `{c.y}`: Spearman ρ = {c.estimate}.")
    return said


def _phenotypes(audit: AuditResult) -> list[str]:
    said = []
    for name, p in audit.phenotypes.items():
        sizes = p.profiles["n"].tolist()
        smallest = p.assignments[p.assignments["cluster"] == p.k - 1]
        said.append(
            f"Feature set {name}: {p.k} clusters of {_and(sizes)} subjects (silhouette "
            f"{p.silhouette:.2f}, mean stability {p.assignments['stability'].mean():.2f}, "
            f"n = {len(p.assignments)}); the smallest holds {', '.join(smallest['subject'])}."
        )
        said += p.warnings
        if p.left_out:
            said.append(f"Left out, a feature is undefined: {', '.join(p.left_out)}.")
    if said:
        said.append("These are groups of measurements, not of diseases.")
    return said


def _named(subjects: Iterable[str]) -> str:
    names = list(subjects)
    return f": {', '.join(names)}" if names else ""


def _and(values: Sequence[object]) -> str:
    words = [str(v) for v in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _find(found: Iterable[Correlation], x: str, y: str, method: str) -> Correlation | None:
    matching = (c for c in found if (c.x, c.y, c.method) == (x, y, method))
    return next((c for c in matching if np.isfinite(c.estimate.value)), None)
