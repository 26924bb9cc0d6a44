"""Onto which voxels is tissue painted, and how, without touching the others?

A `Canvas` is one grid of voxels whose axes run along those of the patient, so that each coordinate
is a vector, not a volume. Tissues are painted over one another, each on the box that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.lumbar.chain import Placed, Vector
from jobs.phantom.shapes import Box, Field, Frame, fraction, tube

Node = tuple[float, float, float, float]
"""Right, anterior, superior and radius (mm), in a vertebra's own directions."""


@dataclass(frozen=True)
class Canvas:
    """A grid that is being painted.

    Attributes
    ----------
    signal : (slice, row, column) float32 ndarray
        Changed in place.
    x, y, z : float32 ndarray
        Patient coordinates, each of three dimensions and long along one of them.
    edge_mm : float
        Width over which a boundary is spread.
    """

    signal: Field
    x: Field
    y: Field
    z: Field
    edge_mm: float

    def around(self, low_mm: Vector, high_mm: Vector) -> Box | None:
        """Box of the voxels between two corners, or None when there are none."""
        box = [slice(None)] * 3
        for coordinate, low, high in zip((self.x, self.y, self.z), low_mm, high_mm, strict=True):
            axis = int(np.argmax(coordinate.shape))
            inside = np.flatnonzero((coordinate.ravel() > low) & (coordinate.ravel() < high))
            if inside.size == 0:
                return None
            box[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
        return box[0], box[1], box[2]

    def coordinates(self, box: Box) -> tuple[Field, Field, Field]:
        """x, y, z of a box, still one-dimensional in effect."""
        x, y, z = (
            c[tuple(s if n > 1 else slice(None) for s, n in zip(box, c.shape, strict=True))]
            for c in (self.x, self.y, self.z)
        )
        return x, y, z

    def local(self, box: Box, place: Placed) -> Frame:
        """Coordinates of a box's voxels in a vertebra's own directions."""
        offsets = [
            c - np.float32(o) for c, o in zip(self.coordinates(box), place.centre, strict=True)
        ]
        right, anterior, superior = (
            sum(np.float32(a) * o for a, o in zip(axis, offsets, strict=True))
            for axis in place.axes
        )
        return Frame(np.asarray(right), np.asarray(anterior), np.asarray(superior), self.edge_mm)

    def paint(self, box: Box, share: Field, value: Field | float) -> None:
        """Cover a share of each voxel of a box with a signal."""
        block = self.signal[box]
        block += share * (value - block)


def box_of(canvas: Canvas, place: Placed, points: Sequence[Node], margin_mm: float) -> Box | None:
    """Box around balls given in a vertebra's own directions."""
    at = np.array([place.at(*p[:3]) for p in points])
    radius = max(p[3] for p in points) + margin_mm
    return canvas.around(at.min(axis=0) - radius, at.max(axis=0) + radius)


def paint_shape(
    canvas: Canvas,
    place: Placed,
    nodes: Sequence[Node],
    distance: Callable[[Frame], Field],
    layers: Sequence[tuple[float, float]],
) -> None:
    """Paint a shape in nested layers.

    Parameters
    ----------
    canvas : Canvas
    place : Placed
        Whose directions the shape is given in.
    nodes : sequence of Node
        Balls that hold the shape.
    distance : callable
        Signed distance (mm) from a frame.
    layers : sequence of (depth_mm, signal)
        From the surface inwards.
    """
    box = box_of(canvas, place, nodes, 1.0)
    if box is None:
        return
    d = distance(canvas.local(box, place))
    for depth, value in layers:
        canvas.paint(box, fraction(d + np.float32(depth), canvas.edge_mm), value)


def paint_tube(
    canvas: Canvas,
    place: Placed,
    nodes: Sequence[Node],
    layers: Sequence[tuple[float, float]],
) -> None:
    """Paint a tube along a polyline in nested layers, see `paint_shape`."""
    paint_shape(canvas, place, nodes, lambda at: tube(at, tuple(nodes)), layers)


def rounded(side: Field, end: Field, radius_mm: float) -> Field:
    """Intersection of two half-spaces with a rounded edge; signed distances in mm."""
    r = np.float32(radius_mm)
    a, b = side + r, end + r
    outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(a, b), 0) - r, np.float32)
