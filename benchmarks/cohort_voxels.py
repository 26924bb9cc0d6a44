"""Does memory stay bounded while an analysis goes over every voxel of a large cohort?

``python -m benchmarks.cohort_voxels [SUBJECTS …]`` generates stores of small volumes (48 x 48 x 24
voxels, lesions as blurred spheres that three members see differently), then, each in a process of
its own, evaluates the one-line cohort expression and the voxel audit, and prints seconds, peak
memory and what the process had before it began.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lamstore.build import ensure
from lamstore.config import DatasetConfig, EngineConfig, StudyConfig, render_config
from lamstore.grid import Grid
from lamstore.schema import EngineLayout, Layout
from lamstore.store import Store
from lamstore.study import Study, create_study
from lamstore.tables import consolidate, write_table

SHAPE = (48, 48, 24)
GRID = Grid.of(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))
NAME = "generated"
GROUP = f"engines/{NAME}"
MEMBERS = ("a", "b", "c")
BYTES = int(np.prod(SHAPE)) * 2 * (3 * 2 + 2 + 1 + 1)
"""Of a subject's two scans that the audit reads: probabilities, uncertainty, mask, truth."""


def generate(path: Path, subjects: int) -> Study:
    """A study whose outputs were written to the store directly."""
    engine = EngineConfig(engine="precomputed", label=NAME)
    config = StudyConfig(dataset=DatasetConfig(adapter="none", root=path), engines=(engine,))
    study = create_study(path, render_config(config))
    names = tuple(f"s{i:05d}" for i in range(subjects))
    layout = Layout(
        subjects=names,
        timepoints=("t0", "t1"),
        modalities=("flair",),
        extent=SHAPE,
        spacing_mm=GRID.spacing_mm,
        volume_dtype="uint16",
        lesion_truth=True,
        engines={NAME: EngineLayout(("none",), MEMBERS, ("ens_var",))},
    )
    cells = frozenset({("t0", "flair"), ("t1", "flair")})
    ensure(study.store_path, layout, dict.fromkeys(names, GRID), dict.fromkeys(names, cells), {})
    store = Store(study.store_path, writable=True)
    volumes = np.array([_write(store, name, i) for i, name in enumerate(names)])
    group = store.root.create_group(
        f"{GROUP}/metrics", attributes={"columns": ["volume_truth_mm3"]}
    )
    dims = ("subject", "timepoint", "shift")
    write_table(group, "volume_truth_mm3", dims, volumes[:, :, None])
    consolidate(study.store_path)
    return study


def _write(store: Store, subject: str, seed: int) -> list[float]:
    random = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    centre = np.array(SHAPE)[:, None, None, None] / 2
    brain = ((at - centre) ** 2 / (0.45 * centre * 2) ** 2).sum(axis=0) < 1
    store.write("brainmask", brain.astype(np.uint8), subject=subject)
    volumes = []
    for timepoint in ("t0", "t1"):
        where = random.uniform(0.35, 0.65, 3)[:, None, None, None] * centre * 2
        depth = random.uniform(3, 6) - np.sqrt(((at - where) ** 2).sum(axis=0))
        volumes.append(_write_scan(store, depth, random, subject=subject, timepoint=timepoint))
    return volumes


def _write_scan(
    store: Store, depth: NDArray[np.float64], random: np.random.Generator, **at: str
) -> float:
    truth = depth > 0
    seen = depth + random.normal(0, 0.7, SHAPE)
    probability = np.stack([expit(seen + random.normal(0, 0.5)) for _ in MEMBERS])
    store.write("lesion_truth", truth.astype(np.uint8), **at)
    shifted = at | {"shift": "none"}
    store.write(f"{GROUP}/probability", probability.astype(np.float16), **shifted)
    store.write(f"{GROUP}/uncertainty", probability.var(axis=0, keepdims=True), **shifted)
    store.write(f"{GROUP}/mask", (probability.mean(axis=0) >= 0.5).astype(np.uint8), **shifted)
    return float(truth.sum()) * GRID.voxel_volume_mm3


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: str, what: str) -> dict[str, float]:
    """One evaluation; call it in a fresh process."""
    import lamstore
    from analysis.voxels import compute, voxel_audit

    study = Study.at(path)
    ds = lamstore.open(path, engine=NAME)
    before, begun = peak_mb(), time.perf_counter()
    if what == "expression":
        (volumes,) = compute(ds.mask.sum(["x", "y", "z"]) * ds.voxel_volume_mm3)
        answer = float(volumes.mean())
    else:
        answer = voxel_audit(study).found[0].tally.reliability.ece
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "before_mb": before, "peak_mb": peak_mb(), "answer": answer}


def main(sizes: list[int]) -> None:
    """Generate, measure, print."""
    print(f"{'':12}{'subjects':>9}{'GB read':>9}{'s':>8}{'MB before':>11}{'MB peak':>9}  answer")
    for subjects in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = generate(Path(folder) / "study", subjects).path
            for what in ("expression", "audit"):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.cohort_voxels",
                    "--of",
                    str(path),
                    what,
                ]
                found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                size = np.prod(SHAPE) * 2 if what == "expression" else BYTES
                print(
                    f"{what:12}{subjects:9d}{subjects * size / 1e9:9.2f}{found['seconds']:8.1f}"
                    f"{found['before_mb']:11.0f}{found['peak_mb']:9.0f}  {found['answer']:.4g}"
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main([int(word) for word in sys.argv[1:]] or [100, 1000])
