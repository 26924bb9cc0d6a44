"""How far is a point from an organ's surface, and how much of a voxel does the organ fill?

Signed distances in mm, negative inside, of the few primitives that anatomy is built from. They
are exact for balls and tubes and good near the surface for ellipsoids (Quilez, "Distance
functions", gives the approximations). A `Frame` carries the head coordinates of every voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
NEARBY_MM = 14.0
"""Distances of small shapes are cut off here: nothing asks how much farther they are."""
Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """Head coordinates of a block of voxels.

    Attributes
    ----------
    x, y, z : (x, y, z) float32 ndarray
        Millimetres towards right, anterior, superior from the centre of the cerebrum.
    voxel_mm : float
        Width over which a boundary between two tissues is spread: the in-plane spacing.
    """

    x: Field
    y: Field
    z: Field
    voxel_mm: float

    def __getitem__(self, box: Box) -> Frame:
        return Frame(self.x[box], self.y[box], self.z[box], self.voxel_mm)

    def mirrored(self) -> Frame:
        """The frame with both hemispheres folded onto the right one."""
        return Frame(np.abs(self.x), self.y, self.z, self.voxel_mm)

    def around(self, low_mm: Point, high_mm: Point) -> Box:
        """Smallest box of voxels that holds every point between two corners; empty if none."""
        inside = (self.x >= low_mm[0]) & (self.x <= high_mm[0])
        inside &= (self.y >= low_mm[1]) & (self.y <= high_mm[1])
        inside &= (self.z >= low_mm[2]) & (self.z <= high_mm[2])
        return bounding_box(inside)


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Smallest box that holds every true voxel of an (x, y, z) mask; empty slices if none."""
    ends = [np.flatnonzero(np.any(mask, axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    x, y, z = (slice(int(e[0]), int(e[-1]) + 1) if e.size else slice(0, 0) for e in ends)
    return x, y, z


def nearby(at: Frame, low_mm: Point, high_mm: Point, distance: Callable[[Frame], Field]) -> Field:
    """Evaluate a small shape near its corners only; `NEARBY_MM` everywhere farther away."""
    low = tuple(c - NEARBY_MM for c in low_mm)
    high = tuple(c + NEARBY_MM for c in high_mm)
    box = at.around((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    out = np.full(at.x.shape, NEARBY_MM, np.float32)
    out[box] = np.minimum(distance(at[box]), NEARBY_MM)
    return out


def ellipsoid(at: Frame, centre: Point, radii: Point) -> Field:
    """Signed distance (mm) to an ellipsoid with axes along x, y, z."""
    parts = [(c - o) / r for c, o, r in zip((at.x, at.y, at.z), centre, radii, strict=True)]
    unit = np.sqrt(sum(p * p for p in parts))
    slope = sum((p / r) ** 2 for p, r in zip(parts, radii, strict=True))
    return np.asarray(unit * (unit - 1) / np.sqrt(slope + 1e-9), np.float32)


def tube(at: Frame, nodes: tuple[tuple[float, float, float, float], ...]) -> Field:
    """Signed distance (mm) to a tube along a polyline of (x, y, z, radius) nodes, all mm."""
    best = np.full(at.x.shape, np.inf, np.float32)
    for a, b in pairwise(nodes):
        axis = np.subtract(b[:3], a[:3]).astype(np.float32)
        px, py, pz = at.x - a[0], at.y - a[1], at.z - a[2]
        t = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / (axis @ axis), 0, 1)
        d2 = (px - t * axis[0]) ** 2 + (py - t * axis[1]) ** 2 + (pz - t * axis[2]) ** 2
        np.minimum(best, np.sqrt(d2) - (a[3] + t * (b[3] - a[3])), out=best)
    return best


def union(a: Field, b: Field, blend_mm: float = 0.0) -> Field:
    """Signed distance to either of two shapes; a positive blend fills the crease between them."""
    if blend_mm == 0.0:
        return np.minimum(a, b)
    k = blend_mm
    h = np.maximum(k - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - h * h / (4 * k), np.float32)


def fraction(distance: Field, width_mm: float) -> Field:
    """Share of a voxel inside a surface at signed `distance` (mm): 1 inside, 0 outside."""
    return np.asarray(np.clip(0.5 - distance / width_mm, 0, 1), np.float32)


def within(distance: Field, inner_mm: float, outer_mm: float, width_mm: float) -> Field:
    """Share of a voxel in the layer between two offsets (mm) of a surface."""
    return fraction(distance - outer_mm, width_mm) - fraction(distance - inner_mm, width_mm)


@dataclass(frozen=True)
class Layer:
    """One tissue: the share of each voxel of `box` that it covers, (x, y, z) in [0, 1]."""

    tissue: str
    box: Box
    share: Field


def layer(tissue: str, share: Field) -> Layer:
    """Keep a share (x, y, z) on the bounding box of where it is positive."""
    box = bounding_box(share > 0)
    return Layer(tissue, box, np.ascontiguousarray(share[box]))
