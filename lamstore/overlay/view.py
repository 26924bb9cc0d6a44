"""Which way round is a subject shown, and where? Geometry of pictures, no drawing.

The radiological view: the patient's right on the left of the picture, front or top upwards,
whatever the order and the directions of the stored axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lamstore.schema import SPATIAL

Plane = Literal["axial", "coronal", "sagittal"]
Bools = NDArray[np.bool_]

AXES: dict[Plane, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
"""World axis (0 left-right, 1 back-front, 2 down-up) that is cut, runs down, runs to the right."""
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
"""What lies at the start and the end of each world axis in the picture."""
THICK = 1.5
"""From this ratio of spacings on, slices are shown as acquired, else axially."""
MARGIN_MM = 6.0
"""Left around the brain."""


@dataclass(frozen=True)
class View:
    """How the stored axes of a subject lie in a picture.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
    cut, down, right : int
        Stored axis that is cut, that runs down and that runs to the right.
    flips : (2,) tuple of bool
        Whether the down and the right axis are stored the other way round.
    upwards : bool
        Whether stored slices run towards up, front or right.
    spacing_mm : (3,) tuple of float
        Along cut, down, right.
    """

    plane: Plane
    cut: int
    down: int
    right: int
    flips: tuple[bool, bool]
    upwards: bool
    spacing_mm: tuple[float, float, float]

    @property
    def cut_dim(self) -> str:
        """Name of the dim that is cut."""
        return SPATIAL[self.cut]

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """What lies at the top, bottom, left and right edge: ``("A", "P", "R", "L")`` if axial."""
        _, down, right = AXES[self.plane]
        return (*LETTERS[down], *LETTERS[right])

    def turn(self, values: NDArray[Any]) -> NDArray[Any]:
        """(x, y, z) stored array to (slice, row, column), rows downwards."""
        turned = values.transpose(self.cut, self.down, self.right)
        return turned[:, :: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]


def view(affine: NDArray[np.float64], plane: Plane | None = None) -> View:
    """Radiological view of a grid.

    Parameters
    ----------
    affine : (4, 4) ndarray
        Voxel indices to RAS mm. Oblique grids get the nearest anatomical plane.
    plane : {"axial", "coronal", "sagittal"}, optional
        By default that of thick slices, and axial for voxels that are nearly cubes.
    """
    orientation = nib.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    stored = {int(world): axis for axis, (world, _) in enumerate(orientation)}
    if plane is None:
        thick = int(spacing.argmax())
        uneven = spacing[thick] > THICK * np.delete(spacing, thick).max()
        chosen = int(orientation[thick, 0]) if uneven else 2
        plane = {cut: name for name, (cut, _, _) in AXES.items()}[chosen]
    cut, down, right = (stored[world] for world in AXES[plane])
    # Indices that grow towards right, front or up run against the picture.
    flips = (bool(orientation[down, 1] > 0), bool(orientation[right, 1] > 0))
    x, y, z = (float(spacing[axis]) for axis in (cut, down, right))
    return View(plane, cut, down, right, flips, bool(orientation[cut, 1] > 0), (x, y, z))


def fullest(score: NDArray[np.int64], fallback: NDArray[np.int64], n: int, gap: int) -> list[int]:
    """The `n` slices of largest score, at least `gap` apart where that is possible.

    Parameters
    ----------
    score, fallback : (slice,) int ndarray
        Voxels of change, and of lesion: the second decides where the first is 0, and the middle of
        the array where both are.

    Returns
    -------
    list of int
        In the order of the axis; fewer than `n` when nothing is left to show.
    """
    ranked = [k for values in (score, fallback) for k in np.argsort(-values, kind="stable")
              if values[k] > 0]  # fmt: skip
    chosen: list[int] = []
    for k in dict.fromkeys(int(k) for k in ranked):
        if len(chosen) < n and all(abs(k - other) >= gap for other in chosen):
            chosen.append(k)
    return sorted(chosen) or [len(score) // 2]


@dataclass(frozen=True)
class Frame:
    """The part of the slices that is shown, and its size.

    Attributes
    ----------
    rows, columns : slice
        Around the brain.
    extent : (4,) tuple of float
        left, right, bottom, top in mm, as imshow takes it.
    spacing_mm : (2,) tuple of float
        Down and to the right.
    """

    rows: slice
    columns: slice
    extent: tuple[float, float, float, float]
    spacing_mm: tuple[float, float]

    def cut(self, values: NDArray[Any]) -> NDArray[Any]:
        """The shown part of a (row, column) array."""
        return values[self.rows, self.columns]


def frame(brainmask: Bools, spacing_mm: tuple[float, float]) -> Frame:
    """Box around the brain of all slices (slice, row, column) with a margin."""
    spans = []
    for axis, step in zip((1, 2), spacing_mm, strict=True):
        other = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(brainmask.any(axis=other))
        size = brainmask.shape[axis]
        low, high = (hit[0], hit[-1] + 1) if hit.size else (0, size)
        margin = round(MARGIN_MM / step)
        spans.append(slice(max(0, int(low) - margin), min(size, int(high) + margin)))
    rows, columns = spans
    height = (rows.stop - rows.start) * spacing_mm[0]
    width = (columns.stop - columns.start) * spacing_mm[1]
    return Frame(rows, columns, (0.0, width, height, 0.0), spacing_mm)


def outline(mask: Bools, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Edges between a mask and its outside, along voxel borders.

    Parameters
    ----------
    mask : (row, column) bool ndarray
    spacing_mm : (2,) tuple of float
        Down and to the right.

    Returns
    -------
    (edge, 2, 2) float64 ndarray
        Two end points (right, down) in mm each; (0, 2, 2) for an empty mask.
    """
    padded = np.pad(mask, 1)
    down, right = spacing_mm
    r, c = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    flat = np.stack([np.stack([c, r], -1), np.stack([c + 1, r], -1)], axis=1)
    r, c = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([np.stack([c, r], -1), np.stack([c, r + 1], -1)], axis=1)
    edges: NDArray[np.float64] = np.concatenate([flat, upright]) * np.array([right, down])
    return edges
