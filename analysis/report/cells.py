"""What stands in the table of subjects?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten

import numpy as np

from analysis.report.subjects import STATES, SubjectRow, proxies
from analysis.report.words import as_float, compact, mm3, number
from analysis.robustness import level_name
from analysis.tables import ShiftLabel
from lamstore.units import NO_SHIFT

LONGEST = 180
"""Letters of an error in the table; the whole of it stands with the subject's picture."""


@dataclass(frozen=True)
class Cell:
    """Text, and the value that it is sorted by."""

    text: str
    key: str
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """A measured column: heading, its explanation, and how a value is read and written."""

    name: str
    hint: str
    value: Callable[[SubjectRow], float]
    written: Callable[[float], str]


def _signed(value: float) -> str:
    return mm3(value, signed=True)


def _of(column: str) -> Callable[[SubjectRow], float]:
    return lambda row: row.number(column)


def _last_dice(row: SubjectRow) -> float:
    last = list(row.segmentation.values())[-1:]
    return float(last[0].get("dice", np.nan)) if last else float("nan")


def columns(rows: Sequence[SubjectRow]) -> list[Column]:
    """Columns for which some subject has a value."""
    dice = [
        Column(
            f"Dice {p.removeprefix('chg_')}",
            f"Dice of {p} with the change truth",
            _of(f"dice_{p}"),
            number,
        )
        for p in proxies([*rows])
        if p in ("chg_tight", "chg_sym_cons")
    ]
    every = [
        Column("ΔV", "Measured volume change, mm³", _of("delta_lesion_vol_mm3"), _signed),
        Column("V t0", "Lesion volume at baseline, mm³", _of("lesion_vol_t0_mm3"), mm3),
        Column("V t1", "Lesion volume at follow-up, mm³", _of("lesion_vol_t1_mm3"), mm3),
        Column(
            "True change", "Volume of all that truly changed, mm³", _of("change_gt_vol_mm3"), mm3
        ),
        *dice,
        Column("Dice mask", "Dice with the lesion truth, latest scan", _last_dice, number),
        Column("Spurious", "95th percentile of |ΔΔV| over shifts, mm³", _of("deltav_abs_p95"), mm3),
        Column(
            "Uncertainty", "Of the follow-up: mean in lesion", _of("unc_mean_lesion_t1"), compact
        ),
    ]
    return [c for c in every if any(np.isfinite(c.value(row)) for row in rows)]


def table_rows(rows: Sequence[SubjectRow]) -> list[tuple[SubjectRow, list[Cell]]]:
    """Every subject with its cells, worst first."""
    shown = columns(rows)
    return [(row, [_cell(column, row) for column in shown]) for row in rows]


def _cell(column: Column, row: SubjectRow) -> Cell:
    value = column.value(row)
    known = as_float(value) is not None
    worse = column.name == "Spurious" and known and not row.values.get("exceeds_spurious", True)
    return Cell(column.written(value), f"{value:.9g}" if known else "", "worse" if worse else "")


def status(row: SubjectRow) -> tuple[str, str]:
    """Word and tone of a subject's state in the table."""
    if row.state != "ok":
        return STATES[row.state], "bad" if row.state in ("failed", "missing") else "warn"
    if row.flagged:
        return "needs review", "warn"
    if row.doubtful:
        return "doubtful", "warn"
    tried = row.judged or np.isfinite(row.number("deltav_abs_p95"))
    return ("no objection", "good") if tried else ("not judged", "")


def why(row: SubjectRow) -> str:
    """What speaks against a subject, in a few words: its error, or its doubts."""
    if row.failures:
        first = row.failures[0]
        more = f" (and {len(row.failures) - 1} more)" if len(row.failures) > 1 else ""
        # The second line of an error says what was found.
        text = " ".join(line.strip() for line in first.message.splitlines()[:2])
        return f"{first.where}: {shorten(text, LONGEST)}{more}"
    said = []
    if row.flagged:
        said.append("QC: " + " and ".join(_high(row)))
    if row.number("deltav_abs_p95") >= 0 and not row.values.get("exceeds_spurious"):
        worst = str(row.values.get("worst_shift")).replace("-", "\u2011")  # does not break
        said.append(f"shifts move ΔV as far, {worst} most")
    return "; ".join(said)


def _high(row: SubjectRow) -> list[str]:
    """Where the uncertainty is high, from the sentence that QC gives."""
    reason = str(row.values.get("qc_reason", ""))
    found = [
        word for word, sign in (("in lesion", "inside"), ("in brain", "across")) if sign in reason
    ]
    return [f"uncertain {' and '.join(found)}"] if found else ["uncertainty is undefined"]


def shift_name(label: str) -> str:
    """A shift label in words: ``blur: σ 0.5 mm``."""
    if label == NO_SHIFT:
        return level_name(label, 0)
    shift = ShiftLabel.parse(label)
    mode = ", both visits" if shift.mode == "both" else ""
    return f"{shift.name}: {level_name(shift.name, shift.level)}{mode}"
