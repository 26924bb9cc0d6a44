"""How far does a simulated scanner shift move each subject's measured change?

Column names follow the published robustness table where it has them (``deltaV_minus_base_mm3`` is
ΔV under the shift less ΔV without, ΔΔV for short). Levels of a shift are not always severities:
`level_name` says what each one does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.tables import BASE, ShiftLabel, require
from lamstore.errors import AnalysisError

DIFFERENCES: Mapping[str, str] = {
    "delta_lesion_vol_mm3": "deltaV_minus_base_mm3",
    "lesion_vol_t1_mm3": "lesion_vol_t1_minus_base_mm3",
    "dice_chg_sym_cons": "dice_sym_minus_base",
    "dice_chg_tight": "dice_tight_minus_base",
    "dice_new_cons": "dice_new_minus_base",
    "dice_chg_sym_raw": "dice_sym_raw_minus_base",
    "dice_new_raw": "dice_new_raw_minus_base",
}
"""Metric to the name of its difference, shifted − base."""

ABSOLUTE = "abs_deltaV_minus_base_mm3"
RISK = "relative_risk"
"""|ΔΔV| / change truth volume: 1 means that the shift fakes as much change as there really is."""

ROW = ("subject", "harmonization", "shift", "level", "mode")

LEVEL_NAMES: Mapping[tuple[str, int], str] = {
    ("gamma", 1): "brighter (γ 0.8, +0.02)",
    ("gamma", 2): "darker (γ 1.2, −0.02)",
    ("noise", 1): "σ 1 % of p1–p99",
    ("noise", 2): "σ 3 % of p1–p99",
    ("blur", 1): "σ 0.5 mm",
    ("blur", 2): "σ 1 mm",
    ("resolution", 1): "in-plane ÷ 1.5",
    ("resolution", 2): "in-plane ÷ 2",
}
"""What the levels of shift_v1 do."""

UNORDERED = frozenset({"gamma"})
"""Shifts whose levels are opposite directions, not severities: never join them by a line."""


def level_name(shift: str, level: int) -> str:
    """What a level does, in words; ``level N`` for a shift that is not part of shift_v1."""
    return "as acquired" if level == 0 else LEVEL_NAMES.get((shift, level), f"level {level}")


def robustness_table(longitudinal: pd.DataFrame) -> pd.DataFrame:
    """Base and shifted values of every subject under every shift, and their differences.

    Parameters
    ----------
    longitudinal : DataFrame
        Normalised (`tables.normalise_longitudinal`). A shifted row is compared with the unshifted
        row of the same subject and the same harmonization; `subjects_without_base` names the
        subjects that have none and are therefore not in the result.

    Returns
    -------
    DataFrame
        One row per `ROW`; per metric ``m``: ``m_base``, ``m``, difference; |ΔΔV| and relative
        risk (NaN without change truth or where it is empty). Level 0 is the identity by
        definition: its rows repeat the base.

    Raises
    ------
    AnalysisError
        When no shifted row has a base.
    """
    base = longitudinal[longitudinal["shift"] == BASE]
    shifted = longitudinal[longitudinal["shift"] != BASE]
    labels = [ShiftLabel.parse(s) for s in shifted["shift"]]
    metrics = [m for m in DIFFERENCES if m in longitudinal]
    named = shifted.assign(
        shift=[s.name for s in labels],
        level=[s.level for s in labels],
        mode=[s.mode for s in labels],
    )[[*ROW, *metrics]]
    truth = ["change_gt_vol_mm3"] if "change_gt_vol_mm3" in base else []
    keys = ["subject", "harmonization"]
    bases = base[keys + metrics + truth].rename(columns={m: f"{m}_base" for m in metrics})
    rows = named[named["level"] > 0].merge(bases, on=keys, how="inner", validate="m:1")
    if rows.empty:
        raise AnalysisError(
            "the longitudinal table has no shifted row with an unshifted row beside it",
            got=f"shifts {', '.join(sorted(set(longitudinal['shift'])))}",
            expected="none, and shifts such as gamma-1",
            remedy="run the study with shifts, or give a robustness table",
        )
    identity = rows.drop_duplicates([*keys, "shift", "mode"]).assign(
        level=0, **{m: rows[f"{m}_base"] for m in metrics}
    )
    table = pd.concat([identity, rows], ignore_index=True)
    return with_differences(table.sort_values(list(ROW), ignore_index=True))


def subjects_without_base(longitudinal: pd.DataFrame) -> list[str]:
    """Subjects with a shifted row but no unshifted one of the same harmonization."""
    keys = ["subject", "harmonization"]
    base = longitudinal.loc[longitudinal["shift"] == BASE, keys].drop_duplicates()
    shifted = longitudinal.loc[longitudinal["shift"] != BASE, keys].drop_duplicates()
    joined = shifted.merge(base, on=keys, how="left", indicator=True)
    return sorted(set(joined.loc[joined["_merge"] == "left_only", "subject"]))


def with_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Add (or recompute) differences, |ΔΔV| and relative risk from base and shifted values."""
    require(table, ("delta_lesion_vol_mm3_base", "delta_lesion_vol_mm3"), "robustness")
    result = table.copy()
    for metric, difference in DIFFERENCES.items():
        if metric in result and f"{metric}_base" in result:
            result[difference] = result[metric] - result[f"{metric}_base"]
    result[ABSOLUTE] = result["deltaV_minus_base_mm3"].abs()
    if "change_gt_vol_mm3" in result:
        truth = result["change_gt_vol_mm3"]
        result[RISK] = result[ABSOLUTE] / truth.where(truth > 0)
    return result


def robustness_summary(robustness: pd.DataFrame) -> pd.DataFrame:
    """Mean, std (n − 1), median, quartiles, IQR and n per harmonization, mode, shift and level."""
    measured = [c for c in (ABSOLUTE, RISK, *DIFFERENCES.values()) if c in robustness]
    rows = [
        {
            "harmonization": harmonization,
            "mode": mode,
            "shift": shift,
            "level": level,
            "level_name": level_name(str(shift), int(group["level"].iloc[0])),
            "n": len(group),
        }
        | {f"{c}_{k}": v for c in measured for k, v in _spread(group[c]).items()}
        for (harmonization, mode, shift, level), group in robustness.groupby(
            ["harmonization", "mode", "shift", "level"]
        )
    ]
    return pd.DataFrame(rows)


def _spread(values: pd.Series[float]) -> dict[str, float]:
    """The statistics of one column; ``n`` counts the subjects for whom it is defined."""
    q25, q50, q75 = (float(values.quantile(q)) for q in (0.25, 0.5, 0.75))
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "median": q50,
        "q25": q25,
        "q75": q75,
        "iqr": q75 - q25,
        "n": int(values.count()),
    }


def sensitivity_per_subject(
    robustness: pd.DataFrame, mode: str = "t1_only", harmonization: str = BASE
) -> pd.DataFrame:
    """How sensitive each subject is, over all its shifts and levels above 0.

    Returns
    -------
    DataFrame
        ``deltav_abs_mean``, ``_p95``, ``_max`` (mm³), the shift that moved it most, the largest
        relative risk, and per Dice its mean change, 5th percentile, minimum and the drops
        (``dice_sym_drop_p05`` = − 5th percentile of the change: positive is worse).
    """
    chosen = (
        (robustness["mode"] == mode)
        & (robustness["harmonization"] == harmonization)
        & (robustness["level"] > 0)
    )
    rows = robustness[chosen]
    groups = rows.groupby("subject")
    change = groups[ABSOLUTE]
    result = pd.DataFrame(
        {
            "n_shifts": change.count(),
            "deltav_abs_mean": change.mean(),
            "deltav_abs_p95": change.quantile(0.95),
            "deltav_abs_max": change.max(),
        }
    )
    worst = rows.loc[change.idxmax().dropna()].set_index("subject")
    result["worst_shift"] = worst["shift"] + "-" + worst["level"].astype(str)
    if RISK in rows:
        result["relative_risk_max"] = groups[RISK].max()
    for column in (c for c in DIFFERENCES.values() if c.startswith("dice_") and c in rows):
        dice, stem = groups[column], column.removesuffix("_minus_base")
        p05, lowest = dice.quantile(0.05), dice.min()
        result[f"{column}_mean"], result[f"{column}_p05"] = dice.mean(), p05
        result[f"{column}_min"] = lowest
        result[f"{stem}_drop_p05"], result[f"{stem}_drop_max"] = -p05, -lowest
    return result.reset_index()


def representative_subset(
    longitudinal: pd.DataFrame, n: int, dice: str = "dice_chg_sym_cons"
) -> pd.DataFrame:
    """Choose `n` subjects for a robustness run that cannot afford all.

    A quarter each (rounded up) of the worst Dice, the largest change, the smallest change and the
    best Dice, in this order of priority, each subject once; what is left is filled with the
    subjects nearest to the median change and the median Dice, in turn.

    Parameters
    ----------
    longitudinal : DataFrame
        Unshifted rows, one per subject, with ``change_gt_vol_mm3`` and `dice`.

    Returns
    -------
    DataFrame
        ``subject`` and ``reason``, in order of choice; all subjects when there are at most `n`.
    """
    require(longitudinal, ("change_gt_vol_mm3", dice), "longitudinal")
    if n < 1:
        raise AnalysisError("a subset needs at least one subject", got=str(n))
    known = longitudinal.dropna(subset=["change_gt_vol_mm3", dice]).sort_values("subject")
    k = math.ceil(n / 4)
    change, score = (known.set_index("subject")[c] for c in ("change_gt_vol_mm3", dice))
    ranked = [
        *((s, "worst Dice") for s in score.nsmallest(k).index),
        *((s, "largest change") for s in change.nlargest(k).index),
        *((s, "smallest change") for s in change.nsmallest(k).index),
        *((s, "best Dice") for s in score.nlargest(k).index),
        *_median_first(change, score, k),
    ]
    chosen: dict[str, str] = {}
    for subject, reason in ranked:
        chosen.setdefault(str(subject), reason)
    return pd.DataFrame(list(chosen.items())[:n], columns=["subject", "reason"])


def _median_first(
    change: pd.Series[float], score: pd.Series[float], k: int
) -> list[tuple[str, str]]:
    """All subjects, `k` near the median change, `k` near the median Dice, and so on."""
    near = [
        (values - values.median()).abs().sort_values(kind="stable").index.astype(str).tolist()
        for values in (change, score)
    ]
    return [
        (subject, f"near the median {what}")
        for start in range(0, len(change), k)
        for order, what in zip(near, ("change", "Dice"), strict=True)
        for subject in order[start : start + k]
    ]


def dominant_shift(summary: pd.DataFrame, mode: str = "t1_only") -> pd.Series[float] | None:
    """The row of a summary (no harmonization) with the largest median |ΔΔV|; None without one."""
    rows = summary[
        (summary["mode"] == mode) & (summary["harmonization"] == BASE) & (summary["level"] > 0)
    ].dropna(subset=[f"{ABSOLUTE}_median"])
    return None if rows.empty else rows.iloc[int(rows[f"{ABSOLUTE}_median"].to_numpy().argmax())]


def mode_contrast(robustness: pd.DataFrame) -> pd.DataFrame:
    """|ΔΔV| of the same subject and shift when only the follow-up and when both are shifted.

    Returns
    -------
    DataFrame
        ``subject``, ``shift``, ``level``, ``t1_only``, ``both`` (mm³); empty without mode both.
    """
    rows = robustness[(robustness["level"] > 0) & (robustness["harmonization"] == BASE)]
    wide = rows.pivot_table(index=["subject", "shift", "level"], columns="mode", values=ABSOLUTE)
    if not {"t1_only", "both"} <= set(wide.columns):
        return pd.DataFrame(columns=["subject", "shift", "level", "t1_only", "both"])
    wide = wide[["t1_only", "both"]].dropna().astype(np.float64)
    return wide.reset_index().rename_axis(columns=None)
