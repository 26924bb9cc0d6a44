"""Does normalizing the follow-up remove the spurious change, and what does it cost?

The suite of shifts is run once for each harmonization. *Removed*: |ΔΔV| under a shift without
harmonization against |ΔΔV| under the same shift with it, each to its own unshifted base. *Cost*:
what the harmonization itself does to ΔV, Dice and volume error of the images as acquired.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import stats as st
from analysis.paired import PairedTest, compare_paired, holm, tests_frame, with_holm
from analysis.robustness import ABSOLUTE, robustness_table
from analysis.tables import BASE, base_rows
from lamstore.errors import AnalysisError

ALL = "all"
"""In the column ``shift``: mean over a subject's shifts and levels."""


@dataclass(frozen=True)
class Protection:
    """The answer, in numbers and in words.

    Attributes
    ----------
    removed : DataFrame
        One row per harmonization, mode, shift and level (and one over ``all`` shifts): n,
        spurious change without and with (medians, mm³), median difference with interval,
        fraction removed (1 − mean with / mean without) with interval, Wilcoxon with effect size,
        Holm over the ``all`` rows and over the others.
    cost : DataFrame
        One row per harmonization and quantity of the unshifted images.
    words : tuple of str
        One sentence per harmonization and mode.
    """

    removed: pd.DataFrame
    cost: pd.DataFrame
    words: tuple[str, ...]


def protection(longitudinal: pd.DataFrame, seed: int = 0) -> Protection:
    """Compare every harmonization with none.

    Parameters
    ----------
    longitudinal : DataFrame
        Normalised, with rows of ``harmonization`` "none" and at least one other.

    Raises
    ------
    AnalysisError
        When there is no second harmonization or nothing is shifted.
    """
    names = [h for h in sorted(set(longitudinal["harmonization"])) if h != BASE]
    if not names:
        raise AnalysisError(
            "there is nothing to compare: no row has a harmonization",
            expected="rows with harmonization none and with another",
            remedy="run the study with harmonizations",
        )
    wide = _wide(robustness_table(longitudinal))
    if BASE not in wide:
        raise AnalysisError("there is no shifted row without harmonization to compare with")
    removed = _removed(wide, [h for h in names if h in wide], seed)
    cost = _cost(longitudinal, names, seed)
    return Protection(removed, cost, tuple(_words(removed)))


def _wide(robustness: pd.DataFrame) -> pd.DataFrame:
    """|ΔΔV| by harmonization, for every subject and shift and for the mean over shifts."""
    rows = robustness[robustness["level"] > 0]
    keys = ["mode", "shift", "level", "subject"]
    single = rows.pivot_table(index=keys, columns="harmonization", values=ABSOLUTE)
    # Only shifts that were run under every harmonization, else the means compare unlike things.
    overall = single.dropna().groupby(level=["mode", "subject"]).mean().reset_index()
    return pd.concat([overall.assign(shift=ALL, level=0), single.reset_index()], ignore_index=True)


def _removed(wide: pd.DataFrame, names: Iterable[str], seed: int) -> pd.DataFrame:
    records, tests = [], []
    for name in names:
        for key, group in wide.groupby(["mode", "shift", "level"], sort=False):
            without, left = st.complete(group[BASE], group[name])
            fraction = st.bootstrap("removed", _fraction, without, left, seed=seed)
            tests.append(compare_paired(without, left, (BASE, name), seed=seed))
            records.append(
                {
                    "harmonization": name,
                    **dict(zip(("mode", "shift", "level"), key, strict=True)),
                    "median_without_mm3": np.median(without) if without.size else np.nan,
                    "median_with_mm3": np.median(left) if left.size else np.nan,
                    "removed_fraction": fraction.value,
                    "removed_low": fraction.low,
                    "removed_high": fraction.high,
                    "interval": fraction.method,
                }
            )
    table = pd.DataFrame(records).join(_columns(tests))
    # The mean over shifts is the question; the single shifts are a family of their own.
    for family in (table["shift"] == ALL, table["shift"] != ALL):
        table.loc[family, "p_holm"] = holm(table.loc[family, "p_value"])
    return table


def _fraction(without: st.Floats, left: st.Floats) -> st.Floats:
    """Fraction of the mean spurious change that is gone; NaN where there was none."""
    before = without.mean(axis=-1)
    return np.asarray(1 - left.mean(axis=-1) / np.where(before > 0, before, np.nan))


def _columns(tests: list[PairedTest]) -> pd.DataFrame:
    renamed = {
        "mean_difference": "mean_removed_mm3",
        "median_difference": "median_removed_mm3",
        "low": "median_removed_low_mm3",
        "high": "median_removed_high_mm3",
    }
    return tests_frame(tests).drop(columns=["a", "b"]).rename(columns=renamed)


def _cost(longitudinal: pd.DataFrame, names: Iterable[str], seed: int) -> pd.DataFrame:
    """With against without harmonization, images as acquired; Holm over the rows."""
    without = _quantities(base_rows(longitudinal))
    records, tests = [], []
    for name in names:
        having = _quantities(base_rows(longitudinal, name))
        both = without.merge(having, on="subject", suffixes=("", "_with"), validate="1:1")
        for quantity in (c for c in without if c != "subject" and c in having):
            pair = (f"{quantity} {name}", f"{quantity} {BASE}")
            tests.append(compare_paired(both[f"{quantity}_with"], both[quantity], pair, seed=seed))
            records.append({"harmonization": name, "quantity": quantity})
    columns = tests_frame(with_holm(tests))
    return pd.DataFrame(records).join(columns.drop(columns=["a", "b"]))


def _quantities(base: pd.DataFrame) -> pd.DataFrame:
    """ΔV, Dice and absolute volume errors of the unshifted images."""
    dice = [str(c) for c in base if str(c).startswith("dice_")]
    errors = {
        str(c).replace("_vol_err_mm3", "_abs_vol_err_mm3"): base[c].abs()
        for c in base
        if str(c).endswith("_vol_err_mm3")
    }
    return base[["subject", "delta_lesion_vol_mm3", *dice]].assign(**errors)


def _words(removed: pd.DataFrame) -> list[str]:
    said = []
    for _, row in removed[removed["shift"] == ALL].iterrows():
        where = "follow-up shifted" if row["mode"] == "t1_only" else "both visits shifted"
        head = f"Harmonization {row['harmonization']} ({where}, n = {row['n']}): "
        if np.isnan(row["removed_fraction"]):
            said.append(head + "there was no spurious change to remove.")
            continue
        verb = "removes" if row["removed_fraction"] >= 0 else "adds"
        amount = f"{verb} {abs(row['removed_fraction']):.0%} of the mean |ΔΔV|"
        said.append(head + amount + _certainty(row) + _extremes(removed, row))
    return said


def _extremes(removed: pd.DataFrame, overall: pd.Series[float]) -> str:
    """The shifts that a harmonization helps most and least: a mean over all hides both."""
    same = (removed["harmonization"] == overall["harmonization"]) & (
        removed["mode"] == overall["mode"]
    )
    single = removed[same & (removed["shift"] != ALL)].dropna(subset=["removed_fraction"])
    fractions = single["removed_fraction"]
    if len(single) < 2 or fractions.max() - fractions.min() < 0.01:
        return ""
    best, worst = (single.iloc[int(i)] for i in (fractions.argmax(), fractions.argmin()))
    return f" Best under {_effect(best)}, worst under {_effect(worst)}."


def _effect(row: pd.Series[float]) -> str:
    fraction = row["removed_fraction"]
    verb = "removed" if fraction >= 0 else "added"
    return f"{row['shift']}-{row['level']} ({abs(fraction):.0%} {verb})"


def _certainty(row: pd.Series[float]) -> str:
    if np.isnan(row["removed_low"]):
        return f" (no interval: {row['interval']}), too few subjects to conclude."
    interval = f" (95 % interval {row['removed_low']:.0%} to {row['removed_high']:.0%}"
    test = f"; rank-biserial {row['effect']:.2f}, Holm-adjusted p = {row['p_holm']:.3g})"
    sure = row["removed_low"] > 0 or row["removed_high"] < 0
    return (
        interval + test + ("." if sure else ": the interval holds 0, so it is not shown to help.")
    )
