"""Is anything lost or done twice when a run, or one of its workers, is killed?"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from lamstore.study import Study
from tests.running import LAM, METRICS, assert_same_tables, lam, records, status_of, write_study

KILLS = 50
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def start(study: Study, *arguments: object) -> subprocess.Popen[bytes]:
    """`lam run`, in the background."""
    command = [LAM, "run", study.path, "--workers", "2", *map(str, arguments)]
    return subprocess.Popen(command, **QUIET)


def kill_somewhere(study: Study, random_s: random.Random) -> bool:
    """Run and send SIGKILL to the main process; whether it was still at work."""
    before = len(list((study.path / "ledger").glob("*.jsonl")))
    run = start(study)
    # Importing takes the longest and does nothing: the clock starts when there is something to
    # tear, be it the store or a unit.
    limit = time.monotonic() + 60
    while run.poll() is None and time.monotonic() < limit:
        if len(list((study.path / "ledger").glob("*.jsonl"))) > before:
            break
        if random_s.random() < 0.01:
            break  # and some die before that: while planning, or growing the store
        time.sleep(0.01)
    time.sleep(random_s.expovariate(1 / 0.15))
    alive = run.poll() is None
    run.kill()
    run.wait()
    return alive


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_fifty_instants_a_study_ends_as_if_undisturbed(
    finished_once: Path, tmp_path: Path
):
    undisturbed = Study.at(finished_once / "study")
    random_s = random.Random(20240229)
    kills = rounds = 0
    while kills < KILLS:
        study = write_study(tmp_path / f"study{rounds}", finished_once / "cohort")
        for _ in range(KILLS):
            if kills == KILLS or not kill_somewhere(study, random_s):
                break
            kills += 1
        lam("run", study.path, "--workers", 2)
        assert_undisturbed(study, undisturbed)
        rounds += 1


def assert_undisturbed(study: Study, undisturbed: Study) -> None:
    """Everything done once, nothing torn, the same tables."""
    found = status_of(study)
    assert found["complete"], found
    times = Counter(r.unit for r in records(study) if r.state == "done")
    assert set(times.values()) == {1}, "a unit was done, and done again"
    assert "0 damaged" in lam("verify", study.path)
    assert_same_tables(study, undisturbed, METRICS)
    assert not list(study.path.glob(".cohort.json.*"))
    assert not list(study.store_path.rglob("*.partial"))


@pytest.mark.timeout(120)
def test_no_worker_outlives_a_killed_run(finished: Study):
    for path in (finished.path / "ledger").iterdir():
        path.unlink()
    run = start(finished)
    workers: list[psutil.Process] = []
    while run.poll() is None and not workers:
        workers = [c for c in psutil.Process(run.pid).children() if "hpc.worker" in c.cmdline()]
    assert workers
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


@pytest.mark.timeout(120)
def test_a_killed_worker_fails_its_unit_alone(finished_once: Path, tmp_path: Path):
    study = write_study(tmp_path / "study", finished_once / "cohort")
    run = subprocess.Popen([LAM, "run", study.path, "--workers", "1"], **QUIET)
    while not any(r.unit.job == "infer" for r in records(study)):
        assert run.poll() is None
        time.sleep(0.005)
    (worker,) = (c for c in psutil.Process(run.pid).children() if "hpc.worker" in c.cmdline())
    worker.kill()
    assert run.wait(timeout=100) == 1
    found = status_of(study)
    (failure,) = (f for f in found["failures"] if f["cause"] == "out of memory")
    assert failure["unit"].startswith("infer/flair-zscore/patient0")
    assert "SIGKILL" in failure["message"]
    by_job = {job["job"]: job for job in found["jobs"]}
    assert (by_job["infer"]["done"], by_job["infer"]["failed"]) == (5, 1)
    assert by_job["compare"]["blocked"] == by_job["compare"]["pending"] >= 1
    lam("run", study.path)
    assert_same_tables(study, Study.at(finished_once / "study"), METRICS)


@pytest.mark.timeout(120)
def test_of_two_runs_at_once_one_is_refused_or_both_end_right(finished_once: Path, tmp_path: Path):
    study = write_study(tmp_path / "study", finished_once / "cohort")
    runs = [
        subprocess.Popen(
            [LAM, "run", study.path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    ends = []
    for run in runs:
        _, stderr = run.communicate(timeout=100)
        ends.append((run.returncode, stderr.decode()))
    assert sorted(code for code, _ in ends) in ([0, 2], [0, 0])
    for code, stderr in ends:
        if code == 2:
            assert "another run is at work" in stderr
            assert "lam status" in stderr
    assert_undisturbed(study, Study.at(finished_once / "study"))


def test_an_interrupted_run_says_so_and_goes_on_later(finished: Study, finished_once: Path):
    for path in (finished.path / "ledger").iterdir():
        path.unlink()
    # What a shell starts in the background ignores SIGINT, and so would this.
    run = subprocess.Popen(
        ["env", "--default-signal=INT", LAM, "run", finished.path],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    while run.poll() is None and not list((finished.path / "ledger").iterdir()):
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"finished units are kept" in stderr
    assert b"Traceback" not in stderr
    lam("run", finished.path)
    assert_same_tables(finished, Study.at(finished_once / "study"), METRICS)
