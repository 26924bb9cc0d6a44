"""Which figures does an audit have, and what should one look for in each?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis import plots
from analysis import plots_phenotypes as pp
from analysis import plots_robustness as pr
from analysis.agreement import with_change
from analysis.result import AuditResult
from analysis.robustness import ABSOLUTE, RISK
from analysis.stats import Correlation
from analysis.tables import BASE
from analysis.voxels import TRUTHS


@dataclass(frozen=True)
class Picture:
    """A figure with its file name (no suffix), title and what to look for."""

    name: str
    title: str
    look_for: str
    figure: Figure


def gallery(audit: AuditResult) -> Iterator[Picture]:
    """Every figure that the audit's tables allow, drawn one at a time, in reading order."""
    yield from _change(audit)
    yield from _qc(audit)
    yield from _voxels(audit)
    yield from _robustness(audit)
    yield from _phenotypes(audit)


def _change(audit: AuditResult) -> Iterator[Picture]:
    yield Picture(
        "change_per_subject",
        "Measured lesion volume change",
        "Bars that disagree with the diamonds. The truth is the volume of all that changed, so a "
        "shrinking subject has a negative bar and a positive diamond.",
        plots.change_per_subject(audit.base, audit.flagged),
    )
    if audit.agreement is not None and not audit.agreement.empty:
        yield Picture(
            "dice",
            "Overlap with the change truth",
            "How far the subjects of one proxy spread, and how many lie in the failures.",
            plots.dice_dots(audit.base, audit.options.failure_at_most),
        )
    found = _find(audit.correlations, "intensity_diff_p95", "abs_delta_lesion_vol_mm3", "spearman")
    if found is not None:
        yield Picture(
            "intensity_against_change",
            "Does an intensity difference look like change?",
            "A cloud that rises as a whole, and not one subject that makes the correlation.",
            plots.scatter(
                with_change(audit.base),
                found.x,
                found.y,
                labels=("intensity difference, 95th percentile (p1–p99 scaled)", "|ΔV| (mm³)"),
                title="Intensity difference and measured change",
                correlation=found,
                flagged=audit.flagged,
            ),
        )


def _qc(audit: AuditResult) -> Iterator[Picture]:
    if audit.together is None:
        return
    x, column = f"unc_{audit.options.primary}_mean_lesion_t1", audit.options.failure_column
    found = _find(audit.uncertainty_correlations, x, f"1 - {column}", "spearman")
    if found is not None:
        yield Picture(
            "uncertainty_against_error",
            "Uncertainty against error",
            "Points at the upper left: wrong, and not uncertain. No ensemble finds them.",
            plots.scatter(
                audit.together.assign(**{found.y: 1 - audit.together[column]}),
                found.x,
                found.y,
                labels=(f"{audit.options.primary}, mean in lesion at follow-up", f"1 − {column}"),
                title="Uncertainty against error",
                correlation=found,
                flagged=audit.flagged,
            ),
        )
    ranked = audit.discrimination
    if ranked is not None and ranked["auroc"].notna().any():
        yield Picture(
            "qc_roc",
            "Does uncertainty find failures?",
            "Curves well above the diagonal, with an interval above 0.5.",
            plots.qc_roc(audit.together, ranked, column, audit.options.failure_at_most),
        )


def _voxels(audit: AuditResult) -> Iterator[Picture]:
    """Of the engine alone; behind a harmonization the tables have them."""
    for one in audit.voxels.found if audit.voxels else ():
        if one.harmonization != BASE:
            continue
        truth = TRUTHS[one.truth]
        yield Picture(
            f"reliability_{one.truth}",
            f"Does a probability mean what it says? Against {truth}",
            "Points below the diagonal: the model is surer than it should be. Bins with few "
            "voxels (below) say little.",
            plots.reliability_diagram(one.tally.reliability),
        )
        if curves := one.curves():
            yield Picture(
                f"retention_{one.truth}",
                f"Are the uncertain voxels the wrong ones? Against {truth}",
                "Curves near the dashed line: handing over the most uncertain voxels removes the "
                "errors. On the dotted line uncertainty says nothing.",
                plots.retention(curves),
            )


def _robustness(audit: AuditResult) -> Iterator[Picture]:
    rows, summary, sensitivity = audit.robustness, audit.robustness_summary, audit.sensitivity
    if rows is None or summary is None or sensitivity is None:
        return
    kinds = {
        ABSOLUTE: "change",
        "dice_sym_minus_base": "dice",
        "dice_tight_minus_base": "dice_tight",
    }
    for mode in sorted(set(rows["mode"]), reverse=True):
        for column, name in kinds.items():
            if column in rows and rows.loc[rows["mode"] == mode, column].notna().any():
                yield Picture(
                    f"robustness_{name}_{mode}",
                    f"{pr.LABELS[column]} under shifts, mode {mode}",
                    "Median and IQR show the typical subject, mean and SD the tail. Mode both is "
                    "the control: shifting both visits alike should move ΔV less.",
                    pr.robustness_curves(rows, summary, column, mode),
                )
    if not sensitivity.empty:
        yield Picture(
            "worst_subjects",
            "Whose change is least to be trusted?",
            "Subjects far to the right: the named shift alone moves their ΔV by this much.",
            pr.worst_subjects(sensitivity),
        )
    if RISK in rows and rows[RISK].notna().any():
        yield Picture(
            "relative_risk",
            "Spurious against true change",
            "Triangles in the shaded area: a scanner difference could fake more than the change.",
            pr.relative_risk(rows),
        )
    yield from _sensitivity(audit)
    if audit.protection is not None:
        for mode in sorted(set(audit.protection.removed["mode"]), reverse=True):
            yield Picture(
                f"protection_{mode}",
                f"What each harmonization removes, mode {mode}",
                "Bars whose interval stays right of 0. Left of 0 the harmonization adds change.",
                pr.protection_bars(audit.protection, mode),
            )


def _sensitivity(audit: AuditResult) -> Iterator[Picture]:
    if audit.together is None or audit.sensitivity is None:
        return
    x = f"unc_{audit.options.primary}_mean_lesion_t1"
    for y, label in (
        ("deltav_abs_p95", "95th percentile of |ΔΔV| (mm³)"),
        ("dice_sym_drop_p05", "Dice drop, 5th percentile"),
    ):
        found = _find(audit.uncertainty_correlations, x, y, "spearman")
        if found is not None and found.estimate.n > 1:
            yield Picture(
                f"uncertainty_against_{y}",
                "Uncertainty against shift sensitivity",
                "Points at the upper left: sensitive to the scanner and not uncertain. QC passes "
                "them, only the shifts find them.",
                plots.scatter(
                    audit.together.merge(audit.sensitivity, on="subject"),
                    x,
                    y,
                    labels=(f"{audit.options.primary}, mean in lesion at follow-up", label),
                    title="Uncertainty against shift sensitivity",
                    correlation=found,
                    flagged=audit.flagged,
                ),
            )


def _phenotypes(audit: AuditResult) -> Iterator[Picture]:
    for name, found in audit.phenotypes.items():
        yield Picture(
            f"pca_{name}",
            f"Groups by feature set {name}",
            "Whether clusters are groups or one subject far away, and which feature pulls it.",
            pp.pca(found, audit.flagged),
        )
        yield Picture(
            f"coassignment_{name}",
            f"Stability of the groups by feature set {name}",
            "Solid blocks: the grouping does not depend on where k-means starts.",
            pp.coassignment(found),
        )


def _find(found: tuple[Correlation, ...], x: str, y: str, method: str) -> Correlation | None:
    matching = (c for c in found if (c.x, c.y, c.method) == (x, y, method))
    return next((c for c in matching if c.estimate.n > 1), None)
