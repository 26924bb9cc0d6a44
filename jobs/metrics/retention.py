"""Does the model know where it is wrong?

Error retention (Shifts 2022): the most uncertain voxels are replaced by the truth, and nDSC is
plotted over the share of voxels that is kept. If uncertainty finds the errors, little is lost by
keeping most voxels. R-AUC is the area under the error (1 − nDSC); lower is better.

References
----------
Malinin et al.: Shifts 2.0, 2022; code: Shifts-Project/shifts, mswml/{metrics,retention_curves}.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import Mask
from jobs.metrics.overlap import Confusion, check_same_shape, ndsc

RETENTION_STEPS = 200
"""Retained fractions: log(1 … 200) / log(200), denser where nearly everything is kept."""


def retention_curve(
    mask: Mask, truth: Mask, uncertainty: NDArray[np.float32], brainmask: Mask | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """nDSC over the share of voxels whose prediction is kept.

    Parameters
    ----------
    mask, truth : (x, y, z) bool ndarray
    uncertainty : (x, y, z) float ndarray
    brainmask : (x, y, z) bool ndarray, optional
        The voxels that take part, as in the challenge; the whole grid by default.

    Returns
    -------
    fractions, scores : (200,) float64 ndarray
        From 0 (all replaced by the truth: nDSC 1) to 1 (nDSC of the mask itself).
        Voxels of equal uncertainty are ranked in array order.
    """
    check_same_shape(mask=mask, truth=truth, uncertainty=uncertainty, brainmask=brainmask)
    domain = np.ones(mask.shape, dtype=bool) if brainmask is None else brainmask
    found, true = mask[domain], truth[domain]
    fractions = np.log(np.arange(1, RETENTION_STEPS + 1)) / np.log(RETENTION_STEPS)
    kept = (found.size * fractions).astype(np.int64)
    order = np.argsort(uncertainty[domain], kind="stable")
    false_positives = _errors_kept((found & ~true)[order], kept)
    false_negatives = _errors_kept((true & ~found)[order], kept)
    lesion = int(np.count_nonzero(true))
    scores = [
        ndsc(Confusion(lesion - fn, fp, fn, found.size - lesion - fp))
        for fp, fn in zip(false_positives, false_negatives, strict=True)
    ]
    return fractions, np.array(scores)


def _errors_kept(errors: NDArray[np.bool_], kept: NDArray[np.int64]) -> list[int]:
    """How many errors lie among the first `kept` voxels, for each count."""
    return [int(n) for n in np.searchsorted(np.flatnonzero(errors), kept)]


def retention_auc(fractions: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """R-AUC: area under 1 − score over the retained fraction, trapezoidal; lower is better."""
    return float(1 - np.trapezoid(scores, fractions))
