"""Where do heatmaps lie that were made on fewer pixels, and what are they on the image's grid?

A localizer's network works on coarse pixels, and its maps hold nothing that more pixels would show.
They stay on that grid while they are measured; only what is stored, or asked for, is brought onto
the grid of the image, and of each level only the box in which there is anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
        On `target`, x fastest in memory. 0 outside of the box of each level's values of at least
        `FAINT` (one voxel wider): a level fills a hundredth of a series.

    Raises
    ------
    GridError
        The axes of the two grids are not parallel.
    """
    weights = [_weights(*axis) for axis in zip(_places(source, target), source.shape, strict=True)]
    out = np.zeros((len(heatmap), *target.shape[::-1]), dtype).transpose(0, 3, 2, 1)
    for level, values in enumerate(heatmap):
        if (box := _box(values)) is None:
            continue
        x, y, z = (_touched(w, side) for w, side in zip(weights, box, strict=True))
        near = [w[fine, side] for w, fine, side in zip(weights, (x, y, z), box, strict=True)]
        part = _product(np.asarray(values[box], np.float32), near)
        if steps is not None:
            np.round(part * np.float32(steps), out=part)
            part /= np.float32(steps)
        out[level, x, y, z] = part
    return out


def _product(part: NDArray[np.float32], weights: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """A box of values times the weights along each of its axes."""
    for axis in np.argsort([len(w) / w.shape[1] for w in weights]):  # the box grows last
        part = np.moveaxis(np.tensordot(weights[axis], part, (1, axis)), 0, axis)
    return part


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


def _box(values: NDArray[np.floating]) -> Box | None:
    """Around what reaches `FAINT`, one voxel wider; None where nothing does."""
    seen = values >= FAINT
    if not seen.any():
        return None
    box = []
    for axis in range(3):
        hit = np.flatnonzero(seen.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(0, int(hit[0]) - 1), int(hit[-1]) + 2))
    return tuple(box)


def _touched(weights: NDArray[np.float32], side: slice) -> slice:
    """Fine voxels that any of the coarse ones reaches."""
    hit = np.flatnonzero(weights[:, side].any(axis=1))
    return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0)
