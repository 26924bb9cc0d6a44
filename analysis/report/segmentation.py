"""How good are the masks where the lesions are known, and what do shifts do to that?"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.report.charts import Strip
from analysis.tables import ShiftLabel
from lamstore.units import NO_SHIFT

METRICS: Mapping[str, tuple[str, int]] = {
    "dice": ("Dice", 2),
    "ndsc": ("nDSC", 2),
    "sensitivity": ("Sensitivity", 2),
    "precision": ("Precision", 2),
    "lesion_f1": ("Lesion F1", 2),
    "lesion_recall": ("Lesion recall", 2),
    "hd95_mm": ("HD95 (mm)", 1),
    "assd_mm": ("ASSD (mm)", 1),
    "volume_error_mm3": ("Volume error (mm³)", 0),
}
"""Column to its name and decimals."""
DIFFERENCE = "dice_minus_base"


def segmentation_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Median, quartiles and n of every metric by timepoint, as acquired."""
    base = frame[frame["shift"] == NO_SHIFT]
    rows = []
    for metric in (m for m in METRICS if m in base):
        for timepoint, part in base.groupby("timepoint"):
            q25, q50, q75 = (float(part[metric].quantile(q)) for q in (0.25, 0.5, 0.75))
            rows.append({"metric": metric, "timepoint": timepoint, "median": q50, "q25": q25,
                         "q75": q75, "n": int(part[metric].count())})  # fmt: skip
    return pd.DataFrame(rows)


def dice_strips(frame: pd.DataFrame) -> list[Strip]:
    """Dice with the lesion truth of every subject, a strip for each timepoint."""
    base = frame[frame["shift"] == NO_SHIFT]
    return [
        Strip(f"Dice, {timepoint}", f"n = {int(part['dice'].count())}",
              dict(zip(part["subject"].astype(str), part["dice"], strict=True)))
        for timepoint, part in base.groupby("timepoint")
    ]  # fmt: skip


def shifted_dice(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dice under each shift less Dice as acquired, at the timepoint that is shifted.

    Returns
    -------
    rows, summary : DataFrame
        As `analysis.report.charts.shift_chart` takes them, for `DIFFERENCE`; mode ``t1_only``.
        Level 0 is 0 by definition. Empty without shifts.
    """
    last = frame.groupby("subject")["timepoint"].transform("max")
    chosen = frame[frame["timepoint"] == last]
    acquired = chosen[chosen["shift"] == NO_SHIFT]
    base = dict(zip(acquired["subject"], acquired["dice"], strict=True))
    rows = []
    columns = chosen.loc[chosen["shift"] != NO_SHIFT, ["subject", "shift", "dice"]]
    for subject, label, dice in columns.itertuples(index=False):
        shift = ShiftLabel.parse(str(label))
        if shift.mode == "t1_only" and subject in base:
            known = {"subject": subject, "shift": shift.name}
            rows.append(known | {"level": 0, DIFFERENCE: 0.0})
            rows.append(known | {"level": shift.level, DIFFERENCE: dice - base[subject]})
    table = pd.DataFrame(rows, columns=["subject", "shift", "level", DIFFERENCE])
    table = table.astype({DIFFERENCE: float})  # without rows, too
    table = table.drop_duplicates(["subject", "shift", "level"])
    return table, _summary(table)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby(["shift", "level"])[DIFFERENCE]
    parts = {k: getattr(groups, k)() for k in ("mean", "std", "median", "count")}
    parts |= {"q25": groups.quantile(0.25), "q75": groups.quantile(0.75)}
    parts["n"] = parts.pop("count")
    return pd.DataFrame({f"{DIFFERENCE}_{k}": v for k, v in parts.items()}).reset_index()
