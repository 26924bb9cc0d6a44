"""What do lesions and normal-appearing white matter look like on a subject's images?

Contrast is taken from real lesions only: each one's median against that of the tissue around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
FLUID, GREY = 1.5, 0.7
"""Normalized units below white matter: on FLAIR, fluid begins; on T1W, grey matter."""
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
    weight : (n,) float32 ndarray
        How often each of them is taken: the square root of its volume, scaled to a sum of 1. Small
        lesions are many, and fainter.
    grey : (c,) float32 ndarray
        Of grey matter; nan where FLAIR or T1W is absent.
    """

    tissue: NDArray[np.float32]
    contrast: NDArray[np.float32]
    weight: NDArray[np.float32]
    grey: NDArray[np.float32]

    @property
    def chances(self) -> NDArray[np.float64]:
        """`weight` with a sum of 1 in double precision, as NumPy wants it."""
        double = self.weight.astype(np.float64)
        return np.asarray(double / double.sum())

    def typical(self, channel: int) -> float:
        """Weighted mean contrast of one channel."""
        return float(self.contrast[:, channel] @ self.weight)


def lesion_look(
    images: Image, truth: Mask, brain: Mask, spacing_mm: Spacing, channels: tuple[str, ...]
) -> LesionLook | None:
    """Measure one subject.

    Parameters
    ----------
    images : (c, x, y, z) float32 ndarray
        Normalized; a channel that the subject lacks is nan or constant.
    truth, brain : (x, y, z) bool ndarray
    spacing_mm : (3,) tuple of float
    channels : tuple of str
        Modalities.

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
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    least = LEAST_MM3 / float(np.prod(spacing_mm))
    found = [
        (sizes[number], contrast)
        for number in range(1, count + 1)
        if sizes[number] >= least
        and (contrast := _contrast(images, labels == number, around, spacing_mm)) is not None
    ]
    if not found:
        return None
    tissue = np.median(images[:, around], axis=1)
    contrasts = np.stack([contrast for _, contrast in found])
    weight = np.sqrt([size for size, _ in found])
    blank = np.ptp(images.reshape(len(images), -1), axis=1) == 0
    tissue[blank], contrasts[:, blank] = np.nan, np.nan
    return LesionLook(
        tissue.astype(np.float32),
        contrasts.astype(np.float32),
        (weight / weight.sum()).astype(np.float32),
        _grey(images, brain & ~near, tissue, channels),
    )


def _grey(
    images: Image, normal: Mask, tissue: NDArray[np.floating], channels: tuple[str, ...]
) -> NDArray[np.float32]:
    """Medians of what is darker than white matter on T1W and no fluid on FLAIR."""
    absent = np.full(len(images), np.nan, np.float32)
    if not {"flair", "t1w"} <= set(channels):
        return absent
    flair, t1w = channels.index("flair"), channels.index("t1w")
    grey = normal & (images[flair] > tissue[flair] - FLUID) & (images[t1w] < tissue[t1w] - GREY)
    if np.count_nonzero(grey) < LEAST_RING:
        return absent
    return np.median(images[:, grey], axis=1).astype(np.float32)


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


@dataclass(frozen=True)
class Looks:
    """The looks of the training subjects.

    Attributes
    ----------
    own : mapping of subject to LesionLook
    pooled : LesionLook
        Of all of them together, for a subject without large lesions of its own.
    """

    own: Mapping[str, LesionLook]
    pooled: LesionLook

    def of(self, subject: str) -> LesionLook:
        """The subject's own look, or that of all."""
        return self.own.get(subject, self.pooled)


def pooled(looks: Sequence[LesionLook]) -> LesionLook:
    """The look for a subject without large lesions of its own: that of all others together.

    Raises
    ------
    ConfigError
        When there is none.
    """
    if not looks:
        raise ConfigError(
            "augmentation needs the contrast of real lesions, and no training subject has any",
            expected=f"at least one lesion of {LEAST_MM3:g} mm³ in the training subjects",
            remedy="train on subjects with lesions, or set augment.transplant to null and "
            "augment.tissue_contrast to 0",
        )
    weight = np.concatenate([look.weight for look in looks]) / len(looks)
    return LesionLook(
        _median([look.tissue for look in looks]),
        np.concatenate([look.contrast for look in looks]),
        weight.astype(np.float32),
        _median([look.grey for look in looks]),
    )


def _median(values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Median channel by channel of those that are not nan; nan where all are."""
    columns = [column[np.isfinite(column)] for column in np.stack(values).T]
    return np.array([np.median(c) if c.size else np.nan for c in columns], np.float32)
