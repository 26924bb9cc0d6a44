"""Which axis of an array runs across the sagittal slices, and how is each slice turned upright?

A network wants a slice as a reader sees it: rows from superior to inferior, columns from anterior
to posterior. The turn is a permutation and flips of axes: views, no voxel is copied or
interpolated. Slices keep the array's own order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from lamstore.errors import GridError
from lamstore.grid import Grid

nib: Any = nibabel  # untyped

MAX_IN_PLANE_MM = 3.0
"""Coarser rows or columns than this are another orientation's slice distance."""


@dataclass(frozen=True)
class SagittalView:
    """How the axes of an array (x, y, z) become (slice, row, column).

    Attributes
    ----------
    axes : (3,) tuple of int
        Axis of the array that is slice, row, column.
    steps : (3,) tuple of int
        1, or -1 where the axis runs the other way.
    spacing_mm : (3,) tuple of float
        Of slices, rows, columns.
    """

    axes: tuple[int, int, int]
    steps: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def stack(self, volume: NDArray[Any]) -> NDArray[Any]:
        """(slice, row, column) view of a volume (x, y, z)."""
        return volume.transpose(self.axes)[self._turn]

    def volume(self, stack: NDArray[Any]) -> NDArray[Any]:
        """(…, x, y, z) view of a stack (…, slice, row, column); undoes `stack`."""
        leading = stack.ndim - 3
        back = [leading + i for i in np.argsort(self.axes)]
        return stack[(..., *self._turn)].transpose(*range(leading), *back)

    def index(self, voxel: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """(n, 3) slice, row, column of voxel positions (n, 3) of a volume of `shape` (x, y, z)."""
        at = np.asarray(voxel, np.float64)[:, list(self.axes)]
        last = np.array([shape[a] - 1 for a in self.axes])
        return np.where(np.array(self.steps) < 0, last - at, at)

    def voxel(self, index: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """(n, 3) voxel positions of slice, row, column (n, 3); undoes `index`."""
        last = np.array([shape[a] - 1 for a in self.axes])
        at = np.where(np.array(self.steps) < 0, last - index, index)
        return np.asarray(at, np.float64)[:, np.argsort(self.axes)]

    @property
    def _turn(self) -> tuple[slice, slice, slice]:
        a, b, c = (slice(None, None, step) for step in self.steps)
        return a, b, c


def sagittal_view(grid: Grid) -> SagittalView:
    """The view of a grid whose axes lie closest to right–left, superior–inferior, A–P.

    Raises
    ------
    GridError
        When rows or columns would be coarser than `MAX_IN_PLANE_MM`: not a sagittal series.
    """
    orientation = nib.io_orientation(grid.matrix)
    closest = {int(world): axis for axis, (world, _) in enumerate(orientation)}
    axes = closest[0], closest[2], closest[1]
    # RAS counts rows upwards and columns forwards: a reader's rows and columns run against both.
    steps = (1, -int(orientation[axes[1]][1]), -int(orientation[axes[2]][1]))
    across, row, column = (grid.spacing_mm[a] for a in axes)
    if max(row, column) > MAX_IN_PLANE_MM:
        raise GridError(
            "this is not a sagittal series",
            got=f"sagittal slices would have voxels of {row:.2f} × {column:.2f} mm",
            expected=f"rows and columns of at most {MAX_IN_PLANE_MM:g} mm",
            remedy="choose the sagittal series of the study",
        )
    return SagittalView(axes, steps, (across, row, column))
