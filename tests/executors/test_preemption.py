"""Is nothing lost and nothing done twice when somebody more important wants the nodes, or a dask
worker has had its time? And does a GPU job get a GPU, and only that one?"""

from __future__ import annotations

import subprocess

import pytest

from tests.cluster.slurm import Cluster
from tests.executors.conftest import at_site, probing
from tests.executors.test_faults import (
    SLURM,
    assert_each_once,
    await_end,
    field,
    job_of,
    run_of,
    waiting_study,
)
from tests.running import LAM, assert_same_tables, lam, status_of, write_study

# A cluster of their own, beside that of the other tests: they wait more than they work.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300), pytest.mark.xdist_group("faults")]


def urgent(cluster: Cluster) -> str:
    """A job that takes both nodes at once, for a moment."""
    wanted = ["--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 1"]
    return cluster.run("sbatch", "--output=/dev/null", *wanted).strip()


def test_preempted_task_is_requeued_and_does_the_rest(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--units-per-task", 9)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    task = f"{job_of(run_of(study), 'infer-00')}_0"
    job = urgent(site)  # begins once the preempted task is really gone
    site.wait_until("urgent job over", lambda: field(site, job, "JobState") == "COMPLETED", 60)
    assert field(site, task, "Restarts") == "1"
    (flag / "go").touch()
    site.skip_requeue_delay(task)
    await_end(site, study)
    assert_each_once(study)


def test_where_preemption_cancels_the_run_makes_good_itself(
    cluster, cohort, tmp_path, probe, monkeypatch, start
):
    at_site(cluster, tmp_path, monkeypatch, partition="scavenge")
    study, flag = waiting_study(tmp_path, cohort)
    options = ["--units-per-task", 9, "--retries", 1, "--wait"]
    process = start([LAM, "run", study.path, *SLURM, *options], stdout=subprocess.DEVNULL)
    cluster.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    first = run_of(study)
    task = f"{job_of(first, 'infer-00')}_0"
    urgent(cluster)
    cluster.wait_until("preempted", lambda: field(cluster, task, "JobState") == "PREEMPTED", 60)
    (flag / "go").touch()
    assert process.wait(timeout=200) == 0
    assert run_of(study).facts.parent == first.id
    assert_each_once(study)


def test_where_preemption_cancels_status_says_so_and_retry_does_the_rest(
    cluster, cohort, tmp_path, probe, monkeypatch
):
    at_site(cluster, tmp_path, monkeypatch, partition="scavenge")
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--units-per-task", 9)
    cluster.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    task = f"{job_of(run_of(study), 'infer-00')}_0"
    urgent(cluster)
    cluster.wait_until("preempted", lambda: field(cluster, task, "JobState") == "PREEMPTED", 60)
    (flag / "go").touch()
    await_end(cluster, study)
    assert status_of(study)["run"]["causes"]["preempted"] >= 1
    lam("retry", study.path, "--wait")
    assert_each_once(study)


@pytest.mark.slow
def test_dask_workers_that_have_had_their_time_are_replaced(
    cluster, cohort, tmp_path, probe, monkeypatch
):
    # Of a limit of a minute a worker lives 30 s, 15 s more or less; the units take 45 s and more.
    at_site(cluster, tmp_path, monkeypatch, time="00:01:00")
    study = probing(tmp_path / "s", cohort, takes_s=5)
    lam("run", study.path, "--on", "dask", "--workers", 1)
    assert len(run_of(study).jobs()) >= 2
    assert_each_once(study)


@pytest.mark.parametrize(
    "options", [(*SLURM, "--wait"), ("--on", "dask", "--workers", 2)], ids=["slurm", "dask"]
)
def test_inference_gets_a_gpu(
    accounting_cluster, options, cohort, tmp_path, reference, monkeypatch
):
    jobs = {"infer": {"gres": "gpu:1"}}
    at_site(accounting_cluster, tmp_path, monkeypatch, jobs=jobs)
    study = write_study(tmp_path / "s", cohort)
    lam("run", study.path, *options)
    asked = {
        script: "gpu:1" in accounting_cluster.run("scontrol", "show", "job", "-o", job)
        for job, script in run_of(study).jobs().items()
    }
    expected = {"dask": True, "infer-00": True, "compare-00": False, "finish": False}
    assert {script: expected[script] for script in asked if script in expected} == {
        script: wanted for script, wanted in asked.items() if script in expected
    }
    assert any(asked.values())
    assert_same_tables(study, reference)
