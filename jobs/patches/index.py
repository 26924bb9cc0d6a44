"""What must a sampler know of a subject, so that training never reads a whole volume?

Where the brain is, which lesions there are, a bounded sample of the voxels of each, and the scale
of every image within the brain. Computed at ingest from arrays that are in memory there anyway; for
a study that was ingested before, from one read of the subject when training first asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import Mask, bounding_box, label_box
from jobs.unet.normalize import VERSION as SCALE_VERSION
from jobs.unet.normalize import BrainScale, brain_scale
from lamstore.errors import MissingArrayError
from lamstore.grid import Grid
from lamstore.store import checksum

VERSION = f"1 {SCALE_VERSION}"
"""Changes when the same arrays give another index."""

BRAIN_SAMPLES = 8192
"""Brain voxels that are kept, at random, as centres of patches anywhere in the brain."""
LESION_SAMPLES = 128
"""Voxels that are kept of a lesion, at random; all of a smaller one."""

Image = tuple[str, str]
"""Timepoint, modality."""


@dataclass(frozen=True)
class Lesions:
    """The 26-connected components of one lesion truth.

    Attributes
    ----------
    boxes : (L, 3, 2) int32 ndarray
        Start and stop along x, y, z.
    voxels : (L,) int64 ndarray
        Size of each.
    samples : (N, 3) int16 ndarray
        Voxels of the lesions, those of lesion i from ``offsets[i]`` to ``offsets[i + 1]``.
    offsets : (L + 1,) int64 ndarray
    """

    boxes: NDArray[np.int32]
    voxels: NDArray[np.int64]
    samples: NDArray[np.int16]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.voxels)


@dataclass(frozen=True)
class SubjectIndex:
    """What a sampler knows of one subject.

    Attributes
    ----------
    subject : str
    grid : Grid
    brain_box : (3, 2) int32 ndarray
        Start and stop of the brain along x, y, z.
    brain_voxels : int
    brain_samples : (N, 3) int16 ndarray
        Voxels of the brain, at random.
    lesions : mapping of timepoint to Lesions
        Of the timepoints that have a lesion truth; an empty truth has no lesions.
    scales : mapping of (timepoint, modality) to BrainScale
        Of the images that there are.
    contents : mapping of (timepoint, modality) to str
        Checksum of each image's voxels, as stored.
    made_from : mapping of str to str
        Checksums of arrays as in the ledger's record of the ingest.
    """

    subject: str
    grid: Grid
    brain_box: NDArray[np.int32]
    brain_voxels: int
    brain_samples: NDArray[np.int16]
    lesions: Mapping[str, Lesions] = field(default_factory=dict)
    scales: Mapping[Image, BrainScale] = field(default_factory=dict)
    contents: Mapping[Image, str] = field(default_factory=dict)
    made_from: Mapping[str, str] = field(default_factory=dict)

    def lesion_mm3(self) -> float:
        """Lesion volume, the mean of the timepoints that have a truth; 0 without any."""
        loads = [int(found.voxels.sum()) for found in self.lesions.values()]
        return sum(loads) / max(len(loads), 1) * self.grid.voxel_volume_mm3


class IndexBuilder:
    """Collects a subject's index while its arrays pass by: brain mask first.

    Parameters
    ----------
    subject : str
        Decides, with nothing else, which voxels are kept of a mask.
    grid : Grid
    """

    def __init__(self, subject: str, grid: Grid) -> None:
        self._subject, self._grid = subject, grid
        self._brain: Mask | None = None
        self._lesions: dict[str, Lesions] = {}
        self._scales: dict[Image, BrainScale] = {}
        self._contents: dict[Image, str] = {}

    def brainmask(self, mask: NDArray[Any]) -> None:
        """Take the (x, y, z) brain mask."""
        self._brain = mask.astype(bool, copy=False)

    def image(self, timepoint: str, modality: str, values: NDArray[Any]) -> None:
        """Take one (x, y, z) image, in the store's dtype."""
        at = timepoint, modality
        self._scales[at] = brain_scale(values.astype(np.float32, copy=False), self._mask())
        self._contents[at] = checksum(values)

    def lesion_truth(self, timepoint: str, mask: NDArray[Any]) -> None:
        """Take the (x, y, z) lesion truth of a timepoint."""
        random = _random(self._subject, timepoint)
        self._lesions[timepoint] = find_lesions(mask.astype(bool, copy=False), random)

    def finish(self, made_from: Mapping[str, str]) -> SubjectIndex:
        """The index; `made_from` as in SubjectIndex."""
        brain = self._mask()
        if not brain.any():
            raise MissingArrayError(
                f"{self._subject} has no brain mask, within which patches are drawn",
                remedy="add one to the dataset, or leave the subject out of the training",
            )
        box, count, samples = sample_brain(brain, _random(self._subject, "brain"))
        return SubjectIndex(
            self._subject, self._grid, box, count, samples,
            self._lesions, self._scales, self._contents, dict(made_from),
        )  # fmt: skip

    def _mask(self) -> Mask:
        if self._brain is None:
            raise MissingArrayError(f"the index of {self._subject} needs its brain mask first")
        return self._brain


def _random(*parts: str) -> np.random.Generator:
    seed = hashlib.sha256("|".join(parts).encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(seed, "little"))


def find_lesions(truth: Mask, random: np.random.Generator) -> Lesions:
    """The 26-connected components of a lesion mask, with at most `LESION_SAMPLES` voxels of each.

    Parameters
    ----------
    truth : (x, y, z) bool ndarray
    random : numpy.random.Generator

    Returns
    -------
    Lesions
        Without any for an empty mask.
    """
    box = bounding_box(truth)
    if box is None:
        return Lesions(
            np.zeros((0, 3, 2), np.int32), np.zeros(0, np.int64),
            np.zeros((0, 3), np.int16), np.zeros(1, np.int64),
        )  # fmt: skip
    labels, count = label_box(np.asfortranarray(truth[box]), 26)
    at = np.nonzero(labels)
    found = labels[at].astype(np.int64) - 1
    voxels = np.bincount(found, minlength=count)
    points = np.stack(at, axis=1) + [side.start for side in box]
    # A random order, then a stable sort by lesion: the first few of each are a random sample.
    order = random.permutation(len(found))
    order = order[np.argsort(found[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(voxels)])
    rank = np.arange(len(order)) - starts[found[order]]
    boxes = [_box_of(points[order[a:b]]) for a, b in pairwise(starts)]
    samples = points[order[rank < LESION_SAMPLES]].astype(np.int16)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(voxels, LESION_SAMPLES))])
    return Lesions(np.array(boxes, np.int32), voxels, samples, offsets)


def _box_of(points: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack([points.min(axis=0), points.max(axis=0) + 1], axis=1)


def sample_brain(
    brain: Mask, random: np.random.Generator
) -> tuple[NDArray[np.int32], int, NDArray[np.int16]]:
    """Box, number of voxels, and at most `BRAIN_SAMPLES` voxels of a brain mask.

    Parameters
    ----------
    brain : (x, y, z) bool ndarray

    Returns
    -------
    box : (3, 2) int32 ndarray
    count : int
    samples : (N, 3) int16 ndarray
        All of them 0 or without a row for an empty mask.
    """
    box = bounding_box(brain)
    if box is None:
        return np.zeros((3, 2), np.int32), 0, np.zeros((0, 3), np.int16)
    inside = np.asfortranarray(brain[box])
    flat = np.flatnonzero(inside.ravel(order="K"))
    kept = random.choice(flat, min(BRAIN_SAMPLES, flat.size), replace=False)
    points = np.stack(np.unravel_index(kept, inside.shape, order="F"), axis=1)
    points += [side.start for side in box]
    spans = np.array([[side.start, side.stop] for side in box], np.int32)
    return spans, int(flat.size), points.astype(np.int16)
