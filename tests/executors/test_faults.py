"""Is nothing lost and nothing done twice, whatever happens to nodes, jobs and people?"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from hpc.dask_executor import DaskExecutor
from hpc.kept import kept_lines
from hpc.local import Event
from hpc.profiles import Profile
from hpc.run import new_run_id
from hpc.run_folder import RunFolder, latest_run, run_folders
from hpc.slurm_submit import new_facts
from lamstore.study import Study
from tests.cluster.fixtures import needs_cgroups
from tests.cluster.slurm import Cluster
from tests.executors.conftest import PROFILE, at_site, probing
from tests.executors.idle import idle_study, idle_units, python_path
from tests.running import LAM, assert_same_tables, lam, records, status_of, write_study

# A cluster of their own, beside that of the other tests: they wait more than they work.
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300), pytest.mark.xdist_group("faults")]

SLURM = ("--on", "slurm")


def run_of(study: Study) -> RunFolder:
    run = latest_run(study)
    assert run is not None
    return run


def job_of(run: RunFolder, script: str) -> str:
    return next(job for job, name in run.jobs().items() if name == script)


def field(cluster: Cluster, job: str, name: str) -> str:
    text = cluster.run("scontrol", "show", "job", "-o", job)
    found = re.search(rf"\b{name}=(\S*)", text)
    assert found is not None, text
    return found.group(1)


def await_end(cluster: Cluster, study: Study, timeout_s: float = 240) -> RunFolder:
    """Until nothing of the study is in the queue."""

    def over() -> bool:
        run = run_of(study)
        return not cluster.run("squeue", "-h", "-j", ",".join(run.jobs())).strip()

    cluster.wait_until("run over", over, timeout_s)
    return run_of(study)


def lost_and_repeated(study: Study) -> tuple[int, int]:
    """How many wanted units of voxels were never done, and how often one was done again."""
    wanted = {line["unit"] for line in kept_lines(study)}
    voxels = [r.unit for r in records(study) if r.state == "done" and r.unit.subject]
    done = Counter(unit.key for unit in voxels)
    return len(wanted - done.keys()), sum(count - 1 for count in done.values())


def tale(study: Study) -> str:
    """What the last run's logs say, for whoever cannot look into the folder of a failed test."""
    logs = sorted(run_of(study).path.rglob("*.log"))
    return "\n".join(f"==> {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def assert_each_once(study: Study) -> None:
    """Every unit of voxels was done, none twice."""
    assert lost_and_repeated(study) == (0, 0), tale(study)
    assert status_of(study)["complete"], tale(study)


def waiting_study(tmp_path: Path, cohort: Path) -> tuple[Study, Path]:
    """A study whose second subject is at work until its folder holds a file ``go``."""
    flag = tmp_path / "flag"
    flag.mkdir()
    study = probing(tmp_path / "a study", cohort, do={"patient02": "wait"}, flag=str(flag))
    return study, flag


def test_node_killed_in_the_middle(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--units-per-task", 9)
    run = run_of(study)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    task = f"{job_of(run, 'infer-00')}_0"
    node = field(site, task, "NodeList")
    site.kill_node(node)
    (flag / "go").touch()
    site.wait_until("requeued", lambda: field(site, task, "JobState") == "PENDING", 90)
    site.skip_requeue_delay(task)
    await_end(site, study)
    site.start_node(node)
    site.wait_until("node back", lambda: set(site.node_states().values()) == {"idle"}, 60)
    assert_each_once(study)


def test_scancelled_task_is_lost_and_retried(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--units-per-task", 3)
    run = run_of(study)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    array = job_of(run, "infer-00")
    site.run("scancel", f"{array}_1")
    (flag / "go").touch()
    await_end(site, study)
    found = status_of(study)
    assert found["run"]["causes"]["cancelled"] >= 1
    assert not found["complete"]
    lam("retry", study.path, "--wait")
    assert_each_once(study)


def test_requeued_task_does_only_what_is_left(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--units-per-task", 9)
    run = run_of(study)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    task = f"{job_of(run, 'infer-00')}_0"
    site.run("scontrol", "requeue", task)
    (flag / "go").touch()
    site.wait_until("requeued", lambda: field(site, task, "JobState") == "PENDING", 60)
    site.skip_requeue_delay(task)
    await_end(site, study)
    assert_each_once(study)


def test_told_to_stop_the_task_finishes_its_unit_and_is_requeued(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--units-per-task", 9)
    run = run_of(study)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    task = f"{job_of(run, 'infer-00')}_0"
    site.run("scancel", "--batch", "--signal=USR1", task)
    (flag / "go").touch()
    site.wait_until("requeued", lambda: field(site, task, "JobState") == "PENDING", 60)
    done = {r.unit.key for r in records(study) if r.state == "done"}
    assert "infer/probe/patient02/t1/none" in done
    assert "infer/probe/patient03/t1/none" not in done
    site.skip_requeue_delay(task)
    await_end(site, study)
    assert_each_once(study)


@pytest.mark.slow
def test_unit_beyond_the_time_limit_is_a_timeout(cluster, cohort, tmp_path, probe, monkeypatch):
    at_site(cluster, tmp_path, monkeypatch, time="00:01:00", stop_before_s=20)
    study = probing(tmp_path / "s", cohort, do={"patient02": "hang"})
    lam("run", study.path, *SLURM, "--units-per-task", 1, "--wait", status=1)
    found = status_of(study)
    assert found["run"]["causes"] == {"timeout": 1}
    assert {job["job"]: job["done"] for job in found["jobs"]}["compare"] == 5


@pytest.mark.parametrize("accounting", [False, True], ids=["no accounting", "accounting"])
def test_unit_beyond_its_memory_gets_more(
    request, accounting, cohort, tmp_path, probe, monkeypatch
):
    cluster = request.getfixturevalue("accounting_cluster" if accounting else "cluster")
    needs_cgroups(cluster)
    at_site(cluster, tmp_path, monkeypatch, memory="700M")
    study = probing(tmp_path / "s", cohort, do={"patient02": "hog700"})
    said = lam("run", study.path, *SLURM, "--units-per-task", 3, "--wait", "--retries", 1)
    assert "report" in said
    assert_each_once(study)
    killed = [r for r in records(study) if r.state == "failed"]
    assert [(r.unit.key, r.error["cause"]) for r in killed] == [
        ("infer/probe/patient02/t1/none", "out of memory")
    ]
    memory = {a.memory_mib for a in run_of(study).facts.arrays.values() if a.wave == "infer"}
    assert memory == {1400}


def test_arrays_beyond_the_limit_are_split(cluster, cohort, tmp_path, monkeypatch):
    at_site(cluster, tmp_path, monkeypatch)
    levels = {"names": ["gamma", "noise", "blur", "resolution"], "levels": [1, 2]}
    study = write_study(tmp_path / "s", cohort, shifts=levels)
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    real = cluster.run("which", "scontrol").strip()
    # The site's own limit of 1001 would take hours here; only the number that is read is smaller.
    script.write_text(f'#!/bin/bash\n{real} "$@" | sed "s/^MaxArraySize .*/MaxArraySize = 4/"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    lam("run", study.path, *SLURM, "--units-per-task", 5, "--throttle", 2, "--wait")
    assert_each_once(study)
    infer = [a for a in run_of(study).facts.arrays.values() if a.wave == "infer"]
    assert [array.tasks for array in infer] == [4, 2]


def test_two_studies_at_once(site, cohort, tmp_path, reference):
    studies = [write_study(tmp_path / name, cohort) for name in ("one", "two")]
    for study in studies:
        lam("run", study.path, *SLURM)
    for study in studies:
        await_end(site, study)
        assert_each_once(study)
        assert_same_tables(study, reference)


def test_login_shell_that_dies_after_submission(site, study):
    shell = subprocess.Popen(
        ["bash", "-c", f"'{LAM}' run '{study.path}' --on slurm; kill -9 $$"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    assert shell.wait() == -9
    await_end(site, study)
    assert_each_once(study)


def test_dry_run_submitted_by_hand_does_the_same(site, study, reference):
    said = lam("run", study.path, *SLURM, "--dry-run")
    assert "#SBATCH --array=0-" in said
    [run] = run_folders(study)
    assert not run.claimed
    folder = run.path
    previous: list[str] = []
    for name in ("ingest-00", "infer-00", "compare-00", "finish"):
        job = site.run("sbatch", "--parsable", *previous, str(folder / f"{name}.sbatch")).strip()
        previous = [f"--dependency=afterany:{job}"]
    site.wait_until("done", (folder / "ended").exists, 120)
    assert_each_once(study)
    assert_same_tables(study, reference)


def test_while_a_run_is_queued_no_other_begins_until_it_is_cancelled(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    for on in ("local", "slurm", "dask"):
        assert "still in the queue" in lam("run", study.path, "--on", on, status=2)
    assert run_of(study).id in lam("cancel", study.path)
    assert not site.run("squeue", "-h").strip()
    (flag / "go").touch()
    lam("run", study.path, "--workers", 2)
    assert_each_once(study)


def test_dry_run_refuses_to_start_beside_a_run(site, cohort, tmp_path, probe):
    study, flag = waiting_study(tmp_path, cohort)
    lam("run", study.path, *SLURM, "--dry-run")
    [prepared] = run_folders(study)
    folder = prepared.path
    lam("run", study.path, *SLURM, "--units-per-task", 9)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    job = site.run("sbatch", "--parsable", str(folder / "ingest-00.sbatch")).strip()
    log = folder / "logs" / f"ingest-00-{job}_0.log"
    site.wait_until("refused", lambda: log.exists() and "is at work on" in log.read_text(), 90)
    (flag / "go").touch()
    await_end(site, study)
    assert_each_once(study)


def test_dask_worker_node_lost(cluster, cohort, tmp_path, probe, monkeypatch, start):
    at_site(cluster, tmp_path, monkeypatch, cores=2)  # a worker on each node
    site = cluster
    study, flag = waiting_study(tmp_path, cohort)
    command = [LAM, "run", study.path, "--on", "dask", "--workers", 2]
    process = start(command, stdout=subprocess.DEVNULL)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    job = next(flag.glob("at-*")).name.removeprefix("at-")
    node = field(site, job, "NodeList")
    site.kill_node(node)
    (flag / "go").touch()
    assert process.wait(timeout=200) == 0
    site.start_node(node)
    site.wait_until("idle", lambda: set(site.node_states().values()) == {"idle"}, 60)
    assert_each_once(study)


def test_dask_run_is_cancelled_from_elsewhere(site, cohort, tmp_path, probe, start):
    study, flag = waiting_study(tmp_path, cohort)
    command = [LAM, "run", study.path, "--on", "dask", "--workers", 3]
    process = start(command, stderr=subprocess.PIPE)
    site.wait_until("unit at hand", lambda: bool(list(flag.glob("at-*"))), 60)
    array = next(iter(run_of(study).jobs()))
    assert len(site.run("squeue", "-h", "-r", "-j", array).splitlines()) == 3
    lam("cancel", study.path)
    _, said = process.communicate(timeout=100)
    assert b"was cancelled" in said
    assert not site.run("squeue", "-h").strip()
    (flag / "go").touch()
    lam("run", study.path, "--workers", 2)
    assert_each_once(study)


def test_dask_worker_that_dies_takes_no_answer_along(site, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", python_path())
    profile = Profile.model_validate(PROFILE)
    run = RunFolder(idle_study(tmp_path), new_run_id())
    run.begin(new_facts(run, profile, "dask"))
    units, heard = idle_units(24), []

    def kill_once_all_is_done(event: Event) -> None:
        heard.append(event)
        if len(heard) > 1:
            return
        site.wait_until("all done", lambda: not any(client.processing().values()), 60)
        client.run(os._exit, 1, on_error="ignore")
        states = client.futures.values()
        site.wait_until("answers lost", lambda: any(s.status == "lost" for s in states), 60)

    with DaskExecutor(run, profile, 1, None, Console(stderr=True)) as executor:
        client = executor.client
        executor.run(units, {}, kill_once_all_is_done)
    assert Counter((e.unit.key, e.state) for e in heard) == {(u.key, "done"): 1 for u in units}
    done = Counter(r.unit.key for r in records(run.study) if r.state == "done")
    assert done == dict.fromkeys((unit.key for unit in units), 1)
