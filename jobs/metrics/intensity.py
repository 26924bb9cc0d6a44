"""Did the images themselves change within the brain, whatever a model says?"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from lamstore.errors import VoxelError

Values = NDArray[np.float32]


@dataclass(frozen=True)
class BrainIntensity:
    """Intensities of one image within the brain.

    Attributes
    ----------
    values : (n,) float32 ndarray
        The image at the brain's voxels.
    low, high : float
        The two percentiles that scaling maps to 0 and 1.
    median : float
    """

    values: Values
    low: float
    high: float
    median: float

    def scaled(self) -> Values:
        """(n,) float32 values with [low, high] mapped to [0, 1], clipped."""
        out = self.values - np.float32(self.low)
        out /= np.float32(self.high - self.low)
        return np.clip(out, 0, 1, out=out)


def percentiles(values: Values, q: tuple[float, ...]) -> list[float]:
    """Percentiles of an (n,) float32 vector, bit for bit those of ``np.percentile(values, q)``.

    Raises
    ------
    VoxelError
        When the vector is empty or a percentile is not finite.
    """
    if values.size == 0:
        raise VoxelError("the brain mask is empty", remedy="check the subject's brain mask")
    # One scalar q a call, because NumPy rounds an array of them differently; one scratch copy,
    # because each call leaves it partitioned for the next.
    scratch = values.copy()
    result = [float(np.percentile(scratch, one, overwrite_input=True)) for one in q]
    if not all(map(isfinite, result)):
        raise VoxelError("an image holds NaN or infinite values within the brain")
    return result


def clip_range(values: Values, q: tuple[float, float]) -> tuple[float, float]:
    """Low and high percentile of an (n,) float32 vector.

    Where the two coincide (nearly all of the brain has one value) the minimum and maximum take
    their place, as in the published shift suite.

    Raises
    ------
    VoxelError
        When the vector is empty, holds NaN, or is constant.
    """
    low, high = percentiles(values, q)
    return (low, high) if high > low else _extremes(values)


def _extremes(values: Values) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise VoxelError("an image is constant within the brain", got=f"only the value {low}")
    return low, high


def brain_intensity(
    image: NDArray[np.float32], brainmask: NDArray[np.bool_], q: tuple[float, float] = (1.0, 99.0)
) -> BrainIntensity:
    """Brain values of an (x, y, z) image, with their scaling percentiles and median.

    Raises
    ------
    VoxelError
        When the brain mask is empty, or the image is constant or not finite within it.
    """
    values = image[brainmask].astype(np.float32, copy=False)
    low, median, high = percentiles(values, (q[0], 50.0, q[1]))
    if not high > low:
        low, high = _extremes(values)
    return BrainIntensity(values, low, high, median)


def difference_stats(
    before: BrainIntensity, after: BrainIntensity, threshold: float = 0.2
) -> dict[str, float]:
    """Absolute difference of two scaled images over the brain.

    Parameters
    ----------
    before, after : BrainIntensity
        Of the same brain mask.
    threshold : float
        In units of the scaled range.

    Returns
    -------
    dict
        ``intensity_diff_mean``, ``intensity_diff_p95`` and ``intensity_diff_frac_gt``, the share
        of voxels whose difference exceeds the threshold.
    """
    difference = after.scaled()
    difference -= before.scaled()
    np.abs(difference, out=difference)
    above = np.count_nonzero(difference > np.float32(threshold))
    return {
        "intensity_diff_mean": float(difference.mean()),
        "intensity_diff_p95": percentiles(difference, (95.0,))[0],
        "intensity_diff_frac_gt": float(above / difference.size),
    }
