"""What is there to say of each subject, and which ones does a reader look at first?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.agreement import PROXIES
from analysis.report.charts import ChangeRow
from analysis.report.facts import EngineFacts, Failure
from lamstore.units import NO_SHIFT

State = Literal["ok", "partial", "failed", "missing"]
STATES: Mapping[State, str] = {
    "ok": "complete",
    "partial": "some shifts failed",
    "failed": "failed",
    "missing": "no result",
}


@dataclass(frozen=True)
class SubjectRow:
    """One subject under one engine; NaN and empty where there is nothing.

    Attributes
    ----------
    anchor : str
        Its place in the page.
    values : mapping
        Columns of `analysis.verdict.subject_verdicts` and of the unshifted longitudinal row.
    segmentation : mapping of timepoint to mapping
        Metrics against the lesion truth, as acquired.
    shifts : DataFrame
        Longitudinal rows of every shift, as acquired first.
    """

    subject: str
    anchor: str
    state: State
    failures: tuple[Failure, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    segmentation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shifts: pd.DataFrame = field(default_factory=pd.DataFrame)

    def number(self, column: str) -> float:
        """A measured column; NaN where it is undefined."""
        value = self.values.get(column)
        return float("nan") if value is None or isinstance(value, str) else float(value)

    @property
    def judged(self) -> bool:
        """Whether QC has judged it."""
        return isinstance(self.values.get("qc_needs_review"), bool | np.bool_)

    @property
    def flagged(self) -> bool:
        """Whether QC wants a reader's eye on it."""
        return self.judged and bool(self.values["qc_needs_review"])

    @property
    def unsure(self) -> bool:
        """Whether it is flagged and its change is large."""
        return self.flagged and bool(self.values["qc_change_not_confident"])

    @property
    def doubtful(self) -> bool:
        """Whether QC or the shifts speak against its ΔV."""
        return str(self.values.get("verdict", "")).startswith("Doubtful")

    @property
    def dice(self) -> float:
        """What ranks it: Dice with the change truth, else with the lesion truth (latest)."""
        change = self.number("dice_chg_tight")
        last = list(self.segmentation.values())[-1:]
        return change if np.isfinite(change) or not last else last[0].get("dice", float("nan"))

    @cached_property
    def change(self) -> ChangeRow | None:
        """What the chart of ΔV draws; None without ΔV."""
        measured = self.number("delta_lesion_vol_mm3")
        if not np.isfinite(measured):
            return None
        shifted = self.shifts["delta_lesion_vol_mm3"].dropna()
        several = len(shifted) > 1
        truths = [self.segmentation.get(t, {}).get("volume_truth_mm3") for t in ("t0", "t1")]
        known = None not in truths
        return ChangeRow(
            self.subject,
            measured,
            low=float(shifted.min()) if several else float("nan"),
            high=float(shifted.max()) if several else float("nan"),
            truth=float(np.diff(np.array(truths, float))[0]) if known else float("nan"),
            bound=self.number("change_gt_vol_mm3"),
            flagged=self.flagged,
        )


def subject_rows(engine: EngineFacts, subjects: tuple[str, ...], index: int) -> list[SubjectRow]:
    """Every subject of the cohort, worst first.

    Failed ones come first, then those whose large change QC does not trust, then by Dice with the
    truth from below (subjects without a truth by how much shifts move their ΔV, most first).
    """
    values = _values(engine)
    segmentation = _segmentation(engine.segmentation)
    shifts = _by_subject(engine.longitudinal)
    failures: dict[str, list[Failure]] = {}
    for failure in engine.failures:
        failures.setdefault(failure.unit.subject, []).append(failure)
    every = [*subjects, *(s for s in values if s not in set(subjects))]
    rows = []
    for i, subject in enumerate(every):
        failed = tuple(failures.get(subject, ()))
        has = subject in values or subject in segmentation or subject in shifts
        rows.append(
            SubjectRow(
                subject=subject,
                anchor=f"e{index}-s{i}",
                state=_state(engine, subject, failed, has=has),
                failures=failed,
                values=values.get(subject, {}),
                segmentation=segmentation.get(subject, {}),
                shifts=shifts.get(subject, pd.DataFrame()),
            )
        )
    return sorted(rows, key=_badness)


def _state(engine: EngineFacts, subject: str, failed: tuple[Failure, ...], *, has: bool) -> State:
    if any(f.decisive for f in failed):
        return "failed"
    if failed:
        return "partial"
    # A scan without lesion truth and follow-up has uncertainty alone.
    unsure = engine.uncertainty
    return "ok" if has or (len(unsure) and subject in set(unsure["subject"])) else "missing"


def _badness(row: SubjectRow) -> tuple[object, ...]:
    order = {"failed": 0, "missing": 1, "partial": 2, "ok": 2}[row.state]
    dice, moved = row.dice, row.number("deltav_abs_p95")
    without = not np.isfinite(dice)
    return (
        order,
        not row.unsure,
        without,
        0.0 if without else dice,
        -moved if np.isfinite(moved) else 0.0,
        row.subject,
    )


def _values(engine: EngineFacts) -> dict[str, dict[str, Any]]:
    if engine.audit is None:
        return {}
    base, judged = engine.audit.base, engine.audit.verdicts
    new = [c for c in base if c == "subject" or c not in judged]
    table = judged.merge(base[new], on="subject", how="left", validate="1:1")
    return {str(row["subject"]): row for row in _records(table)}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _by_subject(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if frame.empty:
        return {}
    done = frame[frame["ok"].astype(bool)]
    return {str(s): part for s, part in done.groupby("subject", sort=False)}


def _segmentation(frame: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    if frame.empty:
        return found
    for row in _records(frame[frame["shift"] == NO_SHIFT]):
        found.setdefault(str(row["subject"]), {})[str(row["timepoint"])] = row
    return found


def proxies(rows: list[SubjectRow]) -> list[str]:
    """Change proxies with a Dice for some subject."""
    return [p for p in PROXIES if any(np.isfinite(r.number(f"dice_{p}")) for r in rows)]
