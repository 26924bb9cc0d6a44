"""Does a probability mean what it says, and are the uncertain voxels the wrong ones?

Both questions are answered from histograms that add up: a cohort of any size is read chunk by
chunk, and the parts are merged with ``+``. Inputs are flat arrays of the voxels that count (within
the brain, say); which truth they are compared with is the caller's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamstore.errors import AnalysisError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Voxels by predicted probability, in bins of equal width over [0, 1].

    Attributes
    ----------
    count : (bins,) int64 ndarray
        Bin i holds i/bins <= p < (i + 1)/bins; the last one also p = 1.
    sum_probability, sum_truth : (bins,) float64 ndarray
    squared_error : float
        Σ (p − truth)².
    minimum_probability : float
        Voxels below it were dropped, whatever their truth; `dropped` of them.
    dropped_truth : int
        How many of the dropped voxels are lesion: what the diagram does not see.
    """

    count: Counts
    sum_probability: Floats
    sum_truth: Floats
    squared_error: float
    minimum_probability: float
    dropped: int
    dropped_truth: int

    def __add__(self, other: Reliability) -> Reliability:
        if self.minimum_probability != other.minimum_probability:
            raise AnalysisError("histograms that dropped different voxels cannot be added")
        return Reliability(
            self.count + other.count,
            self.sum_probability + other.sum_probability,
            self.sum_truth + other.sum_truth,
            self.squared_error + other.squared_error,
            self.minimum_probability,
            self.dropped + other.dropped,
            self.dropped_truth + other.dropped_truth,
        )

    @property
    def n(self) -> int:
        """Voxels that were not dropped."""
        return int(self.count.sum())

    @property
    def confidence(self) -> Floats:
        """(bins,) mean probability; NaN in empty bins."""
        return _ratio(self.sum_probability, self.count)

    @property
    def accuracy(self) -> Floats:
        """(bins,) fraction of lesion voxels; NaN in empty bins."""
        return _ratio(self.sum_truth, self.count)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |accuracy − confidence| over voxels (Naeini 2015).

        NaN without voxels. In a brain nearly all voxels are sure background and hide any error:
        drop them with ``minimum_probability`` and say so.
        """
        gap = np.abs(self.sum_truth - self.sum_probability).sum()
        return float(gap / self.n) if self.n else float("nan")

    @property
    def brier(self) -> float:
        """Mean squared error of the probability; NaN without voxels."""
        return self.squared_error / self.n if self.n else float("nan")


def reliability(
    probability: ArrayLike, truth: ArrayLike, *, bins: int = BINS, minimum_probability: float = 0.0
) -> Reliability:
    """Histogram of one chunk of voxels.

    Parameters
    ----------
    probability : (n,) float array-like in [0, 1]
    truth : (n,) bool array-like

    Raises
    ------
    AnalysisError
        For probabilities outside [0, 1] or NaN, or lengths that differ.
    """
    p, t = _pair(probability, truth)
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise AnalysisError(
            "probabilities must lie in [0, 1]", got=f"{p.min():.4g} to {p.max():.4g}"
        )
    keep = p >= minimum_probability
    dropped, dropped_truth = int(p.size - keep.sum()), int(t[~keep].sum())
    p, t = p[keep], t[keep]
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    return Reliability(
        count=np.bincount(index, minlength=bins),
        sum_probability=np.bincount(index, weights=p, minlength=bins).astype(np.float64),
        sum_truth=np.bincount(index, weights=t, minlength=bins).astype(np.float64),
        squared_error=float(((p - t) ** 2).sum()),
        minimum_probability=minimum_probability,
        dropped=dropped,
        dropped_truth=dropped_truth,
    )


@dataclass(frozen=True)
class RetentionHistogram:
    """Voxels by uncertainty and outcome.

    Attributes
    ----------
    edges : (bins + 1,) float64 ndarray
        Increasing; values beyond the last edge count in the last bin.
    outcome : (bins, 4) int64 ndarray
        True negatives, false positives, false negatives, true positives.
    """

    edges: Floats
    outcome: Counts

    def __add__(self, other: RetentionHistogram) -> RetentionHistogram:
        if not np.array_equal(self.edges, other.edges):
            raise AnalysisError("histograms with different edges cannot be added")
        return RetentionHistogram(self.edges, self.outcome + other.outcome)


@dataclass(frozen=True)
class RetentionCurve:
    """What happens when the most uncertain voxels are handed to an expert, who is always right.

    Attributes
    ----------
    fraction : (bins + 1,) float64 ndarray
        Fraction of voxels the model keeps, 0 to 1, most certain first.
    error : (bins + 1,) float64 ndarray
        Wrong voxels that remain, as a fraction of all voxels.
    dice : (bins + 1,) float64 ndarray
        Dice after the rest was corrected; 1 where nothing is left to find.
    area : float
        Under `error` (Malinin 2021); smaller is better. NaN without voxels.
    area_random, area_oracle : float
        The same for an uninformative uncertainty (e / 2) and for a perfect one (e² / 2).
    dice_area : float
        Under `dice`; larger is better (R-AUC is its complement).
    """

    fraction: Floats
    error: Floats
    dice: Floats
    area: float
    area_random: float
    area_oracle: float
    dice_area: float

    @property
    def gain(self) -> float:
        """1 for a perfect uncertainty, 0 for chance, negative for worse; NaN without error."""
        span = self.area_random - self.area_oracle
        return (self.area_random - self.area) / span if span > 0 else float("nan")


def uncertainty_edges(upper: float, bins: int = 400, decades: int = 10) -> Floats:
    """Bin edges for an uncertainty in [0, upper]: one bin about 0, the rest logarithmic.

    Logarithmic because nearly all voxels have an uncertainty near 0 and the order among the others
    matters. `upper`: 0.25 for ``ens_var`` and ``prob_p1mp``, ln 2 for ``prob_entropy``.
    """
    return np.concatenate([[0.0], np.geomspace(upper * 10.0**-decades, upper, bins)])


def retention_histogram(
    uncertainty: ArrayLike, predicted: ArrayLike, truth: ArrayLike, edges: Floats
) -> RetentionHistogram:
    """Histogram of one chunk of voxels.

    Parameters
    ----------
    uncertainty : (n,) float array-like, not negative
    predicted, truth : (n,) bool array-like

    Raises
    ------
    AnalysisError
        For negative or NaN uncertainty, or lengths that differ.
    """
    u, t = _pair(uncertainty, truth)
    _, m = _pair(uncertainty, predicted)
    if u.size and not u.min() >= 0:
        raise AnalysisError("an uncertainty must not be negative or NaN", got=f"{u.min()}")
    bins = edges.size - 1
    given = np.asarray(uncertainty).ravel()
    if given.dtype == np.float16:  # as stored: there are fewer values than voxels
        index = _half_bins(edges.tobytes())[given.view(np.uint16)]
    else:
        index = np.searchsorted(edges[1:-1], u, side="right")
    outcome = np.bincount(index * 4 + t * 2 + m, minlength=bins * 4).reshape(bins, 4)
    return RetentionHistogram(edges, outcome)


@lru_cache(maxsize=16)
def _half_bins(edges: bytes) -> Counts:
    """(65536,) bin of every float16 by its bits."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    return np.searchsorted(np.frombuffer(edges, np.float64)[1:-1], values, side="right")


def retention_curve(histogram: RetentionHistogram) -> RetentionCurve:
    """Curves and areas; voxels of one bin are taken in random order (straight segments)."""
    kept = np.vstack([np.zeros(4, np.int64), np.cumsum(histogram.outcome, axis=0)])
    total, positives = kept[-1].sum(), kept[-1, 2:].sum()
    wrong = kept[:, 1] + kept[:, 2]
    found = positives - kept[:, 2]  # What the expert gets is right: only kept misses are missed.
    fraction = _ratio(kept.sum(axis=1), np.full(len(kept), total))
    error = _ratio(wrong, np.full(len(kept), total))
    size = 2 * found + wrong
    dice = np.where(size > 0, 2 * found / np.maximum(size, 1), 1.0)
    e = float(error[-1])
    return RetentionCurve(
        fraction=fraction,
        error=error,
        dice=dice,
        area=float(np.trapezoid(error, fraction)),
        area_random=e / 2,
        area_oracle=e * e / 2,
        dice_area=float(np.trapezoid(dice, fraction)),
    )


def _ratio(a: NDArray[np.generic], b: NDArray[np.generic]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(a, np.float64) / np.asarray(b, np.float64)


def _pair(values: ArrayLike, mask: ArrayLike) -> tuple[Floats, Counts]:
    v, m = np.asarray(values, np.float64).ravel(), np.asarray(mask).ravel()
    if v.size != m.size:
        raise AnalysisError(
            "arrays of voxels differ in length", got=f"{v.size} and {m.size}", expected="the same"
        )
    return v, (m > 0).astype(np.int64)
