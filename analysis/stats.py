"""How large is an effect, how sure are we, and how many subjects say so?

Every result is a frozen record that carries n, an effect size and an interval; a p-value never
stands alone. Intervals are seeded bootstraps: BCa (Efron 1987) where it is defined, else
percentile; `Estimate.method` says which.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
MINIMUM_N = 5
"""Below this many subjects no interval and no p-value is given: it would mean nothing."""

BCA_LIMIT = 200
"""Above this many subjects BCa's jackknife (n² work) buys nothing over the percentiles."""

Floats = NDArray[np.float64]
Statistic = Callable[..., Any]
"""Maps samples ``(..., n)`` to ``(...)``, reducing the last axis."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes
    ----------
    value, low, high : float
        NaN where undefined (constant input, fewer than `MINIMUM_N` subjects for the interval).
    n : int
        Subjects that entered (complete ones).
    method : str
        How the interval was made.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    method: str

    def __str__(self) -> str:
        interval = (
            f"no interval: {self.method}"
            if np.isnan(self.low)
            else f"95 % interval {self.low:.2f} to {self.high:.2f}"
        )
        return f"{self.value:.3f} ({interval}; n = {self.n})"


@dataclass(frozen=True)
class Correlation:
    """A correlation of two columns with its bootstrap interval; `p_value` is two-sided."""

    x: str
    y: str
    method: Literal["spearman", "pearson", "partial spearman"]
    estimate: Estimate
    p_value: float

    def record(self) -> dict[str, object]:
        """Flat row of a table."""
        e = self.estimate
        head: dict[str, object] = {"x": self.x, "y": self.y, "method": self.method, "n": e.n}
        return head | {
            "r": e.value,
            "low": e.low,
            "high": e.high,
            "interval": e.method,
            "p_value": self.p_value,
        }


def complete(*samples: ArrayLike) -> list[Floats]:
    """Float copies of equally long samples without positions where any is not finite."""
    arrays = [np.asarray(s, dtype=np.float64) for s in samples]
    keep = np.logical_and.reduce([np.isfinite(a) for a in arrays])
    return [a[keep] for a in arrays]


def bootstrap(
    name: str,
    statistic: Statistic,
    *samples: ArrayLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Bootstrap interval (95 %) of a statistic over subjects.

    Parameters
    ----------
    statistic : callable
        Maps the samples ``(..., n)`` to ``(...)``; NaN where it is undefined. Undefined resamples
        are left out of a percentile interval; BCa is used only when there are none.
    samples : (n,) array-like
        Incomplete subjects (NaN in any) are left out.

    Returns
    -------
    Estimate
        No subject at all gives NaN and n = 0.
    """
    arrays = complete(*samples)
    n = arrays[0].size
    value = float(statistic(*arrays)) if n else float("nan")
    if n < MINIMUM_N or not np.isfinite(value):
        why = f"fewer than {MINIMUM_N} subjects" if n < MINIMUM_N else "undefined"
        return Estimate(name, value, float("nan"), float("nan"), n, why)
    low, high, method = _interval(arrays, statistic, seed, resamples)
    return Estimate(name, value, low, high, n, method)


def _interval(
    arrays: list[Floats], statistic: Statistic, seed: int, resamples: int
) -> tuple[float, float, str]:
    n = arrays[0].size
    wanted = "BCa" if n <= BCA_LIMIT else "percentile"

    def along_last_axis(*resampled: Floats, axis: int) -> Any:
        return statistic(*resampled)

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # A degenerate distribution is handled below, and named in the method.
        warnings.simplefilter("ignore")
        result = scipy.stats.bootstrap(
            arrays,
            along_last_axis,
            n_resamples=resamples,
            batch=max(1, 2_000_000 // n),
            vectorized=True,
            paired=True,
            axis=-1,
            confidence_level=CONFIDENCE,
            method=wanted,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(v) for v in result.confidence_interval)
    if np.isfinite(low) and np.isfinite(high):
        return low, high, f"{wanted} bootstrap, {resamples} resamples"
    defined = result.bootstrap_distribution[np.isfinite(result.bootstrap_distribution)]
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.quantile(defined, [tail, 1 - tail]))
    return low, high, f"percentile bootstrap, {defined.size} of {resamples} resamples defined"


def mean(x: Floats) -> Floats:
    """Mean over the last axis."""
    return np.asarray(np.mean(x, axis=-1))


def median(x: Floats) -> Floats:
    """Median over the last axis."""
    return np.asarray(np.median(x, axis=-1))


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson correlation over the last axis; NaN where a sample is constant."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    norm = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(norm > 0, (x * y).sum(axis=-1) / norm, np.nan))


def ranks(x: Floats, ties: Literal["average", "max"] = "average") -> Floats:
    """Ranks from 1 over the last axis.

    By pandas: `scipy.stats`, half a second to import, is for those who have enough subjects for an
    interval.
    """
    rows = pd.DataFrame(np.reshape(x, (-1, np.shape(x)[-1])))
    return rows.rank(axis=1, method=ties).to_numpy(np.float64).reshape(np.shape(x))


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman correlation (ties: mean ranks) over the last axis."""
    return pearson(ranks(x), ranks(y))


def partial_spearman(x: Floats, y: Floats, given: Floats) -> Floats:
    """Spearman correlation of x and y with the ranks of `given` held fixed (linear)."""
    a, b, c = (ranks(v) for v in (x, y, given))
    xy, xz, yz = pearson(a, b), pearson(a, c), pearson(b, c)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))


def correlate_given(table: pd.DataFrame, x: str, y: str, given: str, seed: int = 0) -> Correlation:
    """Partial Spearman correlation of two columns given a third, over the complete rows."""
    arrays = complete(table[x], table[y], table[given])
    name: Literal["partial spearman"] = "partial spearman"
    estimate = bootstrap(f"{name} r", partial_spearman, *arrays, seed=seed)
    r, freedom = estimate.value, estimate.n - 3
    if estimate.n < MINIMUM_N or not np.isfinite(r) or abs(r) >= 1:
        return Correlation(x, y, name, estimate, float("nan"))
    t = abs(r) * np.sqrt(freedom / (1 - r**2))
    return Correlation(x, y, name, estimate, float(2 * scipy.stats.t.sf(t, freedom)))


def correlate(
    table: pd.DataFrame,
    x: str,
    y: str,
    method: Literal["spearman", "pearson"] = "spearman",
    seed: int = 0,
) -> Correlation:
    """Correlation of two columns of a table over its complete rows."""
    a, b = complete(table[x], table[y])
    estimate = bootstrap(
        f"{method} r", spearman if method == "spearman" else pearson, a, b, seed=seed
    )
    if a.size < MINIMUM_N or not np.isfinite(estimate.value):
        return Correlation(x, y, method, estimate, float("nan"))
    test = scipy.stats.spearmanr if method == "spearman" else scipy.stats.pearsonr
    return Correlation(x, y, method, estimate, float(test(a, b).pvalue))


def wilson(name: str, hits: int, n: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927); n = 0 gives NaN.

    Wilson and not the bootstrap, because resampling 0 of 5 gives the interval [0, 0].
    """
    if n == 0:
        return Estimate(name, float("nan"), float("nan"), float("nan"), 0, "no subject")
    z2 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    p, scale = hits / n, 1 + z2 / n
    centre = (p + z2 / (2 * n)) / scale
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / scale
    low, high = 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half
    return Estimate(name, p, low, high, n, "Wilson score")


def frame(correlations: Iterable[Correlation]) -> pd.DataFrame:
    """One row per correlation."""
    return pd.DataFrame([c.record() for c in correlations])
