"""What can a test ask for that needs a real cluster, Apptainer or the CPU image?

Fixtures `cluster`, `accounting_cluster`, `apptainer` and `cpu_image`, one of each per session.
Where one cannot be had the test is skipped with the reason; with LAMSTORE_REQUIRE_CLUSTER=1, as in
the project's own checks, it fails instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import Cluster, why_not

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def unavailable(reason: str) -> None:
    """Skip, or fail where a skipped test would hide that the cluster was never tried."""
    if os.environ.get("LAMSTORE_REQUIRE_CLUSTER") == "1":
        pytest.fail(f"LAMSTORE_REQUIRE_CLUSTER=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def needs_cgroups(cluster: Cluster) -> None:
    """Leave a test of memory limits where the kernel does not enforce them."""
    if not cluster.cgroups:
        unavailable("no writable version 1 cgroups here: SLURM cannot enforce memory")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, accounting off."""
    reason = why_not()
    if reason is not None:
        unavailable(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def accounting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with a GPU each (for the scheduler only), accounting on."""
    reason = why_not(accounting=True)
    if reason is not None:
        unavailable(reason)
    with Cluster(tmp_path_factory.mktemp("slurmdb"), accounting=True, gpus=1) as running:
        yield running


@pytest.fixture(scope="session")
def apptainer() -> Path:
    """The `apptainer` program, installed when it was not."""
    if os.geteuid() != 0:
        unavailable("building and running images here needs root")
    return Path(_script(HERE / "apptainer.sh"))


@pytest.fixture(scope="session")
def cpu_image(apptainer: Path) -> Path:
    """The SIF of this checkout without torch, built when its sources or versions changed."""
    build = ROOT / "containers" / "build_cpu.sh"
    cache = os.environ.get("LAMSTORE_SIF_CACHE") or str(Path.home() / ".cache/lamstore/sif-tests")
    tools = {"PYTHON": sys.executable, "APPTAINER": str(apptainer)}
    # Without torch: no test runs a neural engine in it, and every machine builds it anew.
    image = Path(_script(build, **tools, LAMSTORE_SIF_CACHE=cache, TORCH="no"))
    _keep_newest(image)
    return image


def _keep_newest(image: Path, count: int = 3) -> None:
    """Forget older images beside `image`: every change of the sources leaves another 400 MB."""
    image.touch()
    images = sorted(image.parent.glob("lamstore-cpu-*.sif"), key=lambda path: path.stat().st_mtime)
    for old in images[:-count]:
        old.unlink()
        old.with_suffix(".log").unlink(missing_ok=True)


def _script(script: Path, **extra_env: str) -> str:
    done = subprocess.run(
        [str(script)], env={**os.environ, **extra_env}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        unavailable(f"{script.relative_to(ROOT)} failed: {done.stderr.strip()}")
    return done.stdout.strip()
