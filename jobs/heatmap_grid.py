"""Where do heatmaps lie that were made on fewer pixels, and what are they on the image's grid?

A localizer's network works on coarse pixels, and its maps hold nothing that more pixels would show.
They stay on that grid while they are measured; only what is stored, or asked for, is brought onto
the grid of the image, and of each level only the boxes in which there is anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from lamstore.errors import GridError
from lamstore.grid import Grid

FAINT = 1 / 4096
"""Half the step in which heatmaps are stored: less is 0 there."""
PARALLEL_MM = 1e-3
"""How far a voxel may lie off the other grid's axes, at the far corner."""

Box = tuple[slice, ...]


def divided(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """The grid of `shape` voxels that spans the same field of view along the same axes."""
    factors = np.array(grid.shape) / np.array(shape)
    change = np.diag([*factors, 1.0])
    # Outer edges agree, so the centres of the first voxels do not.
    change[:3, 3] = factors / 2 - 0.5
    return Grid.of(shape, grid.matrix @ change)


def onto(
    heatmap: NDArray[np.floating],
    source: Grid,
    target: Grid,
    dtype: DTypeLike = np.float32,
    steps: int | None = None,
) -> NDArray[np.floating]:
    """Maps on another grid with the same axes, by linear interpolation along each.

    Parameters
    ----------
    heatmap : (level, x, y, z) ndarray
        On `source`.
    source, target : Grid
        Beyond the centres of the outer voxels of `source` its last values go on.
    dtype : numpy dtype
    steps : int, optional
        Values are rounded to multiples of 1 / `steps`.

    Returns
    -------
    (level, x, y, z) ndarray
        On `target`, x fastest in memory. 0 outside of boxes around what reaches `FAINT` (one voxel
        wider): a level fills a twentieth of a series.

    Raises
    ------
    GridError
        The axes of the two grids are not parallel.
    """
    axes = [*zip(_places(source, target), source.shape, strict=True)]
    weights = [_weights(*axis) for axis in reversed(axes)]
    # As it is stored: z, y, x, so that every pass runs along memory.
    out = np.zeros((len(heatmap), *target.shape[::-1]), dtype)
    bits = f"u{out.itemsize}"
    for level, values in enumerate(heatmap.transpose(0, 3, 2, 1)):
        for box in _boxes(values):
            z, y, x = (_touched(w, side) for w, side in zip(weights, box, strict=True))
            near = [w[fine, side] for w, fine, side in zip(weights, (z, y, x), box, strict=True)]
            part: NDArray[Any] = np.tensordot(near[0], np.asarray(values[box], np.float32), 1)
            part = near[1] @ part @ near[2].T
            there = out[level, z, y, x].view(bits)
            # Boxes overlap at their edges, where each lacks what is beyond it. Values are not
            # negative, so their bits are in their order, and float16 is slow to compare.
            np.maximum(there, _rounded(part, out.dtype, steps).view(bits), out=there)
    return out.transpose(0, 3, 2, 1)


def _rounded(part: NDArray[Any], dtype: np.dtype[Any], steps: int | None) -> NDArray[Any]:
    if steps is None:
        return part.astype(dtype)
    # Looked up: numpy takes 2.5 ns to make a float16 of a float32.
    table: NDArray[Any] = (np.arange(steps + 1) / steps).astype(dtype)
    part *= np.float32(steps)
    rounded: NDArray[Any] = table[np.rint(part, out=part).astype(np.intp)]
    return rounded


def _places(source: Grid, target: Grid) -> list[NDArray[np.float64]]:
    """Of each axis the target's voxels in the source's indices."""
    between = np.linalg.inv(source.matrix) @ target.matrix
    factors, offset = np.diag(between)[:3], between[:3, 3]
    off_axis = np.abs(between[:3, :3] - np.diag(factors)) @ np.array(target.shape)
    if (off_axis * np.array(source.spacing_mm)).max() > PARALLEL_MM:
        raise GridError(
            "heatmaps lie on a grid whose axes are not those of the image",
            got=f"\n{source.matrix}",
            expected=f"axes parallel to\n{target.matrix}",
        )
    return [f * np.arange(n) + o for f, n, o in zip(factors, target.shape, offset, strict=True)]


def _weights(places: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    """(fine, length) of linear interpolation at places along an axis, clamped at its ends."""
    at = np.clip(places, 0, length - 1)
    near = np.maximum(1 - np.abs(at[:, None] - np.arange(length)), 0)
    return np.asarray(near, np.float32)


def _boxes(values: NDArray[np.floating]) -> list[Box]:
    """Around each part that reaches `FAINT`, one voxel wider."""
    parts, _ = ndimage.label(values >= FAINT, np.ones((3, 3, 3)))
    return [
        tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        for box in ndimage.find_objects(parts)
    ]


def _touched(weights: NDArray[np.float32], side: slice) -> slice:
    """Fine voxels that any of the coarse ones reaches."""
    hit = np.flatnonzero(weights[:, side].any(axis=1))
    return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0)
