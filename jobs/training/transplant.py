"""How does a real lesion of one person come into the white matter of another?

A lesion keeps its shape. Where subjects and donors lie in one space it may keep its place, moved by
a few millimetres and mirrored at random, so that it lies where lesions lie: beside the ventricles,
under the cortex. It is placed only where the tissue looks normal on every channel, with the
contrast that a real lesion of the subject has, a soft edge, and a texture of its own. The labels
are united.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from jobs.metrics.components import Mask
from jobs.training.config import TransplantConfig
from jobs.training.donors import MIRROR, Affine, Donor, Labels
from jobs.training.look import LesionLook

Image = NDArray[np.float32]
Random = np.random.Generator

TOLERANCE = 1.2
"""How far, in normalized units, tissue may be from the subject's white matter and still be taken
for it. Brain-wide z-scores: white and grey matter lie about one apart on T1W."""
TISSUE_SHARE = 0.6
"""Of a lesion's voxels that must lie in such tissue."""
TRIES = 4
"""Donors that are tried in one patch until one has a lesion that fits."""
FAR_MM = 15.0
"""How far a whole pattern of lesions is moved when it does not keep its place."""
LEAST_ALPHA = 0.35
"""Below this share of lesion a voxel of the placed edge is not labelled lesion."""


@dataclass(frozen=True)
class Transplanter:
    """Places lesions of donors into patches.

    Attributes
    ----------
    donors : sequence of Donor
    looks : mapping of subject to LesionLook
    common : LesionLook
        For subjects that have none of their own.
    channels : tuple of str
        Modalities of the patches' channels.
    config : TransplantConfig
    """

    donors: Sequence[Donor]
    looks: Mapping[str, LesionLook]
    common: LesionLook
    channels: tuple[str, ...]
    config: TransplantConfig

    def __call__(
        self,
        images: Image,
        truth: Mask,
        brain: Mask,
        affine: Affine,
        subject: str,
        random: Random,
    ) -> tuple[Image, Mask]:
        """A patch with lesions placed in it; the patch itself where none fits.

        Parameters
        ----------
        images : (c, x, y, z) float32 ndarray
            Normalized; channels that the subject lacks are constant, and stay so.
        truth, brain : (x, y, z) bool ndarray
        affine : (4, 4) float64 ndarray
            Voxels of the patch to RAS mm.
        subject : str
        random : numpy.random.Generator

        Returns
        -------
        images : (c, x, y, z) float32 ndarray
        truth : (x, y, z) bool ndarray
        """
        look = self.looks.get(subject, self.common)
        has = np.array([float(np.ptp(image)) > 0 for image in images])
        usable = has & np.isfinite(look.tissue) & np.isfinite(look.contrast).all(axis=0)
        if not usable.any():
            return images, truth
        normal = normal_tissue(images, truth, brain, look.tissue, usable, self.channels)
        for _ in range(TRIES):
            labels = self._candidates(normal, affine, random)
            placed = fitting(labels, normal, random)
            if placed.any():
                blended = self._blend(images, placed, brain, look, usable, affine, random)
                return blended[0], truth | blended[1]
        return images, truth

    def _candidates(self, normal: Mask, affine: Affine, random: Random) -> Labels:
        donor = self.donors[random.integers(len(self.donors))]
        if self.config.common_space:
            near = random.random() < self.config.keep_place
            reach_mm = self.config.jitter_mm if near else FAR_MM
            moved = affine.copy()
            moved[:3, 3] += random.uniform(-reach_mm, reach_mm, 3)
            if random.random() < 0.5:
                moved = MIRROR @ moved
            return donor.window(normal.shape, moved)
        return self._elsewhere(donor, normal, affine, random)

    def _elsewhere(self, donor: Donor, normal: Mask, affine: Affine, random: Random) -> Labels:
        """Single lesions of a donor, each centred on some voxel of normal tissue, any way round."""
        labels = np.zeros(normal.shape, np.uint16)
        places = np.flatnonzero(normal)
        if not places.size:
            return labels
        count = int(random.integers(1, self.config.most + 1))
        for number in range(1, count + 1):
            lesion = random.integers(1, donor.sizes.size)
            at = np.unravel_index(places[random.integers(places.size)], normal.shape)
            mask = _lesion_on(donor, int(lesion), affine, random)
            _put(labels, mask, at, number)
        return labels

    def _blend(
        self,
        images: Image,
        placed: Labels,
        brain: Mask,
        look: LesionLook,
        usable: NDArray[np.bool_],
        affine: Affine,
        random: Random,
    ) -> tuple[Image, Mask]:
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        sigma = random.uniform(0.6, 1.4) * self.config.edge_mm / spacing
        mask = (placed > 0) & brain
        # Tiny lesions all but vanish under a symmetric blur; scanners blur them less.
        alpha = np.clip(1.15 * gaussian_filter(mask.astype(np.float32), sigma), 0, 1) * brain
        own = look.contrast[random.integers(len(look.contrast))]
        variation = self._variation(placed, sigma, random)
        out = images.copy()
        for c in np.flatnonzero(usable):
            contrast = own[c] * random.uniform(*self.config.strength)
            level = look.tissue[c] + contrast * variation
            # Half of what is left of the tissue's own structure keeps noise and bias real.
            inside = level + 0.5 * (images[c] - look.tissue[c])
            mixed = images[c] + alpha * (inside - images[c])
            out[c] = np.maximum(mixed, images[c]) if contrast > 0 else np.minimum(mixed, images[c])
        return out, (alpha >= LEAST_ALPHA) & mask

    def _variation(self, placed: Labels, sigma: NDArray[np.float64], random: Random) -> Image:
        """Contrast relative to the patch's: per lesion, and smoothly within each."""
        noise = gaussian_filter(random.standard_normal(placed.shape, np.float32), 1.5)
        noise /= max(float(noise.std()), 1e-6)
        per_lesion = random.uniform(0.75, 1.25, int(placed.max()) + 1).astype(np.float32)
        between = gaussian_filter(per_lesion[placed] * (placed > 0), sigma)
        weight = gaussian_filter((placed > 0).astype(np.float32), sigma)
        smooth = np.divide(between, weight, out=np.ones_like(between), where=weight > 1e-3)
        return np.asarray(smooth * (1 + self.config.texture * 0.5 * noise), np.float32)


def normal_tissue(
    images: Image,
    truth: Mask,
    brain: Mask,
    tissue: NDArray[np.float32],
    usable: NDArray[np.bool_],
    channels: tuple[str, ...],
) -> Mask:
    """Where every usable channel looks like normal-appearing white matter, and no lesion is."""
    normal = brain & ~truth
    for c in np.flatnonzero(usable):
        away = images[c] - tissue[c]
        # White matter is the brightest tissue on T1W: brighter than the ring is still white.
        normal &= (away > -TOLERANCE) if channels[c] == "t1w" else (np.abs(away) < TOLERANCE)
    return normal


def fitting(labels: Labels, normal: Mask, random: Random) -> Labels:
    """Only those lesions that lie mostly in normal tissue; one in ten of them is left out too."""
    count = int(labels.max())
    if not count:
        return labels
    total = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.bincount(labels[normal], minlength=count + 1)
    keep = (inside >= TISSUE_SHARE * np.maximum(total, 1)) & (random.random(count + 1) < 0.9)
    keep[0] = False
    return np.where(keep[labels], labels, np.uint16(0))


def _lesion_on(donor: Donor, number: int, affine: Affine, random: Random) -> Mask:
    """A lesion at the patch's spacing, axes exchanged and reversed at random."""
    mask = donor.lesion(number)
    mask = np.transpose(mask, random.permutation(3))
    for axis in range(3):
        if random.random() < 0.5:
            mask = np.flip(mask, axis)
    own = np.sqrt((donor.affine[:3, :3] ** 2).sum(axis=0)).mean()
    for axis, step in enumerate(np.sqrt((affine[:3, :3] ** 2).sum(axis=0))):
        at = np.arange(0.5 * step / own, mask.shape[axis], step / own).astype(np.int64)
        mask = mask.take(at if at.size else [mask.shape[axis] // 2], axis=axis)
    return mask


def _put(labels: Labels, mask: Mask, at: Sequence[np.intp], number: int) -> None:
    """Write `number` where a mask, centred at a voxel, lies within the array."""
    here, there = [], []
    for centre, size, whole in zip(at, mask.shape, labels.shape, strict=True):
        start = int(centre) - size // 2
        here.append(slice(max(start, 0), min(start + size, whole)))
        there.append(slice(max(-start, 0), max(-start, 0) + here[-1].stop - here[-1].start))
    labels[tuple(here)][mask[tuple(there)]] = number
