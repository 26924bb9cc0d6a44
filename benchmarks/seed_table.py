"""Does Tversky trade Dice for recall, as in the earlier system's table of 16 ATLAS cases?

``python -m benchmarks.seed_table OUT [--workers N] [--epochs 4]`` generates 16 heads with one
stroke-like lesion each, T1W, in the layout of ATLAS, takes them in by the adapter ``atlas``, and
trains the same network with both losses as a sweep (4 epochs, 48³ patches). The cases are
generated: what carries over is the shape of the comparison, not its numbers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console

from hpc.execute import execute
from hpc.run import make_plan, prepare_store
from hpc.training import train_here
from hpc.training_sweep import expand, parse_sweep, write_sweep
from hpc.training_table import gather
from jobs.phantom import generate_subject
from jobs.phantom.noise import spline_noise
from jobs.phantom.spec import LesionPlan, PhantomSpec
from jobs.workbench import Workbench
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.ledger import LedgerFile
from lamstore.study import Study, create_study

CASES = 16
SHAPE, SPACING_MM = (84, 104, 76), (2.0, 2.0, 2.0)
RADIUS_MM = (6.0, 24.0)
"""Mean radius of a lesion; log-uniform between."""
DARKNESS = (0.35, 0.75)
"""How far a lesion's T1W goes from tissue towards fluid."""
LOSSES = "loss=dice_bce,tversky"


def stroke(
    t1w: NDArray[np.uint16], brain: NDArray[np.bool_], random: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """One dark, lobed lesion with soft edges, its centre on tissue.

    Parameters
    ----------
    t1w : (x, y, z) uint16 ndarray
    brain : (x, y, z) bool ndarray

    Returns
    -------
    t1w : (x, y, z) uint16 ndarray
    truth : (x, y, z) bool ndarray
        Where at least half of the lesion's contrast is.
    """
    tissue = brain & (t1w > np.percentile(t1w[brain], 30))
    places = np.argwhere(tissue)
    centre = places[random.integers(len(places))]
    mean_mm = float(np.exp(random.uniform(*np.log(RADIUS_MM))))
    radii_mm = mean_mm * np.exp(random.normal(0, 0.25, 3))
    away_mm = (np.indices(t1w.shape).T - centre) * SPACING_MM
    distance = np.sqrt(((away_mm / radii_mm) ** 2).sum(axis=-1)).T
    distance += 0.22 * spline_noise(random, SHAPE, SPACING_MM, 18.0)
    alpha = np.clip((1 - distance) * mean_mm / 3 + 0.5, 0, 1) * brain
    fluid = np.percentile(t1w[brain], 2)
    darkness = random.uniform(*DARKNESS) * (1 + 0.2 * spline_noise(random, SHAPE, SPACING_MM, 8.0))
    out = t1w - alpha * np.clip(darkness, 0, 1) * (t1w - fluid)
    return np.clip(out, 0, None).astype(np.uint16), (alpha >= 0.5) & brain


def write_cases(root: Path) -> None:
    """16 cases in ATLAS's layout, flat."""
    root.mkdir(parents=True)
    for number in range(CASES):
        random = np.random.default_rng([2024, number])
        x, y, z = np.exp(random.normal(0, 0.03, 3))
        head = generate_subject(
            PhantomSpec(
                subject=f"r001s{number + 1:03d}",
                shape=SHAPE,
                spacing_mm=SPACING_MM,
                seed=5000 + number,
                lesions=LesionPlan(),
                head_scale=(float(x), float(y), float(z)),
                ventricle_scale=float(np.exp(random.normal(0, 0.2))),
            )
        )
        image, truth = stroke(head.images["t0", "t1w"], head.brainmask, random)
        stem = root / f"sub-{head.spec.subject}_ses-1_space-orig"
        voxels = {
            "T1w": image,
            "label-L_desc-T1lesion_mask": truth.astype(np.uint8),
            "desc-brain_mask": head.brainmask.astype(np.uint8),
        }
        for suffix, values in voxels.items():
            nifti = nib.Nifti1Image(values, head.grid.matrix)  # type: ignore[no-untyped-call]
            nib.save(nifti, f"{stem}_{suffix}.nii.gz")


def take_in(root: Path, path: Path) -> Study:
    """A study of the cases, ingested and nothing else."""
    dataset = DatasetConfig(adapter="atlas", root=root, modalities=("t1w",), optional_modalities=())
    study = create_study(path, render_config(StudyConfig(dataset=dataset)))
    plan = make_plan(study)
    prepare_store(plan)
    bench = Workbench(study)
    with LedgerFile(study.ledger.folder, "seed-table", {}) as ledger:
        for unit in plan.wanted.ingest:
            execute(bench, ledger, unit, again=False)
    return study


def config_of(study: Study, out: Path, workers: int, epochs: int) -> Path:
    """The train.yaml of the table."""
    body = {
        "name": "seed_table",
        "study": str(study.path),
        "runs": str(out / "runs"),
        "channels": ["t1w"],
        "spacing_mm": list(SPACING_MM),
        "patch": [48, 48, 48],
        "batch": 2,
        "steps_per_epoch": 48,
        "epochs": epochs,
        "validate_every": 1,
        "split": {"rule": "kfold", "folds": 4, "fold": 0},
        "ema": 0.95,
        "augment": {"transplant": None, "tissue_contrast": 0.0},
        "workers": workers,
    }
    path = out / "train.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    return path


def main(argv: list[str] | None = None) -> int:
    """Generate, ingest, train both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args(argv)
    out, console = arguments.out.resolve(), Console()
    if not (out / "study").exists():
        write_cases(out / "cases")
        take_in(out / "cases", out / "study")
    path = config_of(Study.at(out / "study"), out, arguments.workers, arguments.epochs)
    runs = expand(path, parse_sweep([LOSSES]))
    folder = write_sweep(runs, resume=True)
    for run in runs:
        if not train_here(run.config, console, resume=True).done:
            return 130
    found, _ = gather(folder)
    columns = ["run", "dice", "sensitivity", "precision", "lesion_recall", "lesion_f1", "seconds"]
    console.print(found[columns].to_string(index=False, float_format="%.3f"), highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
