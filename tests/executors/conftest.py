"""Fixtures of the executors' tests: a site, studies, and an engine that misbehaves on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from lamstore.study import Study
from tests.cluster.fixtures import accounting_cluster, apptainer, cluster, cpu_image
from tests.cluster.slurm import Cluster
from tests.running import lam, write_cohort, write_study

__all__ = ["accounting_cluster", "apptainer", "cluster", "cpu_image"]

PROFILE = {
    "partition": "main",
    "cores": 1,
    "memory": "900M",
    "time": "00:10:00",
    "stop_before_s": 30,
    "dask": {"interface": "lo", "dashboard_port": 0},
}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open-ms tree of three generated brains; not to be changed."""
    return write_cohort(tmp_path_factory.mktemp("brains") / "cohort", 3, scale=0.2)


@pytest.fixture(scope="session")
def reference(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The cohort's study as one machine does it; not to be changed."""
    study = write_study(tmp_path_factory.mktemp("reference") / "study", cohort)
    lam("run", study.path, "--workers", 2)
    return study


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """`subprocess.Popen`, whose process does not outlive the test."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(command: list[object], **options: int) -> subprocess.Popen[bytes]:
        begun.append(subprocess.Popen([str(part) for part in command], **options))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def study(cohort: Path, tmp_path: Path) -> Study:
    """A study of the cohort in which nothing is done; its path has a space."""
    return write_study(tmp_path / "my study", cohort)


@pytest.fixture
def probe(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the engine ``probe`` for every process that the test starts."""
    home = tmp_path_factory.mktemp("plugin")
    shutil.copy(Path(__file__).with_name("probe.py"), home / "lamstore_probe.py")
    info = home / "lamstore_probe-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamstore-probe\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lamstore.engines]\nprobe = lamstore_probe:Probe\n")
    monkeypatch.setenv("PYTHONPATH", f"{home}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def probing(path: Path, cohort: Path, **options: object) -> Study:
    """A study of the cohort with the engine ``probe``."""
    return write_study(path, cohort, engines=[{"engine": "probe", "options": options}])


def at_site(
    running: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch, **profile: object
) -> None:
    """Make every `lam` that the test starts find a cluster, by a site's profile."""
    body = {"default": "here", "profiles": {"here": PROFILE | profile}}
    path = folder / "clusters.yaml"
    path.write_text(yaml.safe_dump(body))
    monkeypatch.setenv("LAMSTORE_CLUSTERS", str(path))
    monkeypatch.setenv("SLURM_CONF", running.env["SLURM_CONF"])


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster without accounting, as a site whose profile is the default."""
    at_site(cluster, tmp_path, monkeypatch)
    return cluster
