"""What do lesions and normal-appearing white matter look like on a subject's images?

Contrast is taken from real lesions only: each one's median against that of the tissue around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import Mask, dilate_mm, grow_box, label_box, reach, union_box
from lamstore.errors import ConfigError

Image = NDArray[np.float32]
Spacing = tuple[float, float, float]

GAP_MM, RING_MM = 1.0, 3.0
"""Tissue around a lesion lies between these distances: nearer, it is mixed with lesion."""
LEAST_MM3 = 20.0
"""Smaller lesions are mostly edge: their contrast is not that of lesion tissue."""
LEAST_RING = 10
"""Voxels without which the surroundings of a lesion say nothing."""


@dataclass(frozen=True)
class LesionLook:
    """Intensities, channel by channel, in units of the normalized image.

    Attributes
    ----------
    tissue : (c,) float32 ndarray
        Of normal-appearing tissue around lesions; nan where the subject lacks the channel.
    contrast : (n, c) float32 ndarray
        Of n real lesions against their surroundings; nan as above.
    """

    tissue: NDArray[np.float32]
    contrast: NDArray[np.float32]


def lesion_look(images: Image, truth: Mask, brain: Mask, spacing_mm: Spacing) -> LesionLook | None:
    """Measure one subject.

    Parameters
    ----------
    images : (c, x, y, z) float32 ndarray
        Normalized; a channel that the subject lacks is nan or constant.
    truth, brain : (x, y, z) bool ndarray
    spacing_mm : (3,) tuple of float

    Returns
    -------
    LesionLook or None
        None when no lesion reaches `LEAST_MM3`.
    """
    box = union_box(truth)
    if box is None:
        return None
    box = grow_box(box, _margin(spacing_mm), truth.shape)
    images, truth, brain = images[(slice(None), *box)], truth[box], brain[box]
    near = dilate_mm(truth, spacing_mm, GAP_MM)
    around = dilate_mm(truth, spacing_mm, RING_MM) & ~near & brain
    labels, count = label_box(np.ascontiguousarray(truth), 26)
    least = LEAST_MM3 / float(np.prod(spacing_mm))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    found = [
        contrast
        for number in range(1, count + 1)
        if sizes[number] >= least
        and (contrast := _contrast(images, labels == number, around, spacing_mm)) is not None
    ]
    if not found:
        return None
    tissue = np.median(images[:, around], axis=1)
    blank = np.ptp(images.reshape(len(images), -1), axis=1) == 0
    tissue[blank] = np.nan
    contrasts = np.stack(found)
    contrasts[:, blank] = np.nan
    return LesionLook(tissue.astype(np.float32), contrasts.astype(np.float32))


def _contrast(
    images: Image, lesion: Mask, around: Mask, spacing_mm: Spacing
) -> NDArray[np.float32] | None:
    box = union_box(lesion)
    assert box is not None
    box = grow_box(box, _margin(spacing_mm), lesion.shape)
    own = lesion[box]
    ring = dilate_mm(own, spacing_mm, RING_MM) & around[box]
    if np.count_nonzero(ring) < LEAST_RING:
        return None
    here = images[(slice(None), *box)]
    return np.asarray(np.median(here[:, own], axis=1) - np.median(here[:, ring], axis=1))


def _margin(spacing_mm: Spacing) -> tuple[int, int, int]:
    x, y, z = reach(spacing_mm, RING_MM)
    return x + 1, y + 1, z + 1


def pooled(looks: Sequence[LesionLook]) -> LesionLook:
    """The look for a subject without large lesions of its own: that of all others together.

    Raises
    ------
    ConfigError
        When there is none.
    """
    if not looks:
        raise ConfigError(
            "lesion transplant needs the contrast of real lesions, and no training subject has any",
            expected=f"at least one lesion of {LEAST_MM3:g} mm³ in the training subjects",
            remedy="set augment.transplant to null, or train on subjects with lesions",
        )
    tissue = np.nanmedian(np.stack([look.tissue for look in looks]), axis=0)
    return LesionLook(tissue, np.concatenate([look.contrast for look in looks]))
