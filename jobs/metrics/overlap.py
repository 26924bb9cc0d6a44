"""How well does a mask overlap the truth, voxel by voxel?

`confusion` counts once; every measure is a function of the four counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np

from jobs.metrics.components import Mask
from lamstore.errors import GridError

NDSC_REFERENCE_FRACTION = 0.001
"""r: lesion share of the voxels at which nDSC equals Dice (Raina et al. 2023; Shifts 2022)."""


@dataclass(frozen=True)
class Confusion:
    """Voxels by mask and truth.

    Attributes
    ----------
    tp, fp, fn, tn : int
        In both; in the mask only; in the truth only; in neither.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def predicted(self) -> int:
        """Voxels of the mask."""
        return self.tp + self.fp

    @property
    def truth(self) -> int:
        """Voxels of the truth."""
        return self.tp + self.fn


def check_same_shape(**arrays: np.ndarray | None) -> None:
    """Raise GridError, naming the arrays, unless all that are given have one shape."""
    shapes = {name: array.shape for name, array in arrays.items() if array is not None}
    if len(set(shapes.values())) > 1:
        raise GridError(
            "arrays of one subject differ in shape",
            got=", ".join(f"{name} {shape}" for name, shape in shapes.items()),
            expected="one shape (x, y, z)",
        )


def confusion(mask: Mask, truth: Mask, domain: Mask | None = None) -> Confusion:
    """Count voxels by mask and truth.

    Parameters
    ----------
    mask, truth : (x, y, z) bool ndarray
    domain : (x, y, z) bool ndarray, optional
        Count here only; the whole grid by default.

    Raises
    ------
    GridError
        When the shapes differ.
    """
    check_same_shape(mask=mask, truth=truth, domain=domain)
    if domain is not None:
        mask, truth = mask[domain], truth[domain]
    both = int(np.count_nonzero(mask & truth))
    predicted, true = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
    return Confusion(both, predicted - both, true - both, mask.size - predicted - true + both)


def dice(counts: Confusion) -> float:
    """Dice similarity coefficient, 2 TP / (2 TP + FP + FN).

    1 when mask and truth are both empty, 0 when one is.
    """
    total = counts.predicted + counts.truth
    return 2 * counts.tp / total if total else 1.0


def iou(counts: Confusion) -> float:
    """Intersection over union (Jaccard); 1 when both are empty, 0 when one is."""
    union = counts.tp + counts.fp + counts.fn
    return counts.tp / union if union else 1.0


def sensitivity(counts: Confusion) -> float:
    """Share of the truth that the mask finds; nan when the truth is empty."""
    return counts.tp / counts.truth if counts.truth else nan


def precision(counts: Confusion) -> float:
    """Share of the mask that is true; nan when the mask is empty."""
    return counts.tp / counts.predicted if counts.predicted else nan


def volume_error_mm3(counts: Confusion, voxel_volume_mm3: float) -> float:
    """Volume of the mask less that of the truth, mm³."""
    return (counts.fp - counts.fn) * voxel_volume_mm3


def ndsc(counts: Confusion, reference_fraction: float = NDSC_REFERENCE_FRACTION) -> float:
    """Normalized Dice: Dice with false positives weighed as if lesion load were a standard one.

    nDSC = 2 TP / (2 TP + κ FP + FN), κ = (1 − r) P / (r N), with P and N the voxels inside and
    outside the truth and r = 0.001. Dice at fixed sensitivity and false positive rate grows with
    lesion load; nDSC does not. It depends on which voxels were counted, because N does: the
    Shifts 2022 challenge counts the whole image.

    1 when mask and truth are both empty, 0 when one is (κ = 1 when the truth is empty, as in
    the challenge's code).

    References
    ----------
    Raina, Molchanova, Graziani, Malinin, Müller, Bach Cuadra, Gales: Tackling bias in the Dice
    similarity coefficient: introducing nDSC for white matter lesion segmentation. ISBI 2023.
    Malinin et al.: Shifts 2.0. 2022. Code: Shifts-Project/shifts, mswml/metrics.py.
    """
    if counts.truth == 0:
        return dice(counts)
    negatives = counts.fp + counts.tn
    scale = (1 - reference_fraction) * counts.truth / reference_fraction
    scaled_fp = scale * counts.fp / negatives if negatives else 0.0
    return 2 * counts.tp / (2 * counts.tp + scaled_fp + counts.fn)
