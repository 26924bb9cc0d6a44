"""Where on a subject's grid does a segmentation tool put the vertebrae, and the levels between?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from jobs.heatmaps import LEVELS
from jobs.heatmaps.centroids import (
    DISC,
    FROM_THE_HEAD,
    L1,
    L5,
    L6,
    SACRUM,
    T12,
    T13,
    Centroids,
    Frame,
    read_centroids,
    structure_name,
)
from lamstore.errors import GridError, MissingInputError
from lamstore.grid import Grid

nib: Any = nibabel  # untyped

SAME_SPACING = 0.01
"""Largest relative difference of two spacings that counts as rounding."""


def turned(grid: Grid, direction: Sequence[str]) -> Grid:
    """The same image with its axes in another order and direction."""
    axes = nib.orientations
    turn = axes.ornt_transform(
        axes.io_orientation(grid.matrix), axes.axcodes2ornt(tuple(direction))
    )
    shape = tuple(grid.shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    return Grid.of(shape, grid.matrix @ axes.inv_ornt_aff(turn, grid.shape))


def to_voxels(centroids: Centroids, grid: Grid) -> dict[int, NDArray[np.float64]]:
    """Voxel positions (3,) on `grid` by label.

    Where the file says where its image lies in space, by that: it may be another image of the same
    session. Else it has to be this image, in any order and direction of its axes.

    Raises
    ------
    GridError
        The file says that its image is of another shape or spacing, a place lies outside of the
        grid, or labels count from below upwards. Of a file that knows its place in space what lies
        outside is left out instead, unless that is everything.
    """
    frame, same = centroids.frame, turned(grid, centroids.direction)
    if frame.affine is None:
        _refuse_other(frame, same)
    theirs = same.matrix if frame.affine is None else np.array(frame.affine)
    there = np.linalg.inv(grid.matrix) @ theirs
    found = {k: there[:3, :3] @ np.array(p) + there[:3, 3] for k, p in centroids.points.items()}
    inside = {k: at for k, at in found.items() if _inside(at, grid)}
    outside = [k for k in found if k not in inside]
    if outside and (frame.affine is None or not inside):
        at = np.round(found[outside[0]]).astype(int).tolist()
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        raise GridError(
            "the centroids lie outside of the image",
            got=f"{structure_name(outside[0])} at voxel {at}{more}",
            expected=f"voxels of an image of {grid.shape}",
            remedy="give the centroids of this very series: `direction` and voxel indices",
        )
    _refuse_upwards(inside, grid)
    return inside


def _refuse_other(frame: Frame, same: Grid) -> None:
    shapes = frame.shape is not None and frame.shape != same.shape
    spacings = frame.spacing_mm is not None and not np.allclose(
        frame.spacing_mm, same.spacing_mm, rtol=SAME_SPACING
    )
    if shapes or spacings:
        mm = "×".join(f"{v:.3g}" for v in frame.spacing_mm or ()) or "?"
        wanted = "×".join(f"{v:.3g}" for v in same.spacing_mm)
        raise GridError(
            "the centroids count on another image",
            got=f"shape {frame.shape}, spacing {mm} mm",
            expected=f"shape {same.shape}, spacing {wanted} mm",
            remedy="give the centroids of this very series",
        )


def _refuse_upwards(points: Mapping[int, NDArray[np.float64]], grid: Grid) -> None:
    """Labels count downwards in every spine; where they do not the direction is wrong."""
    kinds = [[k + more for k in FROM_THE_HEAD if k + more in points] for more in (0, DISC)]
    labels = max(kinds, key=len)
    heights = [float(grid.matrix[2] @ [*points[label], 1.0]) for label in labels]
    rising = sum(below >= above for above, below in pairwise(heights))
    if len(heights) > 1 and 2 * rising >= len(heights) - 1:
        raise GridError(
            "the labels count from below upwards",
            got=", ".join(
                f"{structure_name(k)} at {h:.0f} mm" for k, h in zip(labels, heights, strict=True)
            ),
            expected="each vertebra below the one before it (RAS, z falls)",
            remedy="correct `direction` in the file of centroids",
        )


def _inside(at: NDArray[np.float64], grid: Grid) -> bool:
    return bool(np.all(at >= -0.5) and np.all(at <= np.array(grid.shape) - 0.5))


@dataclass(frozen=True)
class Gap:
    """What lies between two neighbouring vertebrae.

    Attributes
    ----------
    above : int
        Label of the upper vertebra.
    centre : (3,) float64 ndarray
        Of the disc where it has a centroid, else halfway between the vertebrae.
    """

    above: int
    centre: NDArray[np.float64]

    @property
    def level(self) -> int:
        """Index in `LEVELS` by its label; below 0 or above 4 outside of them."""
        return self.above - L1 if self.above != T13 else -1


def gaps(points: Mapping[int, NDArray[np.float64]]) -> list[Gap]:
    """Gaps from T12 down, as the labels count; only those with a centroid to tell their place.

    The sacrum follows the last lumbar vertebra that has a centroid, or a disc that has, whatever it
    is called.
    """
    said = {label % DISC for label in points}
    lumbar = [label for label in range(L1, L6 + 1) if label in said] or [L5]
    chain = [T12, *([T13] if T13 in points else []), *range(L1, lumbar[-1] + 1), SACRUM]
    found = []
    for above, below in pairwise(chain):
        if above + DISC in points:
            found.append(Gap(above, points[above + DISC]))
        elif above in points and below in points:
            found.append(Gap(above, (points[above] + points[below]) / 2))
    return found


def level_centres(found: Sequence[Gap]) -> dict[str, NDArray[np.float64]]:
    """Centre of each level that the labels name, by level."""
    return {LEVELS[gap.level]: gap.centre for gap in found if 0 <= gap.level < len(LEVELS)}


@dataclass(frozen=True)
class Labelled:
    """What a tool says of one subject.

    Attributes
    ----------
    centroids : Centroids
        Its file.
    voxels : mapping of label to (3,) float64 ndarray
        On the subject's grid.
    gaps : tuple of Gap
        From T12 down.
    """

    centroids: Centroids
    voxels: Mapping[int, NDArray[np.float64]]
    gaps: tuple[Gap, ...]

    @property
    def centres(self) -> dict[str, NDArray[np.float64]]:
        """Voxel (3,) of each level that the labels name, at least one."""
        return level_centres(self.gaps)


def labelled(path: Path, grid: Grid, subject: str) -> Labelled:
    """Read a file and place it on a subject's grid.

    Raises
    ------
    MissingInputError
        It is not there, or names no lumbar level.
    UnreadableInputError
    GridError
        It belongs to another image, see `to_voxels`.
    """
    centroids = read_centroids(path)
    try:
        voxels = to_voxels(centroids, grid)
    except GridError as error:
        what = f"{subject}: {path.name}: {error.what}"
        raise GridError(
            what, got=error.got, expected=error.expected, remedy=error.remedy
        ) from error
    found = Labelled(centroids, voxels, tuple(gaps(voxels)))
    if not found.centres:
        raise MissingInputError(
            f"{subject}: {path.name} names no lumbar level",
            got=", ".join(map(structure_name, sorted(voxels))) or "no place at all",
            expected="two neighbours of L1 to S1, or a disc between them",
            remedy="segment the lumbar spine of this series, or leave the subject out",
        )
    return found
