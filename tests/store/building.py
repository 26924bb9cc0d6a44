"""A small store with known voxels, written as the planner and the tasks write it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamstore.build import ensure
from lamstore.grid import Grid
from lamstore.schema import EngineLayout, Layout
from lamstore.store import Store
from lamstore.tables import consolidate, write_table

SHAPES = {"anna": (20, 18, 9), "bjørn": (17, 22, 7), "c-03": (20, 22, 9)}
"""Subjects and their shapes: none but the last fills the cube."""
ENGINE = "engines/zed"
CELLS = frozenset({("t0", "flair"), ("t1", "flair"), ("t0", "t1w"), ("t1", "t1w")})


def grid(subject: str) -> Grid:
    """An oblique grid with anisotropic voxels, different for each subject."""
    turn = 0.1 * len(subject)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] *= [-0.9, 1.1, 3.0]
    affine[:3, 3] = [10.0, -20.0, len(subject)]
    return Grid.of(SHAPES[subject], affine)


def layout(subjects: Iterable[str] = SHAPES, **changes: Any) -> Layout:
    """Two modalities, both truths, one engine of two members under one shift."""
    listed = tuple(subjects)
    x, y, z = np.max([SHAPES[subject] for subject in listed], axis=0).tolist()
    standard: dict[str, Any] = {
        "subjects": listed,
        "timepoints": ("t0", "t1"),
        "modalities": ("flair", "t1w"),
        "extent": (x, y, z),
        "spacing_mm": (0.9, 1.1, 3.0),
        "volume_dtype": "uint16",
        "lesion_truth": True,
        "change_truth": True,
        "engines": {"zed": EngineLayout(("none", "gamma-1"), ("m1", "m2"), ("ens_var",))},
    }
    return Layout(**standard | changes)


def grow(path: Path, wanted: Layout) -> Layout:
    """What the planner does."""
    grids = {subject: grid(subject) for subject in wanted.subjects}
    return ensure(path, wanted, grids, dict.fromkeys(wanted.subjects, CELLS), {"made_by": "a test"})


def voxels(name: str, leading: tuple[int, ...], subject: str, *at: str) -> NDArray[Any]:
    """The block of one unit: the same for the same arguments, different for others."""
    seed = [ord(letter) for letter in "/".join((name, subject, *at))]
    random = np.random.default_rng(seed)
    shape = (*leading, *SHAPES[subject])
    if name.endswith(("probability", "uncertainty")):
        return random.random(shape).astype(np.float16)
    top = 4000 if name == "volume" else 2
    return random.integers(0, top, shape, dtype=np.uint16 if name == "volume" else np.uint8)


def units(subject: str, shifts: Iterable[str] = ("none", "gamma-1")) -> Iterable[tuple[str, Any]]:
    """Array and labels of every block of one subject."""
    yield "brainmask", {"subject": subject}
    yield "change_truth", {"subject": subject}
    for timepoint in ("t0", "t1"):
        at = {"subject": subject, "timepoint": timepoint}
        yield "volume", at
        yield "lesion_truth", at
        for shift in shifts:
            for leaf in ("mask", "probability", "uncertainty"):
                yield f"{ENGINE}/{leaf}", at | {"shift": shift}


LEADING = {"volume": (2,), "probability": (2,), "uncertainty": (1,)}
"""Length of the axis that a unit writes whole."""


def block(name: str, at: dict[str, str]) -> NDArray[Any]:
    """Voxels of one unit."""
    leading = LEADING.get(name.rpartition("/")[2], ())
    subject, *rest = at.values()
    return voxels(name, leading, subject, *rest)


def fill(path: Path, subjects: Iterable[str] = SHAPES) -> Store:
    """Write every block of some subjects."""
    store = Store(path, writable=True)
    for subject in subjects:
        for name, at in units(subject):
            store.write(name, block(name, at), **at)
    return store


def write_metrics(path: Path) -> NDArray[np.float64]:
    """Metrics as the cohort step leaves them: (subject, shift), one of them missing."""
    store = Store(path, writable=True)
    values = np.arange(2.0 * len(store.labels("subject"))).reshape(-1, 2)
    values[0, 1] = np.nan
    group = store.root.require_group(f"{ENGINE}/metrics")
    write_table(group, "dV_mm3", ("subject", "shift"), values)
    consolidate(path)
    return values
