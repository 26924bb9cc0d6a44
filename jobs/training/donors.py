"""Which real lesions are there to be placed elsewhere, and where in the head do they lie?

A donor is the lesion mask of one person: a NIfTI file, or the truth of a training subject. No
image is needed. Its lesions are numbered once; a window of it is then cut on any patch's grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from jobs.metrics.components import Mask, bounding_box, label_box
from jobs.nifti import read_header, read_volume
from lamstore.errors import MissingInputError
from lamstore.store import checksum

Labels = NDArray[np.uint16]
Affine = NDArray[np.float64]

ALIGNED = 1e-4
"""Voxels per voxel off the axes below which two grids count as parallel."""

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Left for right, about the plane x = 0 of a common space."""


@dataclass(frozen=True)
class Donor:
    """The lesions of one person.

    Attributes
    ----------
    name : str
    labels : (x, y, z) uint16 ndarray
        Cropped to the lesions; 0 outside, 26-connected lesions from 1.
    affine : (4, 4) float64 ndarray
        Voxels of `labels` to RAS mm.
    sizes : (n + 1,) int64 ndarray
        Voxels of each lesion, 0 at index 0.
    """

    name: str
    labels: Labels
    affine: Affine
    sizes: NDArray[np.int64]

    def window(self, shape: tuple[int, ...], affine: Affine) -> Labels:
        """The lesions as they lie on another grid, nearest neighbour.

        Parameters
        ----------
        shape : (3,) tuple of int
        affine : (4, 4) float64 ndarray
            Voxels of the wanted grid to the donor's RAS mm; moves and mirrors are part of it.

        Returns
        -------
        (x, y, z) uint16 ndarray
        """
        to_own = np.linalg.inv(self.affine) @ affine
        matrix, offset = to_own[:3, :3], to_own[:3, 3]
        if np.abs(matrix - np.diag(np.diag(matrix))).max() < ALIGNED:
            return _picked(self.labels, shape, np.diag(matrix), offset)
        return np.asarray(
            affine_transform(self.labels, matrix, offset, shape, order=0, mode="constant")
        )

    @property
    def content(self) -> str:
        """Digest of the cropped mask: the same lesions give the same, whatever the file's name."""
        mask = np.ascontiguousarray(self.labels > 0)
        return checksum(mask) + str(mask.shape)

    def lesion(self, number: int) -> Mask:
        """One lesion, (x, y, z) bool, cropped to it."""
        mask = self.labels == number
        box = bounding_box(mask)
        assert box is not None
        return np.asarray(mask[box])


def _picked(
    labels: Labels, shape: tuple[int, ...], steps: NDArray[np.float64], offset: NDArray[np.float64]
) -> Labels:
    """Nearest neighbours along each axis by itself: thirty times as fast as the general way."""
    out = np.zeros(shape, labels.dtype)
    here, there = [], []
    for size, step, first, length in zip(shape, steps, offset, labels.shape, strict=True):
        at = np.rint(first + step * np.arange(size)).astype(np.int64)
        inside = np.flatnonzero((at >= 0) & (at < length))
        if not inside.size:
            return out
        here.append(slice(int(inside[0]), int(inside[-1]) + 1))
        there.append(at[inside])
    out[tuple(here)] = labels[np.ix_(*there)]
    return out


def donor_of(name: str, mask: Mask, affine: Affine) -> Donor | None:
    """The donor of an (x, y, z) mask with its affine to RAS mm; None for an empty mask."""
    box = bounding_box(mask)
    if box is None:
        return None
    labels, _ = label_box(np.ascontiguousarray(mask[box]), 26)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return Donor(name, labels.astype(np.uint16), moved, sizes)


def read_donors(patterns: Sequence[str]) -> list[Donor]:
    """Donors of all NIfTI masks that globs name, in the order of their paths.

    Empty masks give none.

    Raises
    ------
    MissingInputError
        When a pattern names no file.
    """
    paths: set[Path] = set()
    for pattern in patterns:
        found = [Path(path) for path in glob(pattern, recursive=True)]  # noqa: PTH207, absolute
        if not found:
            raise MissingInputError(
                "there are no lesion masks to transplant",
                got=pattern,
                expected="a glob that names NIfTI files",
                remedy="correct augment.transplant.masks in train.yaml",
            )
        paths |= {path.resolve() for path in found}
    return _there(_read(path) for path in sorted(paths))


def _read(path: Path) -> Donor | None:
    name = f"{path.parent.name}/{path.name}"
    header = read_header(path, name)
    return donor_of(name, read_volume(path, header, name) != 0, header.grid.matrix)


def _there(donors: Iterable[Donor | None]) -> list[Donor]:
    return [donor for donor in donors if donor is not None]
