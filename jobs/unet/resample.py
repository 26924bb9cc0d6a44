"""How does a brain get onto the grid on which the network was trained, and the answer back?

The same way as training patches (`jobs.patches.cut`): axes turned to the order and direction
nearest to R, A, S, which only renames voxels, and linear interpolation to the training spacing,
where the two differ by more than 1 %. Otherwise no value is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.resample import resample
from jobs.patches.cut import Cut
from lamstore.grid import Grid


@dataclass(frozen=True)
class Placement:
    """Between a subject's box of voxels and the training grid that covers the same box.

    Attributes
    ----------
    cut : Cut
        Order and direction of axes, and steps.
    shape : (3,) tuple of int
        Of the box, on the subject's axes.
    """

    cut: Cut
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, grid: Grid, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
    ) -> Placement:
        """Placement of a box of `shape` voxels of a subject's grid at a spacing."""
        return cls(Cut.of(grid, (1, 1, 1), spacing_mm), shape)

    @cached_property
    def _own(self) -> Grid:
        """The box in voxel units, on turned axes."""
        return Grid.of(tuple(self.shape[axis] for axis in self.cut.order), np.eye(4))

    @cached_property
    def _training(self) -> Grid:
        steps = np.array(self.cut.steps)
        shape = tuple(
            max(1, ceil(n / step - 1e-6)) for n, step in zip(self._own.shape, steps, strict=True)
        )
        matrix = np.diag([*steps, 1.0])
        matrix[:3, 3] = (steps - 1) / 2  # both grids begin at the same corner of the box
        return Grid.of(shape, matrix)

    def to_training(self, volume: NDArray[Any]) -> NDArray[np.float32]:
        """(x, y, z) values on the training grid, float32; a view where nothing has to be done."""
        turned = self._turned(volume)
        if not self.cut.resamples:
            return turned.astype(np.float32, copy=False)
        moved = resample(
            turned.astype(np.float32, copy=False), self._own, self._training, [], "linear"
        )
        return np.asarray(moved, np.float32)

    def mask_to_training(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(x, y, z) mask on the training grid: where at least half of a voxel is inside."""
        return self.to_training(mask) >= 0.5 if self.cut.resamples else self._turned(mask)

    def to_subject(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(x, y, z) values on the training grid back on the subject's box, linearly."""
        if self.cut.resamples:
            values = resample(values, self._training, self._own, [], "linear")
        return self.cut.unturned(values)

    def _turned(self, volume: NDArray[Any]) -> NDArray[Any]:
        turned = volume.transpose(self.cut.order)
        return turned[tuple(slice(None, None, -1 if back else 1) for back in self.cut.reverse)]
