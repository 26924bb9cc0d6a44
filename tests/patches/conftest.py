"""A study of two generated subjects with known lesions, ingested without a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.patches.index import IndexBuilder
from jobs.patches.index_file import write_index
from lamstore.build import ensure
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.grid import Grid
from lamstore.ledger import LedgerFile, done
from lamstore.schema import Layout
from lamstore.store import Store
from lamstore.study import Study, create_study
from lamstore.units import Unit

SHAPES = {"big": (40, 36, 20), "small": (30, 40, 18)}
AFFINES = {
    # As NIfTI has it mostly: x towards the left; and a sagittal scan, its axes A, S, L.
    "big": np.array([[-1.0, 0, 0, 20], [0, 1, 0, -18], [0, 0, 2, -20], [0, 0, 0, 1]]),
    "small": np.array([[0, 0, -2.0, 18], [1, 0, 0, -15], [0, 1, 0, -20], [0, 0, 0, 1]]),
}


@dataclass(frozen=True)
class Known:
    """What was written of a subject; images by modality."""

    images: dict[str, NDArray[np.uint16]]
    brain: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    grid: Grid


def known(subject: str) -> Known:
    """One large lesion and two small ones in `big`, one of a single voxel in `small`."""
    shape = SHAPES[subject]
    random = np.random.default_rng(len(subject))
    brain = np.zeros(shape, bool)
    brain[3:-3, 3:-3, 2:-2] = True
    truth = np.zeros(shape, bool)
    if subject == "big":
        truth[10:20, 10:20, 5:12] = True
        truth[25:27, 8, 4] = True
        truth[30, 30, 15] = True
    else:
        truth[20, 9, 6] = True
    names = ("flair", "t1w") if subject == "big" else ("flair",)
    images = {name: random.integers(50, 900, shape, dtype=np.uint16) for name in names}
    return Known(images, brain, truth, Grid.of(shape, AFFINES[subject]))


def build(path: Path, *, index: bool = False) -> Study:
    """The study: what a planner and `ingest` leave."""
    dataset = DatasetConfig(adapter="none", root=path)
    study = create_study(path, render_config(StudyConfig(dataset=dataset)))
    facts = {subject: known(subject) for subject in SHAPES}
    layout = Layout(
        tuple(SHAPES), ("t0",), ("flair", "t1w"), (40, 40, 20), (1.0, 1.0, 2.0), "uint16",
        lesion_truth=True,
    )  # fmt: skip
    cells = {s: frozenset(("t0", m) for m in one.images) for s, one in facts.items()}
    ensure(study.store_path, layout, {s: one.grid for s, one in facts.items()}, cells, {})
    store = Store(study.store_path, writable=True)
    with LedgerFile(study.ledger.folder, "ingest", {}) as ledger:
        for subject, one in facts.items():
            arrays = _write(store, subject, one)
            ledger.append(done(Unit("ingest", subject=subject, fingerprint="f"), {}, arrays, 0.0))
            if index:
                write_index(path, _index(subject, one, arrays))
    return study


def _write(store: Store, subject: str, one: Known) -> dict[str, str]:
    empty = np.zeros(one.grid.shape, np.uint16)
    block = np.stack([one.images.get(name, empty) for name in ("flair", "t1w")])
    at: dict[str, Any] = {"subject": subject, "timepoint": "t0"}
    return {
        "brainmask": store.write("brainmask", one.brain, subject=subject),
        "volume@t0": store.write("volume", block, **at),
        "lesion_truth@t0": store.write("lesion_truth", one.truth, **at),
    }


def _index(subject: str, one: Known, arrays: dict[str, str]) -> Any:
    builder = IndexBuilder(subject, one.grid)
    builder.brainmask(one.brain)
    for name, image in one.images.items():
        builder.image("t0", name, image)
    builder.lesion_truth("t0", one.truth)
    return builder.finish(arrays)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study, its indexes not made yet."""
    return build(tmp_path_factory.mktemp("patches") / "study")
