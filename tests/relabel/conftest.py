"""Fixtures of the relabelling tests: generated spines on a coarse grid, and what a tool says."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from jobs.heatmaps.centroids import NUMBERS, Centroids, write_centroids
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import Lumbar, generate_lumbar
from lamstore.study import Study
from tests.running import lam
from tests.spine.balls import write_spine_study

RADIUS_MM = 11.0
"""Of the balls that stand for vertebrae in a mask."""


def spine(seed: int) -> Lumbar:
    """A normal spine on 160 × 160 pixels of 7 slices: quick, and its levels are known."""
    spec = draw_spec(seed, "normal")
    field_mm = spec.scanner.matrix[0] * spec.scanner.spacing_mm
    scanner = replace(spec.scanner, matrix=(160, 160), spacing_mm=field_mm / 160, slices=7)
    return generate_lumbar(replace(spec, scanner=scanner))


@dataclass(frozen=True)
class Told:
    """What a tool says of a spine: labels where its vertebrae really are, under any names."""

    spine: Lumbar

    def write(self, home: Path, subject: str, names: Mapping[str, str] | None = None) -> None:
        """Centroids and mask under BIDS-like names; `names` are the tool's own."""
        found = {(names or {}).get(n, n): at for n, at in self.spine.centroids.items()}
        inverse = np.linalg.inv(self.spine.affine)
        points = {NUMBERS[n]: tuple((inverse @ [*at, 1.0])[:3]) for n, at in found.items()}
        codes = nib.aff2axcodes(self.spine.affine)
        (home / "ctd").mkdir(parents=True, exist_ok=True)
        (home / "msk").mkdir(exist_ok=True)
        write_centroids(home / "ctd" / f"sub-{subject}_ctd.json", Centroids(codes, points))
        voxels = np.indices(self.spine.volume.shape).reshape(3, -1).T
        world = voxels @ self.spine.affine[:3, :3].T + self.spine.affine[:3, 3]
        mask = np.zeros(len(world), np.uint8)
        for name, at in found.items():
            mask[np.linalg.norm(world - at, axis=1) < RADIUS_MM] = NUMBERS[name]
        image = nib.Nifti1Image(mask.reshape(self.spine.volume.shape), self.spine.affine)
        nib.save(image, home / "msk" / f"sub-{subject}_seg-vert_msk.nii.gz")


ONE_LOW = {f"L{i}": f"L{i + 1}" for i in range(1, 6)} | {"T12": "L1", "T11": "T12"}
"""A tool that finds six lumbar vertebrae where there are five."""


@pytest.fixture(scope="session")
def told_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a study of five spines that has run, and a tool's ``ctd`` and ``msk``."""
    home = tmp_path_factory.mktemp("relabel")
    (home / "cohort").mkdir()
    rows, made = [], {name: spine(seed) for name, seed in (("good", 4), ("moved", 5))}
    for subject in ("good", "moved", "missing", "broken", "upside"):
        source = made["moved" if subject == "moved" else "good"]
        image = nib.Nifti1Image(source.volume, source.affine)
        nib.save(image, home / "cohort" / f"{subject}.nii.gz")
        rows.append([subject, "t0", "t2w", f"{subject}.nii.gz"])
    with (home / "cohort" / "spines.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "timepoint", "modality", "path"], *rows])
    engine = {"engine": "vertebra-heatmap", "options": {"device": "cpu"}}
    table = home / "cohort" / "spines.csv"
    study = write_spine_study(home / "study", table, engines=[engine])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        lam("run", study.path, "--workers", 1)
    for subject in ("good", "missing", "broken", "upside"):
        Told(made["good"]).write(home, subject)
    Told(made["moved"]).write(home, "moved", ONE_LOW)
    (home / "ctd" / "sub-missing_ctd.json").unlink()
    (home / "ctd" / "sub-broken_ctd.json").write_text("[{")
    upside = home / "ctd" / "sub-upside_ctd.json"
    entries = json.loads(upside.read_text())
    upside.write_text(json.dumps([{"direction": ["P", "S", "R"]}, *entries[1:]]))
    return home


@pytest.fixture
def relabelled(told_once: Path, tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Run ``lam relabel`` with further arguments; gives what it said and where it wrote."""

    def run(*arguments: object, status: int = 0) -> tuple[str, Path]:
        out = tmp_path / "out"
        said = lam(
            "relabel", told_once / "study", "--centroids", told_once / "ctd", "--out", out,
            *arguments, status=status,
        )  # fmt: skip
        return said, out

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return run


@pytest.fixture
def study(told_once: Path) -> Study:
    """The study; not to be changed."""
    return Study.at(told_once / "study")
