"""What spines, and which study, are the spine tests run on? Balls of known brightness and place."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from lamstore.grid import Grid
from lamstore.study import Study

SHAPE, SPACING_MM = (30, 96, 5), (2.0, 2.0, 4.0)
HEIGHTS_MM = {
    "normal": (70, 36, 2, -32, -66),
    "swapped": (70, 36, 2, -66, -32),
    "without": (70, 36, 2, -32, None),
}
"""Of the ball of each level, by study."""


def spine_grid() -> Grid:
    """Columns to the back, rows down, slices to the right: a sagittal series."""
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2] = -SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2]
    affine[:, 3] = [-8.0, 30.0, 95.0, 1.0]
    return Grid.of(SHAPE, affine)


def spine_of_balls(heights_mm: tuple[float | None, ...], seed: int = 0) -> np.ndarray:
    """(x, y, z) float32: a ball of brightness 100, 200, … at each height, noise around."""
    grid = spine_grid()
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    world = voxels @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    image = np.random.default_rng(seed).normal(0, 2, SHAPE)
    for level, height in enumerate(heights_mm):
        if height is not None:
            ball = ((world - [0.0, 0.0, height]) ** 2).sum(axis=-1) <= 9.0**2
            image[ball] += 100 * (level + 1)
    return image.astype(np.float32)


def install(home: Path) -> None:
    """Put the engine ``spots`` into a folder as an installed distribution."""
    shutil.copy(Path(__file__).with_name("spots.py"), home / "lamstore_spots.py")
    info = home / "lamstore_spots-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamstore-spots\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lamstore.engines]\nspots = lamstore_spots:Spots\n")


def write_spines(root: Path) -> Path:
    """A table of generated spines; gives its path."""
    root.mkdir()
    rows = []
    for number, (study, heights_mm) in enumerate(HEIGHTS_MM.items()):
        image = nib.Nifti1Image(spine_of_balls(heights_mm, number), spine_grid().matrix)
        nib.save(image, root / f"{study}.nii.gz")
        rows.append([study, "t0", "t2w", f"{study}.nii.gz"])
    with (root / "spines.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "timepoint", "modality", "path"], *rows])
    return root / "spines.csv"


def write_spine_study(path: Path, table: Path, **sections: object) -> Study:
    """A study of generated spines under no shift; `sections` replace those of study.yaml."""
    dataset = {
        "adapter": "nifti-table",
        "root": str(table),
        "modalities": ["t2w"],
        "optional_modalities": [],
        "need_brainmask": False,
    }
    body = {"dataset": dataset, "engines": [{"engine": "spots"}], "shifts": {"names": []}}
    path.mkdir(parents=True, exist_ok=True)
    (path / "study.yaml").write_text(yaml.safe_dump(body | sections))
    return Study.at(path)
