"""How do two grids of one subject differ, in words that a radiographer understands?"""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jobs.datasets.model import ImageSource
from lamstore.errors import GridError
from lamstore.grid import AFFINE_TOLERANCE, Grid

_SIDES = {"L": "left and right", "P": "back and front", "I": "feet and head"}
_SIDES |= {"R": _SIDES["L"], "A": _SIDES["P"], "S": _SIDES["I"]}
_BOX_TOLERANCE_MM = 0.05


def needs_resampling(source: ImageSource, grid: Grid, reference: Grid, resample: bool) -> bool:
    """Whether a file has to be resampled onto the reference grid, and may be."""
    return bool(source.transforms) or (resample and reference.mismatch(grid) is not None)


def grid_error(
    subject: str, path: ImageSource, grid: Grid, on: ImageSource, expected: Grid
) -> GridError:
    """The error for a file that does not lie on its subject's grid, with both grids."""
    return GridError(
        f"{subject}: {path.shown} does not lie on the grid of {on.shown}: "
        f"{difference(expected, grid)}",
        got=describe(grid),
        expected=describe(expected),
        remedy="resample: true in study.yaml brings it onto that grid by its affine; "
        "where the affine is wrong, convert the image again",
    )


def describe(grid: Grid) -> str:
    """Shape, spacing and affine as text."""
    spacing = " x ".join(f"{s:.4g}" for s in grid.spacing_mm)
    rows = "\n".join("    " + " ".join(f"{v:10.4f}" for v in row) for row in grid.affine[:3])
    return f"shape {grid.shape}, {spacing} mm, affine\n{rows}"


def difference(reference: Grid, other: Grid) -> str:
    """What sets `other` apart from `reference`: flipped or swapped axes, a shift, a shape.

    Only for grids that do differ (`Grid.mismatch`).
    """
    turned = _turned(reference, other)
    if turned:
        same = np.abs(_world_box(reference) - _world_box(other)).max() < _BOX_TOLERANCE_MM
        return f"{turned[0]}: {'the same' if same else 'another'} world box with {turned[1]}"
    if reference.shape != other.shape:
        return f"shape {other.shape} instead of {reference.shape}"
    change = other.matrix - reference.matrix
    if np.abs(change[:3, :3]).max() <= AFFINE_TOLERANCE:
        return "shifted by ({:.4g}, {:.4g}, {:.4g}) mm".format(*change[:3, 3])
    return f"affines differ by up to {np.abs(change).max():.4g}"


def _turned(reference: Grid, other: Grid) -> tuple[str, str] | None:
    """Kind and sides of a signed permutation of the axes, if that is what sets them apart."""
    turn = np.linalg.inv(_directions(reference)) @ _directions(other)
    exact = np.rint(turn)
    if np.abs(turn - exact).max() > AFFINE_TOLERANCE or np.array_equal(exact, np.eye(3)):
        return None
    if np.array_equal(np.abs(exact), np.eye(3)):
        codes = _axes(reference)
        sides = [_SIDES[codes[axis]] for axis in range(3) if exact[axis, axis] < 0]
        return "axes flipped", f"{', '.join(sides)} exchanged"
    order = f"axes in the order {_axes(other)} instead of {_axes(reference)}"
    return "axes swapped", order


def _axes(grid: Grid) -> str:
    """Where the axes point, as in ``RAS``."""
    return "".join(nib.aff2axcodes(grid.matrix))  # type: ignore[no-untyped-call]


def _directions(grid: Grid) -> NDArray[np.float64]:
    return np.divide(grid.matrix[:3, :3], grid.spacing_mm, dtype=np.float64)


def _world_box(grid: Grid) -> NDArray[np.float64]:
    """(2, 3) smallest and largest RAS coordinates (mm) of the voxels' outer corners."""
    corners = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in grid.shape))))
    world = corners @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    return np.stack([world.min(axis=0), world.max(axis=0)])
