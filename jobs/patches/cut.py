"""How does a patch on the training grid come out of a scan on a grid of its own?

A patch lies along the subject's axes, in the order and direction nearest to R, A, S, with its
centre on a voxel. Where the spacings agree within 1 % it is a box of the store. Else the box that
it covers is read and only that is resampled, axis by axis, linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lamstore.grid import Grid
from lamstore.store import Box

SPACING_TOLERANCE = 0.01
"""Relative difference of two spacings that counts as none."""


@dataclass(frozen=True)
class Cut:
    """How patches of one size and spacing lie on one subject's grid.

    Attributes
    ----------
    order : (3,) tuple of int
        For each axis of the patch (towards R, A, S), the subject's axis that runs along it.
    reverse : (3,) tuple of bool
        Whether that axis runs the other way.
    edges : (3,) tuple of int
        Voxels of a patch along its own axes.
    steps : (3,) tuple of float
        Voxels of the subject from one voxel of the patch to the next, along the patch's axes; 1
        where the spacings agree.
    """

    order: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]
    edges: tuple[int, int, int]
    steps: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        grid: Grid,
        edges: tuple[int, int, int],
        spacing_mm: tuple[float, float, float] | None,
    ) -> Cut:
        """The cut of patches of `edges` voxels at a spacing (None: the subject's own)."""
        directions = nib.io_orientation(grid.matrix)  # type: ignore[no-untyped-call]
        x, y, z = (int(np.flatnonzero(directions[:, 0] == axis)[0]) for axis in range(3))
        order = (x, y, z)
        flips = [bool(directions[axis, 1] < 0) for axis in order]
        own = [grid.spacing_mm[axis] for axis in order]
        ratios = [w / o for w, o in zip(spacing_mm or own, own, strict=True)]
        a, b, c = (1.0 if abs(r - 1) <= SPACING_TOLERANCE else float(r) for r in ratios)
        return cls(order, (flips[0], flips[1], flips[2]), edges, (a, b, c))

    @property
    def resamples(self) -> bool:
        """Whether patches are resampled."""
        return self.steps != (1.0, 1.0, 1.0)

    def spans(self, centre: tuple[float, float, float]) -> list[NDArray[np.float64]]:
        """Coordinates of the patch's voxels on the subject's axes, by axis of the patch."""
        spans = []
        for axis, back, edge, step in zip(
            self.order, self.reverse, self.edges, self.steps, strict=True
        ):
            away = (np.arange(edge, dtype=np.float64) - edge // 2) * step
            spans.append(centre[axis] - away if back else centre[axis] + away)
        return spans

    def box(self, centre: tuple[float, float, float]) -> Box:
        """Voxels of the subject that a patch covers; may reach beyond the grid."""
        box = [slice(0)] * 3
        for axis, span in zip(self.order, self.spans(centre), strict=True):
            low, high = np.floor(span.min() + 1e-6), np.ceil(span.max() - 1e-6)
            box[axis] = slice(int(low), int(high) + 1)
        return box[0], box[1], box[2]

    def to_subject(self, centre: tuple[float, float, float]) -> NDArray[np.float64]:
        """(4, 4) voxels of the patch to voxels of the subject."""
        matrix = np.eye(4)
        matrix[:3, :3] = 0
        for i, (axis, back) in enumerate(zip(self.order, self.reverse, strict=True)):
            matrix[axis, i] = -self.steps[i] if back else self.steps[i]
            matrix[axis, 3] = self.spans(centre)[i][0]
        return matrix

    def reach(self, share: float) -> NDArray[np.float64]:
        """(3,) that share of a patch's edges, in voxels along the subject's axes."""
        reach = np.zeros(3)
        reach[list(self.order)] = np.multiply(self.edges, self.steps) * share
        return reach

    def resampled(
        self, values: NDArray[np.float32], box: Box, centre: tuple[float, float, float]
    ) -> NDArray[np.float32]:
        """The patch from the values of its box, linearly.

        Parameters
        ----------
        values : (…, x, y, z) float32 ndarray
            Voxels of `box` on the patch's axes, see `unturned`.
        box : (3,) tuple of slice
            From `Cut.box`.

        Returns
        -------
        (…, *edges) float32 ndarray
        """
        lead = values.ndim - 3
        spans = self.spans(centre)
        for i, (axis, back) in enumerate(zip(self.order, self.reverse, strict=True)):
            at = box[axis].stop - 1 - spans[i] if back else spans[i] - box[axis].start
            values = _interpolated(values, at, lead + i)
        return values

    def unturned(self, values: NDArray[Any]) -> NDArray[Any]:
        """View of (…, x, y, z) values on the patch's axes as on the subject's axes."""
        lead = values.ndim - 3
        flips = tuple(slice(None, None, -1 if back else 1) for back in self.reverse)
        axes = (*range(lead), *(lead + self.order.index(axis) for axis in range(3)))
        return values[(slice(None),) * lead + flips].transpose(axes)

    def turned_shape(self, box: Box) -> tuple[int, int, int]:
        """Shape of a box of the subject on the patch's axes."""
        x, y, z = (box[axis].stop - box[axis].start for axis in self.order)
        return x, y, z


def _interpolated(
    values: NDArray[np.float32], at: NDArray[np.float64], axis: int
) -> NDArray[np.float32]:
    """Linear interpolation along one axis at positions within it."""
    last = values.shape[axis] - 1
    below = np.clip(np.floor(at + 1e-6).astype(np.int64), 0, last)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = np.clip(at - below, 0, 1).astype(np.float32).reshape(shape)
    low = values.take(below, axis=axis)
    high = values.take(np.minimum(below + 1, last), axis=axis)
    high -= low
    high *= weight
    low += high
    return low
