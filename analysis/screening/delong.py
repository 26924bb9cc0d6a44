"""How far above chance does a score rank the suspicious, how sure is that, and which is better?

AUROC with its covariance after DeLong, DeLong and Clarke-Pearson (Biometrics 1988), from midranks
as in Sun and Xu (IEEE Signal Processing Letters 2014): O(n log n) instead of O(m n). Several scores
of the same studies share one covariance, which is what a paired test needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from analysis.stats import CONFIDENCE, MINIMUM_N, Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Ranking:
    """Areas under the ROC curves of several scores of the same studies.

    Attributes
    ----------
    auroc : (k,) float64 ndarray
        Probability that a positive scores higher than a negative, ties half.
    covariance : (k, k) float64 ndarray
        DeLong's; NaN where a class has fewer than two studies.
    """

    auroc: Floats
    covariance: Floats


def delong(scores: ArrayLike, positive: ArrayLike) -> Ranking:
    """AUROC of each score, and their covariance.

    Parameters
    ----------
    scores : (k, n) or (n,) array-like
        Higher means positive; no NaN.
    positive : (n,) bool array-like

    Returns
    -------
    Ranking
        NaN throughout where a class is absent.
    """
    values = np.atleast_2d(np.asarray(scores, np.float64))
    wanted = np.asarray(positive, bool)
    cases, controls = values[:, wanted], values[:, ~wanted]
    k, m, n = len(values), cases.shape[1], controls.shape[1]
    if not m or not n:
        return Ranking(np.full(k, np.nan), np.full((k, k), np.nan))
    among_all = stats.rankdata(np.hstack([cases, controls]), axis=1)
    # Share of the other class that each study ranks above (a case) or below (a control).
    placed = (among_all[:, :m] - stats.rankdata(cases, axis=1)) / n
    placed_controls = 1 - (among_all[:, m:] - stats.rankdata(controls, axis=1)) / m
    if m < 2 or n < 2:
        return Ranking(placed.mean(axis=1), np.full((k, k), np.nan))
    spread = np.atleast_2d(np.cov(placed)) / m + np.atleast_2d(np.cov(placed_controls)) / n
    return Ranking(placed.mean(axis=1), spread)


def auroc_estimate(name: str, score: ArrayLike, positive: ArrayLike) -> Estimate:
    """AUROC of one score with its 95 % interval.

    The interval is symmetric on the logit scale, with DeLong's variance. Where that variance is 0
    (the classes are apart, or every score is alike) it would be a point, and Newcombe's score
    interval (Statistics in Medicine 2006, method 5) stands in.

    Parameters
    ----------
    score : (n,) array-like
        Higher means positive; studies where it is not finite are left out.
    positive : (n,) bool array-like
    """
    values, wanted = np.asarray(score, np.float64), np.asarray(positive, bool)
    defined = np.isfinite(values)
    values, wanted = values[defined], wanted[defined]
    ranking = delong(values, wanted)
    value, variance = float(ranking.auroc[0]), float(ranking.covariance[0, 0])
    m, n = int(wanted.sum()), int((~wanted).sum())
    if min(m, n) < MINIMUM_N:
        why = f"{m} transitional and {n} normal studies, {MINIMUM_N} of each are needed"
        return Estimate(name, value, float("nan"), float("nan"), m + n, why)
    if variance > 0 and 0 < value < 1:
        low, high, method = *_logit_interval(value, variance), "DeLong, logit"
    else:
        low, high, method = *newcombe_interval(value, m, n), "Newcombe, DeLong's variance is 0"
    return Estimate(name, value, low, high, m + n, method)


def _logit_interval(value: float, variance: float) -> tuple[float, float]:
    middle = np.log(value / (1 - value))
    reach = Z * sqrt(variance) / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-(middle + np.array([-reach, reach]))))
    return float(low), float(high)


def newcombe_interval(value: float, m: int, n: int) -> tuple[float, float]:
    """Score interval of an AUROC that is defined at 0 and 1 too (Newcombe 2006, method 5).

    Parameters
    ----------
    value : float
        The AUROC.
    m, n : int
        Studies of either class.
    """
    extra = (m + n) / 2 - 1

    def beyond(theta: float) -> float:
        unequal = extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * (1 + unequal) / (m * n)
        return (value - theta) ** 2 - Z**2 * variance

    # At an end of the scale the equation holds there as well; the root that is wanted lies inside.
    low = 0.0 if value <= 0 else optimize.brentq(beyond, 0.0, min(value, 1 - 1e-12))
    high = 1.0 if value >= 1 else optimize.brentq(beyond, max(value, 1e-12), 1.0)
    return float(low), float(high)


def paired_p_value(scores: ArrayLike, positive: ArrayLike) -> float:
    """Two-sided p-value that two scores of the same studies have the same AUROC.

    Parameters
    ----------
    scores : (2, n) array-like
        Higher means positive; studies where either is not finite are left out.
    positive : (n,) bool array-like

    Returns
    -------
    float
        1 for scores that rank alike; NaN where a class has fewer than `MINIMUM_N` studies, or where
        the areas differ and the variance of the difference is 0.
    """
    values, wanted = np.asarray(scores, np.float64), np.asarray(positive, bool)
    both = np.isfinite(values).all(axis=0)
    values, wanted = values[:, both], wanted[both]
    if min(wanted.sum(), (~wanted).sum()) < MINIMUM_N:
        return float("nan")
    ranking = delong(values, wanted)
    difference = float(ranking.auroc[0] - ranking.auroc[1])
    contrast = np.array([1.0, -1.0])
    variance = float(contrast @ ranking.covariance @ contrast)
    if abs(difference) < 1e-12:
        return 1.0
    if variance < 1e-15:
        return float("nan")
    return erfc(abs(difference) / sqrt(2 * variance))
