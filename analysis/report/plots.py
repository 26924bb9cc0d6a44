"""Which plots does an engine's part of the page have?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.agreement import PROXIES
from analysis.qc import BRAIN, LESION
from analysis.report.charts import ChangeRow, Strip, change_chart, strip_chart
from analysis.report.charts_pairs import Points, scatter_chart
from analysis.report.charts_shifts import ShiftPlot, shift_chart
from analysis.report.facts import EngineFacts
from analysis.report.segmentation import DIFFERENCE, dice_strips, shifted_dice
from analysis.report.subjects import SubjectRow, proxies
from analysis.report.words import mm3, number
from analysis.result import AuditResult
from analysis.robustness import ABSOLUTE
from analysis.stats import Correlation
from analysis.tables import BASE, MODES

Flagged = frozenset[str]

WRONG = "upper left, wrong and not uncertain: no ensemble finds those."
MOVED = "upper left, moved by the scanner and not uncertain: only shifts find those."


@dataclass(frozen=True)
class Chart:
    """A plot with its title and what to look for."""

    title: str
    look_for: str
    drawing: Markup
    key: tuple[tuple[str, str], ...] = ()
    """Class of a sign, and what it means."""


def charts(
    engine: EngineFacts, rows: Sequence[SubjectRow], flagged: Flagged
) -> dict[str, list[Chart]]:
    """Plots by section: change, truth, robustness, qc, segmentation; only those with data."""
    made = {
        "change": [*_change(rows)],
        "truth": [*_truth(engine, rows, flagged)],
        "robustness": [*_robustness(engine.audit)],
        "qc": [*_uncertainty(engine, flagged)],
        "segmentation": [*_segmentation(engine, flagged)],
    }
    return {name: found for name, found in made.items() if found}


def _change(rows: Sequence[SubjectRow]) -> Iterator[Chart]:
    changes = [c for c in (row.change for row in rows) if c is not None]
    if changes:
        yield Chart(
            "Measured change, and what shifts make of it",
            "A grey line that crosses 0, or is longer than the way from 0 to its dot: the scanner "
            "alone could have made this change. A dot outside its pale band is impossible.",
            change_chart(changes),
            tuple(_key(changes)),
        )


def _key(changes: Sequence[ChangeRow]) -> Iterator[tuple[str, str]]:
    yield "model", "measured ΔV"
    if any(c.flagged for c in changes):
        yield "flag", "flagged by QC"
    if any(np.isfinite(c.low) for c in changes):
        yield "range", "ΔV under all shifts"
    if any(np.isfinite(c.truth) for c in changes):
        yield "truth", "true ΔV"
    if any(np.isfinite(c.bound) for c in changes):
        yield "possible", "possible: ± the volume of all that truly changed"


def _truth(engine: EngineFacts, rows: Sequence[SubjectRow], flagged: Flagged) -> Iterator[Chart]:
    present = proxies([*rows])
    if present and engine.audit is not None:
        strips = [
            Strip(PROXIES[p], p, {row.subject: row.number(f"dice_{p}") for row in rows})
            for p in present
        ]
        yield Chart(
            "Overlap of every change proxy with the truth",
            "How far the subjects of one proxy spread, and how many lie in the shaded failures.",
            strip_chart(
                strips, "Dice with the change truth", flagged=flagged,
                poor=engine.audit.options.failure_at_most,
            ),
        )  # fmt: skip


def _robustness(audit: AuditResult | None) -> Iterator[Chart]:
    if audit is None or audit.robustness is None or audit.robustness_summary is None:
        return
    dice = ("dice_tight_minus_base", "Dice change, chg_tight", number)
    if dice[0] not in audit.robustness or audit.robustness[dice[0]].isna().all():
        dice = ("dice_sym_minus_base", "Dice change, chg_sym_cons", number)
    wanted = ((ABSOLUTE, "|ΔΔV| (mm³)", mm3), dice)
    for mode in MODES:
        rows, summary = (
            t[(t["mode"] == mode) & (t["harmonization"] == BASE)]
            for t in (audit.robustness, audit.robustness_summary)
        )
        for column, label, written in wanted:
            if column in rows and rows[column].notna().any():
                control = "" if mode == "t1_only" else ", both visits shifted alike (control)"
                yield Chart(
                    f"{label} by shift{control}",
                    "Median and IQR show the typical subject, mean and SD the tail. The levels of "
                    "gamma are opposite directions, so no line joins them.",
                    shift_chart(rows, summary, ShiftPlot(column, label, written)),
                )


def _uncertainty(engine: EngineFacts, flagged: Flagged) -> Iterator[Chart]:
    audit = engine.audit
    if audit is None or audit.together is None:
        return
    primary, failure = audit.options.primary, audit.options.failure_column
    table, error = audit.together, f"1 − {failure}"
    if failure in table:
        table = table.assign(**{error: 1 - table[failure]})
    if audit.sensitivity is not None:
        table = table.merge(audit.sensitivity, on="subject", how="left")
    places = (
        (f"unc_{primary}_mean_lesion_t1", LESION, f"{primary}, mean in lesion"),
        (f"unc_{primary}_p95_brain_t1", BRAIN, f"{primary}, p95 in brain"),
    )
    limit = 1 - audit.options.failure_at_most
    for x, key, name in places:
        line = audit.thresholds.value(key) if audit.thresholds is not None else None
        for y, label, y_line, what, blind in (
            (error, error, limit, "error", WRONG),
            ("deltav_abs_p95", "spurious change (mm³)", None, "shift sensitivity", MOVED),
        ):
            if x in table and y in table and len(table[[x, y]].dropna()) > 1:
                points = Points(table, x, y, (name, label), flagged, line, y_line)
                found = _correlation(audit, x, f"1 - {failure}" if y == error else y)
                yield Chart(f"{name} against {what}", f"{blind} {found}", scatter_chart(points))


def _correlation(audit: AuditResult, x: str, y: str) -> str:
    found: Correlation | None = next(
        (c for c in audit.uncertainty_correlations
         if (c.x, c.y, c.method) == (x, y, "spearman") and np.isfinite(c.estimate.value)), None
    )  # fmt: skip
    return "" if found is None else f"Spearman ρ = {found.estimate}."


def _segmentation(engine: EngineFacts, flagged: Flagged) -> Iterator[Chart]:
    frame: pd.DataFrame = engine.segmentation
    if frame.empty:
        return
    yield Chart(
        "Overlap of the masks with the lesion truth",
        "Subjects far left of the median, and whether both timepoints agree.",
        strip_chart(dice_strips(frame), "Dice with the lesion truth", flagged=flagged),
    )
    rows, summary = shifted_dice(frame)
    if len(rows):
        yield Chart(
            "What shifts do to the masks",
            "Falling curves: the mask itself, not only the change, depends on the scanner.",
            shift_chart(rows, summary, ShiftPlot(DIFFERENCE, "Dice change, lesion truth", number)),
        )
