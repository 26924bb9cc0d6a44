"""A study of three small generated heads with bright lesions, in the store without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lamstore.build import ensure
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.grid import Grid
from lamstore.ledger import LedgerFile, done
from lamstore.schema import Layout
from lamstore.store import Store
from lamstore.study import Study, create_study
from lamstore.units import Unit

SHAPE = (32, 32, 24)
SUBJECTS = ("a", "b", "c")
GRID = Grid.of(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))


def head(
    subject: str,
) -> tuple[dict[str, NDArray[np.uint16]], NDArray[np.bool_], NDArray[np.bool_]]:
    """Images, brain and lesions: white matter inside, grey matter in the outer 4 voxels."""
    random = np.random.default_rng(ord(subject))
    brain, white, truth = (np.zeros(SHAPE, bool) for _ in range(3))
    brain[2:-2, 2:-2, 2:-2] = True
    white[6:-6, 6:-6, 6:-6] = True
    for x, y, z in random.integers(7, 14, (3, 3)) * (1, 1, 1) + [[0, 0, 0], [8, 0, 0], [0, 8, 0]]:
        truth[x : x + 4, y : y + 3, z : z + 3] = True
    flair = np.where(white, 400, 480) + 220 * truth
    t1w = np.where(white, 600, 420) - 90 * truth
    noisy = {n: i + random.normal(0, 20, SHAPE) for n, i in (("flair", flair), ("t1w", t1w))}
    return {n: (i * brain).astype(np.uint16) for n, i in noisy.items()}, brain, truth


def build(path: Path) -> Study:
    """The study: what a planner and `ingest` leave."""
    dataset = DatasetConfig(adapter="none", root=path)
    study = create_study(path, render_config(StudyConfig(dataset=dataset)))
    layout = Layout(
        SUBJECTS, ("t0",), ("flair", "t1w"), SHAPE, (1.0, 1.0, 1.0), "uint16", lesion_truth=True
    )
    cells = {s: frozenset({("t0", "flair"), ("t0", "t1w")}) for s in SUBJECTS}
    ensure(study.store_path, layout, dict.fromkeys(SUBJECTS, GRID), cells, {})
    store = Store(study.store_path, writable=True)
    with LedgerFile(study.ledger.folder, "ingest", {}) as ledger:
        for subject in SUBJECTS:
            images, brain, truth = head(subject)
            at: dict[str, Any] = {"subject": subject, "timepoint": "t0"}
            arrays = {
                "brainmask": store.write("brainmask", brain, subject=subject),
                "volume@t0": store.write("volume", np.stack(list(images.values())), **at),
                "lesion_truth@t0": store.write("lesion_truth", truth, **at),
            }
            ledger.append(done(Unit("ingest", subject=subject, fingerprint="f"), {}, arrays, 0.0))
    return study


def write_config(path: Path, study: Study, **changes: Any) -> Path:
    """A train.yaml of a tiny network on this study."""
    body: dict[str, Any] = {
        "name": path.stem,
        "study": str(study.path),
        "runs": str(path.parent / "runs"),
        "channels": ["flair", "t1w"],
        "patch": [16, 16, 16],
        "steps_per_epoch": 4,
        "epochs": 3,
        "validate_every": 2,
        "split": {"rule": "subjects", "validation": ["c"]},
        "network": {"features": [4, 8], "strides": [2], "residual_units": 1},
        "precision": "float32",
        "augment": {"margin": 4},
        "workers": 0,
    }
    path.write_text(yaml.safe_dump(body | changes))
    return path
