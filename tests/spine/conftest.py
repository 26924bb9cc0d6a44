"""Fixtures of the spine tests: a localizer installed as a plug-in, a finished study."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lamstore.study import Study
from tests.running import lam
from tests.spine.balls import install, write_spine_study, write_spines

pytest.register_assert_rewrite("tests.engines.conformance")


@pytest.fixture(scope="session")
def spots_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the plug-in."""
    home = tmp_path_factory.mktemp("spots")
    install(home)
    return home


@pytest.fixture
def spots(spots_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the engine ``spots`` for this process and every one that the test starts."""
    monkeypatch.setenv("PYTHONPATH", _path(spots_home))
    monkeypatch.syspath_prepend(spots_home)


def _path(home: Path) -> str:
    return f"{home}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@pytest.fixture(scope="session")
def screened_once(tmp_path_factory: pytest.TempPathFactory, spots_home: Path) -> Path:
    """A folder with three spines and their finished study under one shift; not to be changed."""
    home = tmp_path_factory.mktemp("spines")
    table = write_spines(home / "cohort")
    study = write_spine_study(home / "study", table, shifts={"names": ["gamma"], "levels": [1]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", _path(spots_home))
        lam("run", study.path, "--workers", 2)
    return home


@pytest.fixture
def screened(screened_once: Path, tmp_path: Path, spots: None) -> Study:
    """A finished spine study of one's own."""
    shutil.copytree(screened_once / "study", tmp_path / "study")
    return Study.at(tmp_path / "study")
