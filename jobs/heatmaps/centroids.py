"""Where does a segmentation tool say the vertebrae and discs are?

Reads the centroid files of VerSe and SPINEPS (``*_ctd.json``): a list whose first entry is
``{"direction": ["P", "I", "R"]}`` and whose others are ``{"label": 20, "X": …, "Y": …, "Z": …}``,
voxel indices of the image turned to that direction (Sekuboyina et al., Medical Image Analysis
2021). Labels: 1–7 cervical, 8–19 thoracic, 20–25 L1–L6, 26 sacrum, 28 T13; a disc is 100 more than
the vertebra above it.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from jobs.heatmaps import LEVELS
from lamstore.errors import MissingInputError, UnreadableInputError
from lamstore.grid import Grid

nib: Any = nibabel  # untyped

L1, L5, L6, SACRUM, T13 = 20, 24, 25, 26, 28
DISC = 100
"""Added to the label of the vertebra above."""
COORDINATES = ("X", "Y", "Z")


@dataclass(frozen=True)
class Centroids:
    """One file.

    Attributes
    ----------
    direction : (3,) tuple of str
        Where the axes of the coordinates point to: ``("P", "I", "R")``.
    points : mapping of label to (3,) tuple of float
    """

    direction: tuple[str, str, str]
    points: Mapping[int, tuple[float, float, float]]


def centroid_file(pattern: str, subject: str) -> Path:
    """The one file that a pattern with ``{subject}`` and ``*`` means for a subject.

    Raises
    ------
    MissingInputError
        When there is none, or more than one.
    """
    wanted = pattern.replace("{subject}", glob.escape(subject))
    found = sorted(glob.glob(wanted))  # noqa: PTH207, absolute patterns
    if len(found) != 1:
        raise MissingInputError(
            f"{subject}: {len(found) or 'no'} files of centroids",
            got=", ".join(found[:3]) or "nothing",
            expected=f"one file like {wanted}",
            remedy="segment the study, correct the pattern, or run without centroids",
        )
    return Path(found[0])


def read_centroids(path: Path) -> Centroids:
    """Read a file; entries with NaN, which VerSe has for what is out of view, are left out.

    Raises
    ------
    MissingInputError, UnreadableInputError
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        directions = [entry["direction"] for entry in found if "direction" in entry]
        a, b, c = (str(letter) for letter in directions[0])
        nib.orientations.axcodes2ornt((a, b, c))
        points = {
            int(entry["label"]): tuple(float(entry[k]) for k in COORDINATES)
            for entry in found
            if "label" in entry
        }
    except FileNotFoundError as error:
        raise MissingInputError(
            f"there are no centroids at {path}", expected="a *_ctd.json file"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableInputError(
            f"{path} is not a file of centroids",
            got=f"{type(error).__name__}: {error}",
            expected='a list of {"direction": ["P", "I", "R"]} and {"label": 20, "X": …, …}',
            remedy="export the centroids in the format of VerSe",
        ) from error
    return Centroids((a, b, c), {k: (p[0], p[1], p[2]) for k, p in points.items() if _finite(p)})


def write_centroids(path: Path, centroids: Centroids) -> None:
    """Write a file that `read_centroids` reads alike."""
    entries: list[dict[str, Any]] = [{"direction": list(centroids.direction)}]
    for label, point in sorted(centroids.points.items()):
        entries.append({"label": label, **dict(zip(COORDINATES, point, strict=True))})
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def to_voxels(centroids: Centroids, grid: Grid) -> dict[int, NDArray[np.float64]]:
    """Voxel positions (3,) on `grid` by label."""
    axes = nib.orientations
    theirs = axes.axcodes2ornt(centroids.direction)
    ours = axes.io_orientation(grid.matrix)
    turn = axes.ornt_transform(ours, theirs)
    # inv_ornt_aff maps indices of the turned image to indices of the image itself.
    back = axes.inv_ornt_aff(turn, grid.shape)
    return {
        label: back[:3, :3] @ np.array(point) + back[:3, 3]
        for label, point in centroids.points.items()
    }


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

    The sacrum follows the last lumbar vertebra that has a centroid, whatever it is called.
    """
    lumbar = [label for label in range(L1, L6 + 1) if label in points] or [L5]
    chain = [19, *([T13] if T13 in points else []), *range(L1, lumbar[-1] + 1), SACRUM]
    found = []
    for above, below in pairwise(chain):
        if above + DISC in points:
            found.append(Gap(above, points[above + DISC]))
        elif above in points and below in points:
            found.append(Gap(above, (points[above] + points[below]) / 2))
    return found


def level_centres(found: list[Gap]) -> dict[str, NDArray[np.float64]]:
    """Centre of each level that the labels name, by level."""
    return {LEVELS[gap.level]: gap.centre for gap in found if 0 <= gap.level < len(LEVELS)}


def _finite(point: tuple[float, ...]) -> bool:
    return bool(np.isfinite(point).all())
