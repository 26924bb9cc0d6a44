"""Does the measured change agree with the change truth, and what drives the disagreement?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from analysis import stats as st
from analysis.paired import PairedTest, compare_paired, tests_frame, with_holm
from analysis.stats import Correlation, bootstrap, complete, correlate, correlate_given
from analysis.tables import require

PROXIES: Mapping[str, str] = {
    "new_raw": "new voxels",
    "new_cons": "new voxels, conservative",
    "chg_sym_raw": "changed voxels",
    "chg_sym_cons": "changed voxels, conservative",
    "chg_tight": "changed voxels, tight",
}
"""Change proxies of the longitudinal table, and what to call them."""

CONFOUNDERS: Mapping[str, str] = {
    "intensity_diff_mean": "mean intensity difference between the visits",
    "intensity_diff_p95": "95th percentile of the intensity difference between the visits",
    "intensity_diff_frac_gt": "fraction of the brain whose intensity differs",
    "median_ratio_log_abs": "ratio of the visits' median FLAIR (|log|)",
    "lesion_vol_t0_mm3": "lesion volume at baseline",
    "voxel_vol_mm3": "voxel volume",
}
"""What could move ΔV without any biological change, and what to call it."""

METHODS: tuple[Literal["spearman", "pearson"], ...] = ("spearman", "pearson")


def proxy_agreement(base: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How each change proxy's volume and Dice compare with the change truth.

    Parameters
    ----------
    base : DataFrame
        Unshifted rows with ``change_gt_vol_mm3`` and ``<proxy>_vol_mm3``, ``dice_<proxy>``.

    Returns
    -------
    DataFrame
        One row per proxy in the table: in how many subjects it over- and underestimates, mean
        error with limits of agreement (± 1.96 SD, Bland & Altman 1986), median error with
        interval, mean absolute error, Wilcoxon test with rank-biserial effect (Holm over the
        proxies), mean and median Dice.
    """
    require(base, ("change_gt_vol_mm3",), "longitudinal")
    present = [p for p in PROXIES if f"{p}_vol_mm3" in base]
    tests, rows = [], []
    for proxy in present:
        volume, truth = complete(base[f"{proxy}_vol_mm3"], base["change_gt_vol_mm3"])
        tests.append(compare_paired(volume, truth, (proxy, "change truth"), seed=seed))
        error = volume - truth
        spread = 1.96 * error.std(ddof=1) if error.size > 1 else np.nan
        (dice,) = complete(base.get(f"dice_{proxy}", pd.Series(dtype=float)))
        rows.append(
            {
                "proxy": proxy,
                "n": error.size,
                "n_over": int((error > 0).sum()),
                "n_under": int((error < 0).sum()),
                "mean_error_mm3": error.mean() if error.size else np.nan,
                "loa_low_mm3": error.mean() - spread if error.size else np.nan,
                "loa_high_mm3": error.mean() + spread if error.size else np.nan,
                "mean_abs_error_mm3": np.abs(error).mean() if error.size else np.nan,
                "dice_n": dice.size,
                "dice_mean": dice.mean() if dice.size else np.nan,
                "dice_median": np.median(dice) if dice.size else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    return pd.concat([table, _tests(with_holm(tests))], axis=1) if rows else table


def _tests(tests: list[PairedTest]) -> pd.DataFrame:
    """Columns of paired tests that go beside a row that already has names and n."""
    renamed = {
        "median_difference": "median_error_mm3",
        "low": "median_error_low_mm3",
        "high": "median_error_high_mm3",
    }
    drop = ["a", "b", "n", "mean_difference"]
    return tests_frame(tests).drop(columns=drop).rename(columns=renamed)


def with_change(base: pd.DataFrame) -> pd.DataFrame:
    """Add ``abs_delta_lesion_vol_mm3`` and, where possible, the candidate confounders."""
    result = base.assign(abs_delta_lesion_vol_mm3=base["delta_lesion_vol_mm3"].abs())
    if "t1_over_t0_median_ratio" in result:
        ratio = result["t1_over_t0_median_ratio"]
        # A ratio of 0.5 is as far from 1 as a ratio of 2.
        result["median_ratio_log_abs"] = np.log(ratio.where(ratio > 0)).abs()
    return result


def change_correlations(base: pd.DataFrame, seed: int = 0) -> list[Correlation]:
    """|ΔV| against the change truth and each candidate confounder.

    Spearman and Pearson, because they differ when a few subjects make the correlation; for
    confounders also partial Spearman given the change truth, because what moves with real change
    is not yet a confounder.
    """
    table = with_change(base)
    change, truth = "abs_delta_lesion_vol_mm3", "change_gt_vol_mm3"
    found = [c for c in CONFOUNDERS if c in table]
    plain = [
        correlate(table, column, change, method, seed=seed)
        for column in ([truth] if truth in table else []) + found
        for method in METHODS
    ]
    given = [correlate_given(table, c, change, truth, seed) for c in found if truth in table]
    return plain + given


def dominant_confounder(correlations: list[Correlation]) -> Correlation | None:
    """The confounder with the largest |r| to |ΔV|, given the change truth where there is one.

    Rank correlations only: a Pearson r may be one subject's. None when nothing is defined for as
    many subjects as an interval needs.
    """
    candidates = [
        c
        for c in correlations
        if c.x in CONFOUNDERS and np.isfinite(c.estimate.value) and c.estimate.n >= st.MINIMUM_N
    ]
    partial = [c for c in candidates if c.method == "partial spearman"]
    ranked = partial or [c for c in candidates if c.method == "spearman"]
    return max(ranked, key=lambda c: abs(c.estimate.value), default=None)


def leverage(base: pd.DataFrame, column: str) -> tuple[str, float]:
    """The subject without whom Pearson r of `column` and |ΔV| changes most, and r without it.

    Needs at least four complete subjects; fewer give ("", NaN).
    """
    table = with_change(base)[["subject", column, "abs_delta_lesion_vol_mm3"]].dropna()
    if len(table) < 4:
        return "", float("nan")
    x, y = (table[c].to_numpy(float) for c in (column, "abs_delta_lesion_vol_mm3"))
    without = np.array(
        [scipy.stats.pearsonr(np.delete(x, i), np.delete(y, i)).statistic for i in range(len(x))]
    )
    i = int(np.nanargmax(np.abs(without - scipy.stats.pearsonr(x, y).statistic)))
    return str(table["subject"].iloc[i]), float(without[i])


def tight_against_sym(base: pd.DataFrame, seed: int = 0) -> list[PairedTest]:
    """``chg_tight`` against ``chg_sym_cons``: absolute volume error (mm³) and Dice, Holm over both.

    Empty when the table lacks either (published tables have no ``chg_tight``).
    """
    tight, sym = "chg_tight", "chg_sym_cons"
    needed = [f"{p}_vol_mm3" for p in (tight, sym)] + [f"dice_{p}" for p in (tight, sym)]
    if any(c not in base for c in [*needed, "change_gt_vol_mm3"]):
        return []
    error = {p: (base[f"{p}_vol_mm3"] - base["change_gt_vol_mm3"]).abs() for p in (tight, sym)}
    volume = (f"|volume error| {tight} (mm³)", f"|volume error| {sym} (mm³)")
    tests = [
        compare_paired(error[tight], error[sym], volume, seed=seed),
        compare_paired(
            base[f"dice_{tight}"], base[f"dice_{sym}"], (f"Dice {tight}", f"Dice {sym}"), seed=seed
        ),
    ]
    return with_holm(tests)


def cohort_summary(base: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean and median (with intervals) of the cohort's main quantities, n each."""
    table = with_change(base)
    wanted = [
        "lesion_vol_t0_mm3",
        "lesion_vol_t1_mm3",
        "delta_lesion_vol_mm3",
        "abs_delta_lesion_vol_mm3",
        "change_gt_vol_mm3",
        *(f"dice_{p}" for p in PROXIES),
    ]
    rows = []
    for column in (c for c in wanted if c in table):
        centre = bootstrap(column, st.median, table[column], seed=seed)
        average = bootstrap(column, st.mean, table[column], seed=seed)
        rows.append(
            {
                "quantity": column,
                "n": centre.n,
                "mean": average.value,
                "mean_low": average.low,
                "mean_high": average.high,
                "median": centre.value,
                "median_low": centre.low,
                "median_high": centre.high,
            }
        )
    return pd.DataFrame(rows)
