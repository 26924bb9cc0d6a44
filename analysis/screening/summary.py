"""What did screening find, in sentences? For ``summary.md``, the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.report.words import count, listed
from analysis.screening.measures import Measure, level_name
from analysis.screening.result import Evidence, Screening
from analysis.screening.thresholds import BOTH, FIXED, HALVES, HIGH, YOUDEN

RESEARCH = (
    "For research only: no medical device, no diagnosis. A high score says that the model is "
    "unsure, not that a vertebra is transitional; a low one does not exclude it."
)
GENERATED = (
    "The default weights were trained on generated normal spines, never on patients. What they do "
    "on real scans has to be shown on real scans with labels."
)
GENERATED_LABELS = (
    "The labels come with generated spines. Every number below is about generated cases and says "
    "nothing on how patients would be screened."
)


@dataclass(frozen=True)
class Summary:
    """Sentences by section, of each engine.

    Attributes
    ----------
    warnings : tuple of str
    sections : tuple of (title, sentences)
    """

    title: str
    warnings: tuple[str, ...]
    sections: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        lines = [f"# {self.title}", ""]
        lines += [line for warning in self.warnings for line in (f"> {warning}", "")]
        for title, sentences in self.sections:
            lines += [f"## {title}", "", *(f"- {sentence}" for sentence in sentences), ""]
        return "\n".join(lines)


def summarize(title: str, warnings: Sequence[str], found: Sequence[Screening]) -> Summary:
    """Everything worth a sentence."""
    several = len(found) > 1
    sections = [
        (f"{name} ({one.engine})" if several else name, said)
        for one in found
        for name, said in _sections(one)
        if said
    ]
    return Summary(title, tuple(warnings), tuple(sections))


def _sections(one: Screening) -> list[tuple[str, tuple[str, ...]]]:
    evidence = one.evidence
    found = [("Studies", tuple(cohort_sentences(one)))]
    if evidence is not None:
        found += [
            ("Does it tell them apart?", tuple(discrimination_sentences(evidence))),
            ("Thresholds", tuple(threshold_sentences(evidence))),
            ("Measures against each other", tuple(comparison_sentences(evidence))),
            ("As a probability", tuple(calibration_sentences(evidence))),
        ]
    return [
        *found,
        ("Risk groups", (*group_sentences(one), *misfit_sentences(one))),
        ("What could not be computed", one.missing),
    ]


def cohort_sentences(one: Screening) -> Iterator[str]:
    """Who was measured, and who has a label."""
    yield f"{count(len(one.table), 'study', 'studies')} measured by {one.engine}."
    if one.evidence is None:
        return
    join, labels = one.evidence.join, one.evidence.labels
    lstv = int(one.evidence.positive.sum())
    yield (
        f"{len(join.labelled)} of them have a label in {labels.source}: {lstv} transitional, "
        f"{len(join.labelled) - lstv} normal."
    )
    if join.unlabelled:
        names = listed(join.unlabelled)
        yield f"Measured, but without a label, left out of the statistics: {names}."
    if join.failed:
        yield f"Labelled, but without measures since they failed: {listed(join.failed)}."
    if join.unknown:
        yield f"Labelled, but not of this study: {listed(join.unknown)}."
    if labels.repeated:
        yield f"{count(labels.repeated, 'line')} of the labels repeat an earlier one."


def area_text(row: pd.Series) -> str:
    """``0.87 (95 % interval 0.75 to 0.94; 16 transitional, 24 normal)``."""
    interval = (
        f"95 % interval {row['auroc_low']:.2f} to {row['auroc_high']:.2f}; "
        if np.isfinite(row["auroc_low"])
        else ""
    )
    return (
        f"{row['auroc']:.2f} ({interval}{row['n_lstv']:.0f} transitional, "
        f"{row['n_normal']:.0f} normal)"
    )


def discrimination_sentences(evidence: Evidence) -> Iterator[str]:
    """AUROC of the best measure, what choosing it is worth, and what points the wrong way."""
    best = evidence.best
    if best is None:
        return
    row = evidence.area(best)
    yield f"Best of the measures that screen: `{best.column}`, AUROC {area_text(row)}."
    if "average_precision" in row and np.isfinite(row["average_precision"]):
        share = row["n_lstv"] / (row["n_lstv"] + row["n_normal"])
        yield (
            f"Its average precision is {row['average_precision']:.2f}"
            f"{_interval(row, 'average_precision')}; chance would get {share:.2f}."
        )
    for chosen in evidence.selection.to_dict("records"):
        yield (
            f"Chosen on the {chosen['chosen_on']}, the best is `{chosen['measure']}`; on the "
            f"{chosen['judged_on']} it has AUROC {chosen['auroc']:.2f} "
            f"({chosen['auroc_low']:.2f} to {chosen['auroc_high']:.2f}, n = {chosen['n']})."
        )
    backwards = evidence.areas[evidence.areas["auroc_high"] < 0.5]["measure"]
    if len(backwards):
        yield (
            "Against what was declared, lower where it should be higher or the reverse: "
            f"{listed([f'`{name}`' for name in backwards])}."
        )
    undefined = evidence.areas[evidence.areas["n_undefined"] > 0]
    if len(undefined):
        worst = undefined.sort_values("n_undefined", ascending=False)
        said = [f"`{m}` ({n})" for m, n in zip(worst["measure"], worst["n_undefined"], strict=True)]
        yield f"Not defined in some studies, which are left out of that measure: {listed(said)}."


def judged(evidence: Evidence, measure: Measure, rule: str, on: str = BOTH) -> pd.Series | None:
    """The row of `thresholds` of a measure and rule; `on` is where it was chosen."""
    table = evidence.thresholds
    if table.empty:
        return None
    mine = table[
        (table["measure"] == measure.column) & (table["rule"] == rule) & (table["chosen_on"] == on)
    ]
    return None if mine.empty else mine.iloc[0]


def threshold_sentences(evidence: Evidence) -> Iterator[str]:
    """Sensitivity and specificity of the best measure where its thresholds were not chosen."""
    best = evidence.best
    if best is None:
        return
    for rule in (YOUDEN, FIXED):
        for on in HALVES:
            row = judged(evidence, best, rule, on)
            if row is not None:
                yield (
                    f"`{best.column}` {row['suspicious']} {row['threshold']:.{best.kind.digits}f} "
                    f"({rule}, chosen on the {on}): {rates_text(row)} on the {row['judged_on']}."
                )
        row = judged(evidence, best, rule)
        if row is not None:
            yield f"{rule}, {BOTH}: {rates_text(row)}."
    table = evidence.thresholds
    for configured in table[table["rule"] == HIGH].to_dict("records") if len(table) else ():
        yield (
            f"`{configured['measure']}` > {configured['threshold']:g} (study.yaml): "
            f"{rates_text(pd.Series(configured))} of all."
        )


def rates_text(row: pd.Series) -> str:
    """``sensitivity 0.80 (0.49 to 0.94), specificity …``."""
    said = [f"{name} {row[name]:.2f}{_interval(row, name)}" for name in
            ("sensitivity", "specificity") if np.isfinite(row[name])]  # fmt: skip
    return ", ".join(said)


def _interval(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""


def comparison_sentences(evidence: Evidence) -> Iterator[str]:
    """Which measures the best one beats beyond chance."""
    best, table = evidence.best, evidence.comparison
    if best is None or table.empty or table["p_holm"].isna().all():
        return
    mine = table[((table["a"] == best.column) | (table["b"] == best.column))]
    sure = mine[mine["p_holm"] < 0.05]
    others = [
        f"`{a if b == best.column else b}`" for a, b in zip(sure["a"], sure["b"], strict=True)
    ]
    tests = int(table["p_value"].notna().sum())
    yield (
        f"`{best.column}` ranks better than {listed(others)}"
        if others
        else f"No other measure is beaten by `{best.column}` beyond chance"
    ) + f" (paired DeLong, p < 0.05 after Holm over {count(tests, 'test')})."


def calibration_sentences(evidence: Evidence) -> Iterator[str]:
    """Brier score of the best measure."""
    best, table = evidence.best, evidence.calibration
    if best is None or table.empty:
        return
    for method, rows in table[table["measure"] == best.column].groupby("method", sort=False):
        row = rows.iloc[0]
        yield (
            f"`{best.column}` as a probability ({method}, fitted on the other half): Brier "
            f"{row['brier']:.3f}, against {row['brier_base']:.3f} for the share alone, "
            f"n = {row['n_all']}."
        )


def group_sentences(one: Screening) -> Iterator[str]:
    """Size of each risk group, and its share of transitional spines."""
    level = level_name(one.config.score_level)
    for row in one.groups.to_dict("records"):
        bounds = f" (entropy at {level} {row['entropy']})" if row["entropy"] else ""
        said = f"{row['risk'].capitalize()} risk{bounds}: {count(row['n'], 'study', 'studies')}"
        said += f", {100 * row['share']:.0f} %"
        if row["n_labelled"]:
            said += (
                f"; {row['n_lstv']} of {row['n_labelled']} labelled are transitional, "
                f"{row['lstv_rate']:.2f}{_interval(pd.Series(row), 'lstv_rate')}"
            )
        yield said + "."


def misfit_sentences(one: Screening) -> Iterator[str]:
    """That the bounds of the groups were chosen for another network, where normals show it."""
    groups = one.groups.set_index("risk")
    normals = groups["n_labelled"] - groups["n_lstv"]
    raised, known = int(normals[["high", "medium"]].sum()), int(normals.sum())
    if 2 * raised > known:
        yield (
            f"{raised} of {known} labelled normal studies are not at low risk: the bounds do not "
            "fit this localizer (the defaults are those of the prior system's). Set "
            "screening.medium_entropy and screening.high_entropy by the thresholds above."
        )
