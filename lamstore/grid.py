"""On which grid do a subject's voxels lie, and do two grids agree?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

AFFINE_TOLERANCE = 1e-3
"""Largest difference of two affines (mm) that counts as float noise."""


@dataclass(frozen=True)
class Grid:
    """A voxel grid in world space (RAS, mm).

    Parameters
    ----------
    shape : (3,) tuple of int
        Number of voxels along x, y, z, the axes of the NIfTI array in its own order.
    affine : (4, 4) tuple of tuples of float
        Voxel indices to RAS mm. Build from an array with `Grid.of`.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: NDArray[np.floating]) -> Grid:
        """Grid from an array's shape (3,) and affine (4, 4)."""
        x, y, z = (int(n) for n in shape)
        rows = np.asarray(affine, dtype=np.float64)
        return cls((x, y, z), tuple(tuple(float(v) for v in row) for row in rows))

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) float64 affine."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along x, y, z."""
        x, y, z = np.sqrt((self.matrix[:3, :3] ** 2).sum(axis=0)).tolist()
        return x, y, z

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel; exact for sheared affines too."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    def mismatch(self, other: Grid, tolerance_mm: float = AFFINE_TOLERANCE) -> str | None:
        """How `other` differs from this grid in words, or None when the two agree."""
        if self.shape != other.shape:
            return f"shape {other.shape} instead of {self.shape}"
        worst = float(np.abs(self.matrix - other.matrix).max())
        if worst > tolerance_mm:
            return f"affines differ by up to {worst:.4g}\n{other.matrix}\ninstead of\n{self.matrix}"
        return None
