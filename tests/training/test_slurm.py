"""Does a sweep on a real cluster end as it would here, though one of its tasks is requeued?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from jobs.training.config_file import read_train_config
from jobs.training.run import train
from tests.cluster.fixtures import cluster
from tests.cluster.slurm import Cluster
from tests.running import lam
from tests.training.cohort import write_config

__all__ = ["cluster"]

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(600)]

PROFILE = {"partition": "main", "cores": 1, "memory": "1500M", "time": "00:20:00"}
TIMES = ["seconds", "patches_per_s"]


def test_a_requeued_task_resumes_and_the_last_job_gathers(
    cluster: Cluster, study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    site = tmp_path / "clusters.yaml"
    body = {"default": "here", "profiles": {"here": PROFILE | {"stop_before_s": 30}}}
    site.write_text(yaml.safe_dump(body))
    monkeypatch.setenv("LAMSTORE_CLUSTERS", str(site))
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    size = {"epochs": 60, "steps_per_epoch": 5, "validate_every": 30}
    path = write_config(tmp_path / "grid.yaml", study, **size)
    said = lam("train", path, "--sweep", "seed=0:2", "--on", "slurm")
    folder = tmp_path / "runs" / "grid"
    job = min((p for p in (folder / "slurm" / "jobs").iterdir()), key=lambda p: int(p.name)).name
    assert job in said
    first = folder / "seed-0"
    cluster.wait_until("an epoch of seed-0", (first / "metrics.csv").exists, 120)
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_0")
    log = folder / "slurm" / f"train-{job}_0.log"
    cluster.wait_until("the state kept", lambda: "stopped" in log.read_text(), 60)
    assert not (first / "summary.json").exists()
    cluster.wait_until(
        "requeued",
        lambda: "PENDING" in cluster.run("squeue", "-h", "-j", f"{job}_0", "-o", "%T"),
        60,
    )
    cluster.skip_requeue_delay(f"{job}_0")
    cluster.wait_until("tables", (folder / "sweep.csv").exists, 240)
    assert pd.read_csv(folder / "sweep.csv")["done"].all()
    assert "restart 1" in log.read_text()
    alone = write_config(tmp_path / "alone.yaml", study, seed=0, **size)
    expected = train(read_train_config(alone)).files.folder
    rows = [pd.read_csv(f / "metrics.csv").drop(columns=TIMES) for f in (first, expected)]
    pd.testing.assert_frame_equal(*rows, rtol=1e-4)
