"""How does an image's brain come to have the same intensities on every scanner?

A robust z-score: median and robust standard deviation of normal brain tissue, without CSF and
lesions (`jobs.engines.tissue.robust_center_scale`). Measured on six FLAIR images of four patients
against the mean and standard deviation between percentiles 0.5 and 99.5, and against plain median
and MAD: peeling 3 mm off the brain mask changes the lesion-to-white-matter contrast by 2–7 %
instead of 10–39 % and 6–16 %, and white matter comes to lie at −0.55 to −0.65 on all of them
instead of −0.17 to 0.20 and −0.47 to −0.18, whatever the lesion load.

Training reads patches only: the scale is taken once from the whole image, and applied to any part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lamstore.errors import VoxelError

VERSION = "tissue-z-1"
"""Kept in every weights file; raised whenever `normalized` would give other values."""

RANGE = (-5.0, 8.0)
"""Values are clipped to this: fluid lies at −5 and below, lesions at 1 to 4."""


class BrainScale(NamedTuple):
    """Median and robust standard deviation of normal tissue of one image; width 0: constant."""

    centre: float
    width: float


def brain_scale(image: NDArray[np.float32], brainmask: NDArray[np.bool_]) -> BrainScale:
    """Scale of one whole image.

    Parameters
    ----------
    image : (x, y, z) float32 ndarray
    brainmask : (x, y, z) bool ndarray

    Returns
    -------
    BrainScale
        Width 0 where the brain has one single intensity; (0, 0) where it is empty.

    Raises
    ------
    VoxelError
        NaN or infinity in the brain, or no scale although the brain is not constant (more than
        half of it has one value).
    """
    from jobs.engines.tissue import robust_center_scale

    values = image[brainmask]
    if not values.size:
        return BrainScale(0.0, 0.0)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise VoxelError(
            "The image holds NaN or infinity.",
            got=f"{np.count_nonzero(~np.isfinite(values))} such voxels in the brain mask",
            expected="finite intensities",
            remedy="look at the image, or convert it again",
        )
    if low == high:
        return BrainScale(low, 0.0)
    centre, width = robust_center_scale(values)
    if not width > 0:
        raise VoxelError(
            "The image has no scale: its intensities cannot be normalized.",
            got=f"median {centre:g}, robust standard deviation {width:g} in the brain mask",
            expected="intensities of which fewer than half are equal",
            remedy="look at the image and its brain mask",
        )
    return BrainScale(centre, width)


def normalized(
    image: NDArray[np.float32],
    brainmask: NDArray[np.bool_],
    scale: BrainScale,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Image, or any part of it, as the network sees it.

    Parameters
    ----------
    image : (x, y, z) float32 ndarray
    brainmask : (x, y, z) bool ndarray
        The same part of the brain mask.
    scale : BrainScale
        Of the whole image.
    out : (x, y, z) float32 ndarray, optional
        Where to put the result; may be `image` itself.

    Returns
    -------
    (x, y, z) float32 ndarray
        Robust z within `RANGE`; 0 outside the brain, and everywhere where the width is 0.
    """
    out = np.empty_like(image) if out is None else out
    if scale.width == 0:
        out[...] = 0
        return out
    np.subtract(image, np.float32(scale.centre), out=out)
    out *= np.float32(1 / scale.width)
    np.clip(out, *RANGE, out=out)
    np.copyto(out, np.float32(0), where=~brainmask)
    return out
