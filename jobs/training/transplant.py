"""How does a real lesion of one person come into the white matter of another?

A lesion keeps its shape. Where subjects and donors lie in one space it may keep its place, moved by
a few millimetres and mirrored at random, so that it lies where lesions lie: beside the ventricles,
under the cortex. It is placed only where the tissue looks normal on every channel, with the
contrast that a real lesion of the subject has, a soft edge, and a texture of its own. The labels
are united.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from jobs.metrics.components import Mask, bounding_box, grow_box
from jobs.training.config import TransplantConfig
from jobs.training.donors import MIRROR, Affine, Donor, Labels
from jobs.training.look import LesionLook, Looks

Image = NDArray[np.float32]
Random = np.random.Generator

TOLERANCE, TOLERANCE_T1W = 1.2, 0.8
"""How far, in normalized units, tissue may be from the subject's white matter and still be taken
for it. White and grey matter lie about 1.5 apart on T1W."""
DARK = 1.5
"""Normalized units below white matter at which fluid begins: no lesion is placed in it."""
TISSUE_SHARE = 0.6
"""Of a lesion's voxels that must lie in such tissue."""
TRIES = 4
"""Donors that are tried in one patch until one has a lesion that fits."""
FAR_MM = 15.0
"""How far a whole pattern of lesions is moved when it does not keep its place."""
LEAST_SHARE = 0.35
"""Below this share of lesion a voxel of the placed edge is not labelled lesion."""
FAINTEST = 0.8
"""Least share of the full contrast that a single lesion of a patch has."""


@dataclass(frozen=True)
class Transplanter:
    """Places lesions of donors into patches.

    Attributes
    ----------
    donors : sequence of Donor
    looks : Looks
    channels : tuple of str
        Modalities of the patches' channels.
    config : TransplantConfig
    """

    donors: Sequence[Donor]
    looks: Looks
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
        look = self.looks.of(subject)
        has = np.array([float(np.ptp(image)) > 0 for image in images])
        usable = has & np.isfinite(look.tissue) & np.isfinite(look.contrast).all(axis=0)
        if not usable.any():
            return images, truth
        # The store's order would make every pass below crawl.
        images = np.ascontiguousarray(images)
        truth, brain = np.ascontiguousarray(truth), np.ascontiguousarray(brain)
        normal = normal_tissue(images, truth, brain, look.tissue, usable, self.channels)
        for _ in range(TRIES):
            labels = self._candidates(normal, affine, random)
            placed = fitting(labels, normal, random)
            if placed.any():
                blended = self._blend(images, placed, brain, look, usable, affine, random)
                return blended[0], truth | blended[1]
        return images, truth

    def _candidates(self, normal: Mask, affine: Affine, random: Random) -> Labels:
        donor = self.donors[int(random.integers(len(self.donors)))]
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
        """The images with the lesions in them, and where these are to be labelled."""
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        sigma = random.uniform(0.6, 1.4) * self.config.edge_mm / spacing
        whole = bounding_box(placed > 0)
        assert whole is not None
        x, y, z = (int(np.ceil(4 * s)) for s in sigma)
        box = grow_box(whole, (x, y, z), placed.shape)
        placed, inside = placed[box], brain[box].copy()
        for c in np.flatnonzero(usable):
            inside &= images[(c, *box)] > look.tissue[c] - DARK
        # Tiny lesions all but vanish under a symmetric blur; scanners blur them less.
        shape = np.clip(1.15 * gaussian_filter((placed > 0).astype(np.float32), sigma), 0, 1)
        opacity = random.uniform(FAINTEST, 1, int(placed.max()) + 1).astype(np.float32)
        alpha = shape * inside * np.where(placed > 0, opacity[placed], opacity.mean())
        alpha *= 1 + self.config.texture * _smooth_noise(placed.shape, random)
        np.clip(alpha, 0, 1, out=alpha)
        own = look.contrast[random.choice(len(look.contrast), p=look.chances)]
        out = images.copy()
        for c in np.flatnonzero(usable):
            contrast = own[c] * random.uniform(*self.config.strength)
            tissue = images[(c, *box)]
            # Half of what is left of the tissue's own structure keeps noise and bias real.
            lesion = look.tissue[c] + contrast + 0.5 * (tissue - look.tissue[c])
            mixed = tissue + alpha * (lesion - tissue)
            limit = np.maximum if contrast > 0 else np.minimum
            out[(c, *box)] = limit(mixed, tissue)
        label = np.zeros(brain.shape, bool)
        label[box] = (placed > 0) & inside & (shape >= LEAST_SHARE)
        return out, label


def _smooth_noise(shape: tuple[int, ...], random: Random) -> Image:
    """Noise of about unit variance, smooth over some three voxels."""
    knots = random.standard_normal([size // 3 + 2 for size in shape], np.float32)
    for axis, size in enumerate(shape):
        at = np.linspace(0, knots.shape[axis] - 1.001, size, dtype=np.float32)
        below = at.astype(np.int64)
        weight = (at - below).reshape([-1 if d == axis else 1 for d in range(3)])
        low, high = knots.take(below, axis), knots.take(below + 1, axis)
        knots = low + (high - low) * weight
    # Linear interpolation takes a third of the variance away along each axis.
    return np.asarray(knots * np.float32(1.5**1.5), np.float32)


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
        t1w = channels[c] == "t1w"
        normal &= (away > -TOLERANCE_T1W) if t1w else (np.abs(away) < TOLERANCE)
    return normal


def fitting(labels: Labels, normal: Mask, random: Random) -> Labels:
    """Only those lesions that lie mostly in normal tissue; one in ten of them is left out too."""
    at = np.flatnonzero(labels)
    if not at.size:
        return labels
    numbers = labels.reshape(-1)[at]
    total = np.bincount(numbers)
    inside = np.bincount(numbers, normal.reshape(-1)[at], minlength=total.size)
    keep = (inside >= TISSUE_SHARE * np.maximum(total, 1)) & (random.random(total.size) < 0.9)
    out = np.zeros_like(labels)
    out.reshape(-1)[at] = np.where(keep[numbers], numbers, np.uint16(0))
    return out


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
