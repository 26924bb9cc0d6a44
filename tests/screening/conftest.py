"""Fixtures of the screening tests: a finished study of generated spines with labels."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.running import lam
from tests.spine import balls

NORMAL, LSTV = 12, 11
PICTURES = 3


def heights(rng: np.random.Generator, lstv: bool, kind: int) -> tuple[float | None, ...]:
    """Of the balls of one spine; the last is missing or too near where it is transitional."""
    found = [z + rng.normal(0, 1.5) for z in (70, 36, 2, -32, -66)]
    if lstv:
        found[4] = None if kind % 2 else found[3] - 12
    return tuple(found)


@pytest.fixture(scope="session")
def spines_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``study`` (finished) and ``labels.csv``; not to be changed."""
    home = tmp_path_factory.mktemp("screening")
    (home / "plugin").mkdir()
    balls.install(home / "plugin")
    rng = np.random.default_rng(0)
    spines = {f"n{i:02}": heights(rng, False, i) for i in range(NORMAL)}
    spines |= {f"t{i:02}": heights(rng, True, i) for i in range(LSTV)}
    path = f"{home / 'plugin'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balls, "HEIGHTS_MM", spines)
        patch.setenv("PYTHONPATH", path)
        table = balls.write_spines(home / "cohort")
        # Pictures take most of the time.
        study = balls.write_spine_study(home / "study", table, screening={"queue_length": PICTURES})
        lam("run", study.path, "--workers", 1)
    lines = [f"{name},{int(name[0] == 't')}" for name in spines]
    (home / "labels.csv").write_text("\n".join(["study_id,lstv", *lines]) + "\n")
    return home


@pytest.fixture
def spines(spines_once: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    shutil.copytree(spines_once / "study", tmp_path / "study")
    shutil.copy(spines_once / "labels.csv", tmp_path / "labels.csv")
    return tmp_path
