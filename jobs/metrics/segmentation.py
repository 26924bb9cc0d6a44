"""How good is one lesion mask, by overlap, by lesion and by surface?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jobs.metrics import overlap, surface
from jobs.metrics.components import Mask, as_mask
from jobs.metrics.lesionwise import SHIFTS_2022, DetectionRule, detect
from lamstore.errors import ConfigError, MissingInputError
from lamstore.grid import Grid


@dataclass(frozen=True)
class SegmentationParams:
    """What decides the segmentation metrics beside the masks.

    Attributes
    ----------
    detection : DetectionRule
        Connectivity and overlap rule of the lesion-wise columns; Shifts 2022 by default.
    ndsc_domain : {"grid", "brain"}
        Voxels that nDSC counts: the whole image as in the Shifts 2022 challenge, or the brain,
        which makes it independent of the field of view.
    ndsc_reference_fraction : float
        r of nDSC.
    """

    detection: DetectionRule = field(default=SHIFTS_2022)
    ndsc_domain: Literal["grid", "brain"] = "grid"
    ndsc_reference_fraction: float = overlap.NDSC_REFERENCE_FRACTION

    def __post_init__(self) -> None:
        if self.ndsc_domain not in ("grid", "brain"):
            raise ConfigError("unknown nDSC domain", got=self.ndsc_domain, expected="grid, brain")


def segmentation_metrics(
    mask: NDArray[np.generic],
    lesion_truth: NDArray[np.generic],
    grid: Grid,
    brainmask: NDArray[np.generic] | None = None,
    params: SegmentationParams = SegmentationParams(),
) -> dict[str, float]:
    """The segmentation table's row of one subject, timepoint and shift.

    Parameters
    ----------
    mask, lesion_truth : (x, y, z) ndarray
        Bool, or numbers of which nonzero is lesion.
    grid : Grid
    brainmask : (x, y, z) ndarray, optional
        Needed for ``ndsc_domain="brain"`` only.
    params : SegmentationParams

    Returns
    -------
    dict of column to float
        Both masks empty: overlaps and F1 are 1, distances 0, ratios nan. One empty: overlaps and
        F1 are 0, distances nan, and of sensitivity and precision (recall and precision of
        lesions) the one without a denominator is nan.

    Raises
    ------
    GridError
        When shapes differ.
    MissingInputError
        When nDSC is to be counted in a brain mask that is not there.
    """
    found, truth = as_mask(mask), as_mask(lesion_truth)
    overlap.check_same_shape(
        mask=found, lesion_truth=truth, brainmask=brainmask, grid=np.broadcast_to(0, grid.shape)
    )
    counts = overlap.confusion(found, truth)
    lesions = detect(found, truth, grid.voxel_volume_mm3, params.detection)
    distances = surface.surface_distances(found, truth, grid.spacing_mm)
    domain = counts
    if params.ndsc_domain == "brain":
        domain = overlap.confusion(found, truth, _required(brainmask))
    return {
        "dice": overlap.dice(counts),
        "iou": overlap.iou(counts),
        "sensitivity": overlap.sensitivity(counts),
        "precision": overlap.precision(counts),
        "ndsc": overlap.ndsc(domain, params.ndsc_reference_fraction),
        "lesion_f1": lesions.f1,
        "lesion_recall": lesions.recall,
        "lesion_precision": lesions.precision,
        "n_lesions_truth": float(lesions.truth_found.size),
        "n_lesions_predicted": float(lesions.predicted_true.size),
        "hd95_mm": surface.hd95_mm(distances),
        "assd_mm": surface.assd_mm(distances),
        "volume_error_mm3": overlap.volume_error_mm3(counts, grid.voxel_volume_mm3),
        "volume_truth_mm3": counts.truth * grid.voxel_volume_mm3,
        "volume_predicted_mm3": counts.predicted * grid.voxel_volume_mm3,
    }


def _required(brainmask: NDArray[np.generic] | None) -> Mask:
    if brainmask is None:
        raise MissingInputError("nDSC within the brain needs a brain mask")
    return as_mask(brainmask)
