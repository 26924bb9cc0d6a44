"""Where does a segmentation tool say the vertebrae and discs are?

Reads the centroid files of VerSe and SPINEPS (``*_ctd.json``): a list that opens with
``{"direction": ["P", "I", "R"]}``. VerSe (Sekuboyina et al., Medical Image Analysis 2021) goes on
with ``{"label": 20, "X": …, "Y": …, "Z": …}`` for each structure; SPINEPS (Möller et al., European
Radiology 2024) with one object by vertebra and part, ``{"20": {"50": [x, y, z]}}`` or
``{"L1": {"Vertebra_Corpus": [x, y, z]}}``, and says shape, zoom, origin and rotation of its image.
Coordinates are voxel indices of the image turned to that direction. Labels: 1–7 cervical, 8–19
thoracic, 20–25 L1–L6, 26 sacrum, 28 T13; a disc is 100 more than the vertebra above it.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lamstore.errors import MissingInputError, UnreadableInputError

nib: Any = nibabel  # untyped

T1, T12, L1, L5, L6, SACRUM, T13 = 8, 19, 20, 24, 25, 26, 28
DISC = 100
"""Added to the label of the vertebra above."""
COORDINATES = ("X", "Y", "Z")
NAMES = (
    {i: f"C{i}" for i in range(1, 8)}
    | {T1 + i: f"T{i + 1}" for i in range(12)}
    | {T13: "T13"}
    | {L1 + i: f"L{i + 1}" for i in range(6)}
    | {SACRUM: "S1", 27: "COCC"}
    | {29 + i: f"S{i + 2}" for i in range(5)}
)
"""Of vertebrae, by label; the sacrum as a whole is S1."""
NUMBERS = {name: label for label, name in NAMES.items()}
FROM_THE_HEAD = (*range(1, 20), T13, *range(L1, L6 + 1), SACRUM, *range(29, 34))
"""Labels of vertebrae in their order."""
PART_LABELS = 256
"""In files that name parts by number, a label is 256 times the part, and the vertebra."""
BODY_PARTS, DISC_PARTS = ("0", "50", "Vertebra_Corpus"), ("100", "Vertebra_Disc")


@dataclass(frozen=True)
class Frame:
    """The image that the coordinates count on, where a file says so.

    Attributes
    ----------
    shape : (3,) tuple of int, or None
    spacing_mm : (3,) tuple of float, or None
    affine : (4, 4) tuple of tuples of float, or None
        Indices to RAS mm.
    """

    shape: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class Centroids:
    """One file.

    Attributes
    ----------
    direction : (3,) tuple of str
        Where the axes of the coordinates point to: ``("P", "I", "R")``.
    points : mapping of label to (3,) tuple of float
    frame : Frame
    """

    direction: tuple[str, str, str]
    points: Mapping[int, tuple[float, float, float]]
    frame: Frame = Frame()


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


def files_digest(pattern: str) -> str:
    """Digest of name, size and modification time of the files of all subjects of a pattern.

    Changed centroids change what is found around them, of whichever subject.
    """
    found = hashlib.sha256()
    for name in sorted(glob.glob(pattern.replace("{subject}", "*"))):  # noqa: PTH207
        stat = Path(name).stat()
        found.update(f"{Path(name).name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return found.hexdigest()


def read_centroids(path: Path) -> Centroids:
    """Read a file; entries with NaN, which VerSe has for what is out of view, are left out.

    Bodies and discs are kept; other parts of a vertebra (processes, endplates) are not.

    Raises
    ------
    MissingInputError, UnreadableInputError
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        header = next(entry for entry in found if "direction" in entry)
        a, b, c = (str(letter) for letter in header["direction"])
        if sorted(nib.orientations.axcodes2ornt((a, b, c))[:, 0]) != [0, 1, 2]:
            raise ValueError(f"direction {a}, {b}, {c}")
        points = dict(p for entry in found if entry is not header for p in _points(entry))
        frame = _frame(header, (a, b, c))
    except FileNotFoundError as error:
        raise MissingInputError(
            f"there are no centroids at {path}", expected="a *_ctd.json file"
        ) from error
    # StopIteration: no entry has a direction.
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UnreadableInputError(
            f"{path} is not a file of centroids",
            got=f"{type(error).__name__}: {error}",
            expected='a list of {"direction": ["P", "I", "R"]} and {"label": 20, "X": …, …}, or '
            '{"20": {"50": […]}}',
            remedy="export the centroids as VerSe or SPINEPS do",
        ) from error
    return Centroids((a, b, c), {k: p for k, p in points.items() if _finite(p)}, frame)


Point = tuple[float, float, float]


def _points(entry: Mapping[str, Any]) -> Iterator[tuple[int, Point]]:
    """Labels and places of one entry of a file after the first."""
    if "label" in entry:
        part, label = divmod(int(entry["label"]), PART_LABELS)
        yield from _part(label, str(part), [entry[k] for k in COORDINATES])
        return
    for name, parts in entry.items():
        label = NUMBERS[name] if name in NUMBERS else int(name)
        for part, place in parts.items():
            yield from _part(label, part, place)


def _part(label: int, part: str, place: Sequence[Any]) -> Iterator[tuple[int, Point]]:
    x, y, z = (float(v) for v in place)
    if part in BODY_PARTS:
        yield label, (x, y, z)
    elif part in DISC_PARTS:
        yield label + DISC, (x, y, z)


def _frame(header: Mapping[str, Any], direction: tuple[str, str, str]) -> Frame:
    shape, zoom = (header.get(name) for name in ("shape", "zoom"))
    origin, rotation = (header.get(name) for name in ("origin", "rotation"))
    affine = None
    if not any(part is None for part in (zoom, origin, rotation)):
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(rotation, np.float64) @ np.diag(np.asarray(zoom, np.float64))
        matrix[:3, 3] = origin
        if (codes := nib.aff2axcodes(matrix)) != direction:
            raise ValueError(f"direction {direction}, but rotation points to {codes}")
        affine = tuple(tuple(row) for row in matrix.tolist())
    return Frame(
        tuple(int(n) for n in shape) if shape is not None else None,
        tuple(float(mm) for mm in zoom) if zoom is not None else None,
        affine,
    )


def write_centroids(path: Path, centroids: Centroids) -> None:
    """Write a file that `read_centroids` reads alike, and so do VerSe's tools and SPINEPS."""
    frame, header = centroids.frame, dict[str, Any](direction=list(centroids.direction))
    if frame.shape is not None:
        header["shape"] = list(frame.shape)
    if frame.spacing_mm is not None:
        header["zoom"] = list(frame.spacing_mm)
    if frame.affine is not None and frame.spacing_mm is not None:
        matrix = np.array(frame.affine)
        header["origin"] = matrix[:3, 3].tolist()
        header["rotation"] = (matrix[:3, :3] / np.array(frame.spacing_mm)).tolist()
    entries: list[dict[str, Any]] = [header]
    for label, point in sorted(centroids.points.items()):
        entries.append({"label": label, **dict(zip(COORDINATES, point, strict=True))})
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def structure_name(label: int) -> str:
    """``L5`` of 24, ``disc L5`` of 124, ``endplate L5`` of 224; other numbers as they are."""
    part, vertebra = divmod(label, DISC)
    if part > 2 or vertebra not in NAMES:
        return str(label)
    return ("", "disc ", "endplate ")[part] + NAMES[vertebra]


def _finite(point: tuple[float, ...]) -> bool:
    return bool(np.isfinite(point).all())
