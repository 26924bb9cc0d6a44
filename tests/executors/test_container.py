"""Does a study run in the project's own image, whoever does the work?"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lamstore.study import Study
from tests.cluster.slurm import Cluster
from tests.executors.conftest import at_site
from tests.running import assert_same_tables, lam, status_of, write_study

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def contained(
    cluster: Cluster,
    apptainer: Path,
    cpu_image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The image; every `lam` that the test starts finds the cluster and Apptainer."""
    monkeypatch.setenv("LAMSTORE_APPTAINER_BIN", str(apptainer))
    at_site(cluster, tmp_path, monkeypatch, memory="2G")
    return cpu_image


def headers_of_workers(study: Study) -> list[dict[str, object]]:
    return [header for header in study.ledger.headers() if header]


@pytest.mark.parametrize(
    "options",
    [("--workers", 2), ("--on", "slurm", "--wait"), ("--on", "dask", "--workers", 2)],
    ids=["local", "slurm", "dask"],
)
def test_study_is_done_within_the_image(contained, options, cohort, tmp_path, reference):
    study = write_study(tmp_path / "my study", cohort)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("raise SystemExit('the wrong jobs')")
    lam("run", study.path, *options, "--container", contained, cwd=tmp_path)
    assert status_of(study)["complete"]
    digest = f"sha256:{hashlib.sha256(contained.read_bytes()).hexdigest()}"
    assert {header["container_digest"] for header in headers_of_workers(study)} == {digest}
    assert_same_tables(study, reference)
