"""Do the members of an ensemble see the same lesions?

Structural uncertainty asks for whole lesions and whole scans what `jobs.uncertainty` asks for
voxels: how much the members' masks differ from the ensemble's.

References
----------
Molchanova et al.: Structural-based uncertainty in deep learning across anatomical scales:
analysis in white matter lesion segmentation. Computers in Biology and Medicine 184, 2025.
"""

from __future__ import annotations

from math import nan

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import Connectivity, Mask, as_mask, label_box, union_box
from jobs.metrics.lesionwise import match_labels
from jobs.metrics.overlap import check_same_shape, confusion, iou

THRESHOLD = 0.5
"""Probability from which a voxel is a member's lesion, for the structural measures."""
PER_LESION = ("structural_lesion_mean", "structural_lesion_max")


def lesion_structural_uncertainty(
    mask: Mask,
    probability: NDArray[np.floating],
    threshold: float = THRESHOLD,
    connectivity: Connectivity = 26,
) -> NDArray[np.float64]:
    """Disagreement on each lesion: 1 − mean over members of its IoU with its match (LSU).

    The match of a lesion in a member is the member's lesion of highest IoU with it, among the
    connected components of probability ≥ threshold; IoU is 0 where it touches none.

    Parameters
    ----------
    mask : (x, y, z) bool ndarray
        The ensemble's mask.
    probability : (member, x, y, z) float ndarray
    threshold : float
    connectivity : {6, 18, 26}

    Returns
    -------
    (n,) float64 ndarray
        One value a lesion, in the order of `components.label`; empty for an empty mask.
    """
    check_same_shape(mask=mask, member=probability[0])
    members = [member >= threshold for member in probability]
    box = union_box(mask, *members)
    if box is None:
        return np.empty(0)
    labelled = label_box(mask[box], connectivity)
    pairs = (match_labels(labelled, label_box(each[box], connectivity)) for each in members)
    return np.asarray(1 - np.mean([pair.best_iou() for pair in pairs], axis=0))


def patient_structural_uncertainty(
    mask: Mask, probability: NDArray[np.floating], threshold: float = THRESHOLD
) -> float:
    """Disagreement on a scan: 1 − mean over members of the IoU with the ensemble's mask (PSU).

    Parameters
    ----------
    mask : (x, y, z) bool ndarray
    probability : (member, x, y, z) float ndarray
        A member's mask is probability ≥ threshold.

    Returns
    -------
    float
        0 where all are empty; a member that is empty alone counts as IoU 0.
    """
    check_same_shape(mask=mask, member=probability[0])
    overlaps = [iou(confusion(member >= threshold, mask)) for member in probability]
    return 1 - float(np.mean(overlaps))


def structural_summary(
    mask: Mask, probability: NDArray[np.floating], connectivity: Connectivity = 26
) -> dict[str, float]:
    """Structural disagreement of a scan as scalars.

    Returns
    -------
    dict
        ``structural_patient`` (PSU); ``structural_lesion_mean`` and ``structural_lesion_max`` over
        the mask's lesions (LSU), nan where there is none.
    """
    check_same_shape(mask=mask, member=probability[0])
    # All but the lesions is certain background: the box around them gives the same numbers.
    box = union_box(as_mask(mask), *(member >= THRESHOLD for member in probability))
    if box is None:
        return {"structural_patient": 0.0, **dict.fromkeys(PER_LESION, nan)}
    inner, members = as_mask(mask)[box], probability[(slice(None), *box)]
    lesions = lesion_structural_uncertainty(inner, members, THRESHOLD, connectivity)
    values = (lesions.mean(), lesions.max()) if lesions.size else (nan, nan)
    found = dict(zip(PER_LESION, map(float, values), strict=True))
    patient = patient_structural_uncertainty(inner, members, THRESHOLD)
    return {"structural_patient": patient, **found}
