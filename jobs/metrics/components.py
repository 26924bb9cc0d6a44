"""Which voxels lie within so many millimetres of a mask, and which belong to one lesion?

Everything here works inside the bounding box of the mask: a lesion mask fills a few thousand of
several million voxels, so the one full pass that is left is the search for that box.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Literal, cast

import cc3d
import numpy as np
from numpy.typing import NDArray

from lamstore.errors import ConfigError, GridError

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]
Connectivity = Literal[6, 18, 26]

RADIUS_TOLERANCE_MM2 = 1e-6
"""Added to the squared radius: a neighbour at exactly the radius counts despite rounding."""

VOXEL_COUNT_TOLERANCE = 1e-6
"""Voxels by which a volume threshold may miss a whole count through float noise in the affine."""


def as_mask(mask: NDArray[np.generic]) -> Mask:
    """(x, y, z) bool view of a mask stored as bool or numbers; nonzero is inside."""
    if mask.ndim != 3:
        raise GridError("a mask must be 3D", got=f"shape {mask.shape}", expected="(x, y, z)")
    return cast(Mask, mask if mask.dtype == np.bool_ else mask != 0)


def bounding_box(mask: Mask) -> Box | None:
    """Smallest box that holds every voxel of the mask.

    Parameters
    ----------
    mask : (x, y, z) bool ndarray

    Returns
    -------
    tuple of three slices, or None for an empty mask
    """
    outer = int(np.argmax(np.abs(mask.strides)))
    # Reducing over the slowest axis adds whole contiguous planes; the other orders crawl.
    plane = _any(mask, outer)
    inner = [_span(_any(plane, 1)), _span(_any(plane, 0))]
    if inner[0] is None or inner[1] is None:
        return None
    spans: list[slice] = [inner[0], inner[1]]
    spans.insert(outer, slice(None))
    rest = tuple(axis for axis in range(3) if axis != outer)
    spans[outer] = cast(slice, _span(_any(mask[tuple(spans)], rest)))
    return spans[0], spans[1], spans[2]


def _any(array: NDArray[np.bool_], axis: int | tuple[int, ...]) -> NDArray[np.bool_]:
    return cast(NDArray[np.bool_], np.logical_or.reduce(array, axis=axis))


def _span(line: NDArray[np.bool_]) -> slice | None:
    hits = np.flatnonzero(line)
    return slice(int(hits[0]), int(hits[-1]) + 1) if hits.size else None


def union_box(*masks: Mask) -> Box | None:
    """Smallest box that holds every voxel of every (x, y, z) mask; None when all are empty."""
    boxes = [box for box in map(bounding_box, masks) if box is not None]
    if not boxes:
        return None
    x, y, z = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(3)
    )
    return x, y, z


def grow_box(box: Box, margin: tuple[int, int, int], shape: tuple[int, ...]) -> Box:
    """The box with a margin (voxels along x, y, z) on each side, cut at the grid's edges."""
    x, y, z = (
        slice(max(side.start - wide, 0), min(side.stop + wide, size))
        for side, wide, size in zip(box, margin, shape, strict=True)
    )
    return x, y, z


def reach(spacing_mm: Spacing, radius_mm: float) -> tuple[int, int, int]:
    """Voxels along x, y, z that a ball of the given radius spans on each side of its centre."""
    limit = radius_mm**2 + RADIUS_TOLERANCE_MM2
    x, y, z = (int(np.sqrt(limit) / step) for step in spacing_mm)
    return x, y, z


def dilate_mm(mask: Mask, spacing_mm: Spacing, radius_mm: float) -> Mask:
    """Every voxel whose centre lies within a Euclidean distance of a voxel of the mask.

    A voxel is in when (Δx² + Δy² + Δz²) ≤ radius² + 1e-6 mm² to some voxel of the mask. Exact:
    offsets are enumerated, no distance transform is rounded to float32.

    Parameters
    ----------
    mask : (x, y, z) bool ndarray
    spacing_mm : (3,) tuple of float
    radius_mm : float
        0 gives the mask back; negative raises ConfigError.

    Returns
    -------
    (x, y, z) bool ndarray; empty for an empty mask
    """
    if radius_mm < 0:
        raise ConfigError("a dilation radius cannot be negative", got=f"{radius_mm} mm")
    out = np.zeros(mask.shape, dtype=bool)
    box = bounding_box(mask)
    if box is None:
        return out
    margin = reach(spacing_mm, radius_mm)
    padded = np.pad(np.ascontiguousarray(mask[box]), [(side, side) for side in margin])
    wide = grow_box(box, margin, mask.shape)
    start = [side.start - pad for side, pad in zip(box, margin, strict=True)]
    inside = tuple(
        slice(side.start - zero, side.stop - zero) for side, zero in zip(wide, start, strict=True)
    )
    out[wide] = _dilate_padded(padded, spacing_mm, radius_mm)[inside]
    return out


def _dilate_padded(padded: Mask, spacing_mm: Spacing, radius_mm: float) -> Mask:
    """Dilation of an array with a zero margin as wide as the ball, as ORs of shifted flat copies.

    Thanks to the margin a shift in 3D is a shift of the flat array: each OR runs over contiguous
    memory. Along z the ball is grown once per half-length, not once per offset.
    """
    _, rows, columns = padded.shape
    flat = padded.reshape(-1)
    grown, length = flat.copy(), 0
    out = np.zeros(flat.size, dtype=bool)
    for half, offsets in _ball(spacing_mm, radius_mm):
        for step in range(length + 1, half + 1):
            _or_shifted(grown, flat, step)
            _or_shifted(grown, flat, -step)
        length = half
        for dx, dy in offsets:
            _or_shifted(out, grown, (dx * rows + dy) * columns)
    return out.reshape(padded.shape)


def _ball(spacing_mm: Spacing, radius_mm: float) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Columns of the ball along z, by rising half-length: (half, [(dx, dy), …])."""
    margin = reach(spacing_mm, radius_mm)
    limit = radius_mm**2 + RADIUS_TOLERANCE_MM2
    columns: dict[int, list[tuple[int, int]]] = {}
    for dx in range(-margin[0], margin[0] + 1):
        for dy in range(-margin[1], margin[1] + 1):
            flat = (dx * spacing_mm[0]) ** 2 + (dy * spacing_mm[1]) ** 2
            halves = [z for z in range(margin[2] + 1) if flat + (z * spacing_mm[2]) ** 2 <= limit]
            if halves:
                columns.setdefault(halves[-1], []).append((dx, dy))
    yield from sorted(columns.items())


def _or_shifted(out: NDArray[np.bool_], flat: NDArray[np.bool_], shift: int) -> None:
    if shift >= 0:
        target, source = out[shift:], flat[: flat.size - shift]
    else:
        target, source = out[:shift], flat[-shift:]
    np.logical_or(target, source, out=target)


def label(mask: Mask, connectivity: Connectivity = 26) -> tuple[NDArray[np.uint32], int]:
    """Number the connected components of a mask.

    Parameters
    ----------
    mask : (x, y, z) bool ndarray
    connectivity : {6, 18, 26}
        Neighbours that share a face; or an edge; or a corner.

    Returns
    -------
    labels : (x, y, z) uint32 ndarray
        0 outside, components numbered from 1.
    count : int
        0 for an empty mask.
    """
    labels = np.zeros(mask.shape, dtype=np.uint32)
    box = bounding_box(mask)
    if box is None:
        return labels, 0
    labels[box], count = label_box(mask[box], connectivity)
    return labels, count


def label_box(mask: Mask, connectivity: Connectivity) -> tuple[NDArray[np.unsignedinteger], int]:
    """`label` without the search for the bounding box, for arrays that are cropped already."""
    if connectivity not in (6, 18, 26):
        raise ConfigError("unknown connectivity", got=str(connectivity), expected="6, 18 or 26")
    labels, count = cc3d.connected_components(mask, connectivity=connectivity, return_N=True)
    return labels, int(count)


def min_voxels(min_volume_mm3: float, voxel_volume_mm3: float) -> int:
    """Smallest number of voxels that make up a volume: ceil(volume / voxel volume), at least 1.

    Float noise of the affine does not add a voxel: 10 mm³ of 0.9999999 mm³ voxels is 10.
    """
    return max(1, ceil(min_volume_mm3 / voxel_volume_mm3 - VOXEL_COUNT_TOLERANCE))


def drop_small(mask: Mask, least_voxels: int, connectivity: Connectivity = 26) -> Mask:
    """The mask without its components of fewer than `least_voxels` voxels.

    Parameters
    ----------
    mask : (x, y, z) bool ndarray
    least_voxels : int
        From `min_voxels`; 1 or less keeps everything.
    connectivity : {6, 18, 26}

    Returns
    -------
    (x, y, z) bool ndarray, a copy; empty for an empty mask
    """
    out = np.zeros(mask.shape, dtype=bool)
    box = bounding_box(mask)
    if box is not None:
        out[box] = drop_small_box(mask[box], least_voxels, connectivity)
    return out


def drop_small_box(mask: Mask, least_voxels: int, connectivity: Connectivity) -> Mask:
    """`drop_small` without the search for the bounding box."""
    if least_voxels <= 1:
        return mask.copy()
    labels, _ = label_box(mask, connectivity)
    found = labels[mask]
    keep = np.bincount(found) >= least_voxels
    out = np.zeros(mask.shape, dtype=bool)
    out[mask] = keep[found]
    return out
