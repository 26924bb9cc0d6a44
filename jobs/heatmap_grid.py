"""Where do heatmaps lie that were made on fewer pixels, and what are they on the image's grid?

A localizer's network works on coarse pixels, and its maps hold nothing that more pixels would show.
They stay on that grid while they are measured; only what is stored, or asked for, is brought onto
the grid of the image, and of each level only the boxes in which there is anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import ThreadpoolController

from lamstore.errors import GridError
from lamstore.grid import Grid

FAINT = 1 / 4096
"""Half the step in which heatmaps are stored: less is 0 there."""
PARALLEL_MM = 1e-3
"""How far a voxel may lie off the other grid's axes, at the far corner."""

BAND = 12
"""Rows of the coarse grid that are brought over together: what they become stays in the cache, and
a smaller number of rows would be more boxes."""

Run = tuple[int, int]
"""First index along an axis and the one after the last."""


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
        Values are rounded to multiples of 1 / `steps`, a power of two up to 2048.

    Returns
    -------
    (level, x, y, z) ndarray
        On `target`, x fastest in memory. 0 outside of boxes around what reaches `FAINT`, as far as
        that reaches: a level fills a twentieth of a series.

    Raises
    ------
    GridError
        The axes of the two grids are not parallel.
    """
    sides = zip(_places(source, target), source.shape, strict=True)
    # As it is stored: z, y, x, so that every pass runs along memory.
    axes = [_axis(_weights(*side)) for side in reversed([*sides])]
    out = np.zeros((len(heatmap), *target.shape[::-1]), dtype)
    bits = out.view(f"u{out.itemsize}")
    # Boxes are so small that threads only wait for one another.
    with _math_threads().limit(limits=1, user_api="blas"):
        for level, values in enumerate(heatmap.transpose(0, 3, 2, 1)):
            for box in _boxes(values >= FAINT):
                z, y, x = (axis.around(run) for axis, run in zip(axes, box, strict=True))
                part = _interpolated(values[z.coarse, y.coarse, x.coarse], z, y, x)
                there = bits[level, z.fine, y.fine, x.fine]
                # Boxes overlap at their edges, where each lacks what is beyond it. Values are not
                # negative, so their bits are in their order, and float16 is slow to compare.
                np.maximum(there, _rounded(part, out.dtype, steps).view(bits.dtype), out=there)
    return out.transpose(0, 3, 2, 1)


@lru_cache(maxsize=1)
def _math_threads() -> ThreadpoolController:
    # Looking for the libraries takes longer than all they do here.
    return ThreadpoolController()


@dataclass(frozen=True)
class _Near:
    """Part of an axis: which fine voxels, of which coarse ones, with which weights."""

    fine: slice
    coarse: slice
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class _Axis:
    """Weights (fine, coarse); of each coarse voxel the first fine one it reaches, and the stop."""

    weights: NDArray[np.float32]
    first: list[int]
    stop: list[int]

    def around(self, run: Run) -> _Near:
        """Fine voxels that a run of coarse ones reaches; they need one more on either side."""
        fine = slice(min(self.first[slice(*run)]), max(self.stop[slice(*run)]))
        coarse = slice(max(run[0] - 1, 0), run[1] + 1)
        return _Near(fine, coarse, self.weights[fine, coarse])


def _axis(weights: NDArray[np.float32]) -> _Axis:
    reached = weights > 0
    # On a coarser grid some reach none: nothing begins there, nothing ends.
    first = np.where(reached.any(axis=0), reached.argmax(axis=0), len(weights))
    stop = np.where(reached.any(axis=0), len(weights) - reached[::-1].argmax(axis=0), 0)
    return _Axis(weights, first.tolist(), stop.tolist())


def _interpolated(
    values: NDArray[np.floating], z: _Near, y: _Near, x: _Near
) -> NDArray[np.float32]:
    """(z, y, x) on the fine grid; rows last, of which a box has the fewest."""
    part = np.asarray(values, np.float32)
    part = z.weights @ part.reshape(len(part), -1)
    part = part.reshape(-1, values.shape[2]) @ x.weights.T
    found: NDArray[np.float32] = y.weights @ part.reshape(len(z.weights), values.shape[1], -1)
    return found


def _rounded(part: NDArray[Any], dtype: np.dtype[Any], steps: int | None) -> NDArray[Any]:
    """Values as `dtype`, rounded to steps; overwrites `part`."""
    if steps is None:
        return part.astype(dtype)
    part *= np.float32(steps)
    np.rint(part, out=part)
    if dtype != np.float16:
        return (part / steps).astype(dtype)
    # NumPy takes 2.5 ns to make a float16 of a float32. A step has few enough digits for either,
    # and 2^-112 times a float32 has the exponent that its float16 has.
    part *= np.float32(2.0**-112 / steps)
    raw = part.view(np.uint32)
    raw >>= 13
    return raw.astype(np.uint16).view(np.float16)


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
    below = at.astype(int)
    near = np.zeros((len(at), length), np.float32)
    near[range(len(at)), np.minimum(below + 1, length - 1)] = at - below
    near[range(len(at)), below] = 1 - (at - below)
    return near


def _boxes(there: NDArray[np.bool_]) -> Iterator[tuple[Run, Run, Run]]:
    """Around what is there (z, y, x), band by band of rows: parts with columns between them."""
    for top in range(0, there.shape[1], BAND):
        band = there[:, top : top + BAND]
        for left, right in _runs(_seen(band, (0, 1))):
            part = band[:, :, left:right]
            low, high = _extent(_seen(part, (0, 2)))
            yield _extent(_seen(part, (1, 2))), (top + low, top + high), (left, right)


def _seen(there: NDArray[np.bool_], across: tuple[int, int]) -> NDArray[np.bool_]:
    """Where along the third axis anything is there."""
    found: NDArray[np.bool_] = np.logical_or.reduce(there, axis=across)
    return found


def _runs(there: NDArray[np.bool_]) -> list[Run]:
    """Runs of what is there, with at least three others between them."""
    at = np.flatnonzero(there)
    if not len(at):
        return []
    ends = np.flatnonzero(np.diff(at) > 3)
    firsts, lasts = at[[0, *(ends + 1)]], at[[*ends, -1]]
    return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts, strict=True)]


def _extent(there: NDArray[np.bool_]) -> Run:
    return int(there.argmax()), len(there) - int(there[::-1].argmax())
