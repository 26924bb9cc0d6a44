"""How fast are the metrics, against a straightforward implementation on the full grid?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from nibabel.nifti1 import Nifti1Image

from benchmarks.timing import Row, compared
from benchmarks.volumes import PATIENT
from jobs.engines.base import EngineInput
from jobs.engines.flair_zscore import FlairZscore
from jobs.metrics.longitudinal import longitudinal_metrics
from lamstore.grid import Grid


def metrics(data: Path) -> Iterator[Row]:
    """Longitudinal metrics of one real pair with masks as the engine gives them."""
    folder = data / PATIENT
    flair, t1w = (
        [_load(folder / f"study{t}_{m}.nii.gz") for t in (1, 2)] for m in ("FLAIR", "T1W")
    )
    brain = _load(folder / "brainmask.nii.gz") > 0
    truth = _load(folder / "gt.nii.gz") > 0
    grid = Grid.of(brain.shape, Nifti1Image.from_filename(folder / "gt.nii.gz").affine)
    engine = FlairZscore.parse({})
    m0, m1 = (
        engine.segment(EngineInput("p", "t", "none", {"flair": f, "t1w": t}, brain, grid)).mask
        for f, t in zip(flair, t1w, strict=True)
    )
    arguments = (m0, m1, truth, brain, flair[0], flair[1], grid)
    plain = (*arguments[:-1], grid.spacing_mm, grid.voxel_volume_mm3)
    reference = _reference()
    yield compared(
        "longitudinal metrics of one real pair", lambda: longitudinal_metrics(*arguments),
        "scipy.ndimage, full grid", lambda: reference.longitudinal_metrics(*plain),
        "≥ 5 ×", rounds=9,
    )  # fmt: skip


def _load(path: Path) -> np.ndarray:
    return np.ascontiguousarray(
        np.asarray(Nifti1Image.from_filename(path).dataobj), dtype=np.float32
    )


def _reference() -> ModuleType:
    """The scipy implementation that the tests check the metrics against."""
    path = Path(__file__).parent.parent / "tests/metrics/reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
