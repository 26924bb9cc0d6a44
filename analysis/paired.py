"""Does the same subject measure differently under two conditions?

Paired tests with effect size, interval and Holm's correction for a family of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike

from analysis.stats import MINIMUM_N, Floats, bootstrap, complete, mean, median, ranks


@dataclass(frozen=True)
class PairedTest:
    """A paired comparison of `a` and `b`; differences are a − b.

    Attributes
    ----------
    effect : float
        Rank-biserial correlation (Kerby 2014) for Wilcoxon, Cohen's d_z for the t-test; positive
        when `a` is larger.
    p_holm : float
        Adjusted by Holm within the family it was tested in; NaN before `with_holm`.
    """

    a: str
    b: str
    test: Literal["wilcoxon", "t"]
    n: int
    n_nonzero: int
    mean_difference: float
    median_difference: float
    low: float
    high: float
    effect_name: str
    effect: float
    statistic: float
    p_value: float
    p_holm: float = float("nan")


def rank_biserial(difference: Floats) -> float:
    """Matched-pairs rank-biserial correlation of nonzero differences (Kerby 2014); 0 if none."""
    nonzero = difference[difference != 0]
    if nonzero.size == 0:
        return 0.0
    rank = ranks(np.abs(nonzero))
    return float((rank[nonzero > 0].sum() - rank[nonzero < 0].sum()) / rank.sum())


def compare_paired(
    a: ArrayLike,
    b: ArrayLike,
    names: tuple[str, str],
    test: Literal["wilcoxon", "t"] = "wilcoxon",
    seed: int = 0,
) -> PairedTest:
    """Paired comparison of two equally long samples.

    Wilcoxon's signed-rank test drops zero differences; the interval is that of the median
    difference (of the mean for the t-test). Differences that are all zero give p = 1 and effect 0;
    fewer than `MINIMUM_N` pairs give NaN for p.
    """
    x, y = complete(a, b)
    d = x - y
    centre = bootstrap("difference", median if test == "wilcoxon" else mean, d, seed=seed)
    statistic, p = _paired_p(d, test)
    effect = rank_biserial(d) if test == "wilcoxon" else _cohen_dz(d)
    return PairedTest(
        a=names[0],
        b=names[1],
        test=test,
        n=d.size,
        n_nonzero=int(np.count_nonzero(d)),
        mean_difference=float(d.mean()) if d.size else float("nan"),
        median_difference=float(np.median(d)) if d.size else float("nan"),
        low=centre.low,
        high=centre.high,
        effect_name="rank_biserial" if test == "wilcoxon" else "cohen_dz",
        effect=effect,
        statistic=statistic,
        p_value=p,
    )


def _paired_p(d: Floats, test: Literal["wilcoxon", "t"]) -> tuple[float, float]:
    if d.size < MINIMUM_N:
        return float("nan"), float("nan")
    if not d.any():
        return 0.0, 1.0
    if test == "t" and np.ptp(d) == 0:
        return float("nan"), float("nan")
    named = scipy.stats
    result = named.wilcoxon(d) if test == "wilcoxon" else named.ttest_1samp(d, 0.0)
    return float(result.statistic), float(result.pvalue)


def _cohen_dz(d: Floats) -> float:
    spread = float(d.std(ddof=1)) if d.size > 1 else 0.0
    return float(d.mean()) / spread if spread > 0 else float("nan")


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment (Holm 1979); NaN stays NaN and does not count as a test."""
    p = np.asarray(p_values, dtype=np.float64)
    result = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(order.size, 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return result


def with_holm(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The same tests, adjusted as one family."""
    adjusted = holm([t.p_value for t in tests])
    return [replace(t, p_holm=float(p)) for t, p in zip(tests, adjusted, strict=True)]


def tests_frame(tests: Iterable[PairedTest]) -> pd.DataFrame:
    """One row per test."""
    return pd.DataFrame([asdict(t) for t in tests])
