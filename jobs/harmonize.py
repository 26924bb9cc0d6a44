"""Can the intensities of a scan be brought back before a model sees them?

Three methods of the field, each a monotone piecewise-linear map of intensity, fitted within the
brain and applied to the whole image:

- ``median``: the follow-up is scaled so that its median is the baseline's.
- ``histogram``: the follow-up's histogram is matched to the baseline's (Gonzalez and Woods),
  through 1001 quantiles. Real change within it is matched away too; that is its cost.
- ``nyul``: every image, the baseline too, is mapped onto one standard scale through its 1st, 99th
  and decile percentiles, linearly between and beyond them.

The first two are relative: the baseline stays as it is, and without one they are impossible.

References
----------
Nyúl, Udupa: On standardizing the MR image intensity scale. Magn Reson Med 42, 1999.
Nyúl, Udupa, Zhang: New variants of a method of MRI scale standardization. IEEE TMI 19, 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.overlap import check_same_shape
from lamstore.errors import VoxelError

VERSION = "1"
RELATIVE = frozenset({"median", "histogram"})
"""Methods that bring a follow-up to its subject's baseline."""

QUANTILES = np.linspace(0, 100, 1001)
LANDMARKS = np.array([1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99], dtype=np.float64)
STANDARD_RANGE = (0.0, 100.0)
"""Where the standard scale puts the 1st and 99th percentile."""

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class IntensityMap:
    """A monotone piecewise-linear map of intensity.

    Attributes
    ----------
    source : (n,) float64 ndarray, increasing
    target : (n,) float64 ndarray, not decreasing
    below, above : float
        Slopes before the first and after the last knot, not negative.
    """

    source: Floats
    target: Floats
    below: float
    above: float

    def __call__(self, values: NDArray[np.floating]) -> Image:
        """Mapped intensities of an array of any shape, float32."""
        out = np.interp(values, self.source, self.target)
        out += self.below * np.minimum(values - self.source[0], 0)
        out += self.above * np.maximum(values - self.source[-1], 0)
        return np.asarray(out, np.float32)


def brain_percentiles(image: Image, brainmask: Mask, q: Sequence[float] | Floats) -> Floats:
    """(len(q),) percentiles of an image (x, y, z) within the brain.

    Raises
    ------
    GridError
        When the shapes differ.
    VoxelError
        When the brain mask is empty, or the image is not finite or constant within it.
    """
    check_same_shape(image=image, brainmask=brainmask)
    values = image[brainmask]
    if not values.size:
        raise VoxelError("the brain mask is empty", remedy="check the subject's brain mask")
    # One sort serves any number of percentiles, and NaN comes last.
    values.sort()
    if not (np.isfinite(values[0]) and np.isfinite(values[-1])):
        raise VoxelError("an image holds NaN or infinite values within the brain")
    if values[0] == values[-1]:
        raise VoxelError("an image is constant within the brain", got=f"only {values[0]:g}")
    at = np.asarray(q, np.float64) / 100 * (values.size - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, values.size - 1)
    low, high = values[below].astype(np.float64), values[above].astype(np.float64)
    return np.asarray(low + (high - low) * (at - below))


def median_map(median: float, reference: float) -> IntensityMap:
    """Scaling that takes the image's median in the brain to the baseline's.

    Raises
    ------
    VoxelError
        When either is not positive: no scaling takes one to the other.
    """
    if not (median > 0 and reference > 0):
        raise VoxelError(
            "median scaling needs positive medians within the brain",
            got=f"{median:g} at the follow-up, {reference:g} at baseline",
            remedy="use histogram or nyul, or leave this harmonization out",
        )
    factor = reference / median
    zero = np.zeros(1)
    return IntensityMap(zero, zero, factor, factor)


def histogram_map(quantiles: Floats, reference: Floats) -> IntensityMap:
    """Map that gives an image the baseline's histogram.

    Parameters
    ----------
    quantiles, reference : (n,) float64 ndarray
        The same quantiles of both images within the brain, of `QUANTILES` say. Where several of
        the image's are equal (it was clipped) they go to the mean of what they would go to.

    Beyond the extremes the map goes on with the ratio of the two ranges.
    """
    source, target = _distinct(quantiles, reference)
    slope = (target[-1] - target[0]) / (source[-1] - source[0])
    return IntensityMap(source, target, slope, slope)


def nyul_map(landmarks: Floats, scale: Floats) -> IntensityMap:
    """Map of an image onto a standard scale.

    Parameters
    ----------
    landmarks : (11,) float64 ndarray
        The image's percentiles `LANDMARKS` within the brain.
    scale : (11,) float64 ndarray
        Of `train_scale`.

    Beyond the landmarks the first and last segments go on (Nyúl 2000).
    """
    source, target = _distinct(landmarks, scale)
    slopes = np.diff(target) / np.diff(source)
    return IntensityMap(source, target, float(slopes[0]), float(slopes[-1]))


def train_scale(landmarks: NDArray[np.float64]) -> Floats:
    """The standard scale: mean landmarks of scans brought to one range (Nyúl 1999).

    Parameters
    ----------
    landmarks : (scan, 11) float64 ndarray
        Percentiles `LANDMARKS` within the brain of one scan each.

    Returns
    -------
    (11,) float64 ndarray
        From 0 to 100, not decreasing.

    Raises
    ------
    VoxelError
        When there is no scan, or one of them has no range.
    """
    first, last = landmarks[:, :1], landmarks[:, -1:]
    if not len(landmarks) or not (last > first).all():
        raise VoxelError(
            "a standard scale needs scans with a range of intensities",
            got=f"{len(landmarks)} scans, {int((last <= first).sum())} of them without",
        )
    low, high = STANDARD_RANGE
    return np.asarray((low + (landmarks - first) / (last - first) * (high - low)).mean(axis=0))


def remap(image: Image, brainmask: Mask, mapping: IntensityMap) -> Image:
    """The image under an intensity map.

    Parameters
    ----------
    image : (x, y, z) float32 ndarray
    brainmask : (x, y, z) bool ndarray

    Returns
    -------
    (x, y, z) float32 ndarray
        Mapped everywhere, but for voxels outside the brain that are exactly 0: they hold no
        signal, and engines take a zero background for what it is.
    """
    check_same_shape(image=image, brainmask=brainmask)
    out = np.empty(image.shape, np.float32)
    # Slab by slab: the double precision in between stays in cache.
    for target, slab, inside in zip(out, image, brainmask, strict=True):
        target[...] = mapping(slab)
        target[(slab == 0) & ~inside] = 0
    return out


def _distinct(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Knots with the equal ones of the source taken together, target averaged over them."""
    knots, at, counts = np.unique(source, return_inverse=True, return_counts=True)
    if len(knots) < 2:
        raise VoxelError("an image has one intensity only: its histogram cannot be matched")
    means = np.bincount(at, weights=target) / counts
    # Averages keep the order up to rounding.
    return knots, np.maximum.accumulate(means)
