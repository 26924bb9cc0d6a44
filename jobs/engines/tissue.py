"""What is normal brain tissue like on this image, and where is it white matter?"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lamstore.errors import EngineError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Triple = tuple[float, float, float]

TISSUE_SAMPLE = 20_000
"""Voxels on which the T1W mixture is fitted. All of them instead move no probability by 0.05
(0.005 on average), seen on four brains."""

MIN_BRAIN_VOXELS = 100
"""Fewer voxels do not define three normal distributions."""


def robust_center_scale(values: Floats) -> tuple[float, float]:
    """Median and robust standard deviation of normal tissue.

    Parameters
    ----------
    values : (n,) ndarray
        Intensities in the brain mask.

    Returns
    -------
    center, scale : float
        Median and 1.4826 × median absolute deviation of the values within 3 scales of the median,
        iterated, so that neither CSF nor lesions widen the scale. Scale is 0 or NaN where the
        values do not define one.
    """
    kept = values
    for _ in range(6):
        center = float(np.median(kept))
        scale = 1.4826 * float(np.median(np.abs(kept - center)))
        kept = values[np.abs(values - center) < 3 * scale]
        if not kept.size:
            break
    return center, scale


def smooth_within(values: Floats, mask: Mask, sigma_mm: float, spacing_mm: Triple) -> Floats:
    """Gaussian mean over the voxels of a mask alone (normalized convolution).

    0 where no voxel of the mask is in reach (4 sigma).
    """
    sigma = [sigma_mm / s for s in spacing_mm]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="constant")
    total = ndimage.gaussian_filter(np.where(mask, values, 0), sigma, mode="constant")
    return np.asarray(np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-3))


def white_matter(t1w: Floats, brain: Mask) -> Floats:
    """Probability of white matter from T1W alone.

    The brightest of three normal distributions (CSF, grey, white matter) fitted to the
    intensities. Where contrast is poor, as after gadolinium, the classes overlap and
    probabilities stay undecided.

    Returns
    -------
    (x, y, z) float32 ndarray
    """
    # Only here: training and ingest want a scale, and importing this takes a second.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    values = t1w[brain]
    if values.size < MIN_BRAIN_VOXELS:
        raise EngineError(
            "Tissue classes cannot be told apart on T1W: the brain mask is too small.",
            got=f"{values.size} voxels",
            expected=f"at least {MIN_BRAIN_VOXELS}",
            remedy="look at the brain mask, or set use_t1w to false",
        )
    low, high = np.percentile(values, (0.5, 99.5))
    sample = np.clip(values[:: max(1, values.size // TISSUE_SAMPLE)], low, high)[:, None]
    mixture = GaussianMixture(
        3,
        covariance_type="spherical",
        weights_init=np.full(3, 1 / 3),
        means_init=np.percentile(sample, (7, 40, 80))[:, None],
        precisions_init=np.full(3, 16 / np.var(sample)),
        init_params="random",
        random_state=0,
        tol=1e-4,
        max_iter=200,
    )
    with warnings.catch_warnings():
        # The classes hardly move after 200 steps, converged to `tol` or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(sample.astype(np.float64))
    axis = np.linspace(low, high, 256)
    white = mixture.predict_proba(axis[:, None])[:, int(np.argmax(mixture.means_))]
    # A wide CSF class would claim the bright tail: brighter than white matter stays white.
    return np.interp(t1w, axis, np.maximum.accumulate(white)).astype(np.float32)
