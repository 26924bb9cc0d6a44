"""Fixtures that several folders of tests share: a finished study of generated brains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamstore.study import Study
from tests.running import lam, write_cohort, write_study


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort of two and its finished study; not to be changed."""
    home = tmp_path_factory.mktemp("finished")
    write_cohort(home / "cohort", 2)
    study = write_study(home / "study", Path("../cohort"))
    lam("run", study.path, "--workers", 2)
    return home


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Study:
    """A finished study of one's own, its cohort in ``../cohort``."""
    shutil.copytree(finished_once, tmp_path / "copy")
    return Study.at(tmp_path / "copy" / "study")


@pytest.fixture(autouse=True)
def cluster_left_idle(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails with jobs in the queue must not take the ones after it along."""
    yield
    for name in {"cluster", "accounting_cluster"} & set(request.fixturenames):
        request.getfixturevalue(name).settle()


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests on a real cluster in one process, which starts it once; others run beside it."""
    for item in items:
        if item.get_closest_marker("slurm") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("cluster"))
