"""Is what SLURM and the ledger say read right, without any cluster?"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hpc.attempt import LIMIT, begin
from hpc.follow import Follower
from hpc.losses import outcome
from hpc.plan_file import read_plan, write_plan
from hpc.run_folder import ArrayFacts, RunFacts, RunFolder, child_id
from hpc.slurm import Phase, Task, cause_from_log, parse_sacct, parse_site, parse_squeue
from lamstore.ledger import LedgerFile, Record, failed
from lamstore.study import Study
from lamstore.units import Unit

INFER = [Unit("infer", "e", f"s{n}", "t1", "none", f"f{n}") for n in range(4)]
COMPARE = [Unit("compare", "e", f"s{n}", "", "none", f"c{n}") for n in range(4)]


def needs(unit: Unit) -> list[str]:
    return [Unit("infer", "e", unit.subject, "t1", "none").key] if unit.job == "compare" else []


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A submitted run of four subjects, two units a task."""
    found = RunFolder(Study(tmp_path), "20260101-000000-000")
    arrays = {
        wave: ArrayFacts(wave=wave, begin=b, end=b + 4, per_task=2, memory_mib=1000, time_s=60)
        for wave, b in (("infer", 0), ("compare", 4))
    }
    facts = RunFacts(
        id=found.id,
        executor="slurm",
        created=100.0,
        command=(),
        cwd="/",
        host="",
        pid=1,
        study_digest="",
        arrays=arrays,
    )
    found.begin(facts)
    write_plan(found.plan, [*INFER, *COMPARE], needs)
    found.register("7", "infer")
    found.register("8", "compare")
    return found


def record(run: RunFolder, *records: Record) -> Follower:
    with LedgerFile(
        run.study.ledger.folder, f"t{len(list(run.study.path.glob('*/*')))}", {}
    ) as file:
        for each in records:
            file.append(each)
    ledger = Follower(run.study.ledger.folder)
    ledger.refresh()
    return ledger


def done_at(unit: Unit, finished: float = 200.0, seconds: float = 2.0) -> Record:
    return Record(unit, "done", finished, seconds)


def test_plan_names_what_units_wait_for(run):
    plan = read_plan(run.plan, 4, 6)
    assert [planned.unit for planned in plan] == COMPARE[:2]
    assert [planned.needs for planned in plan] == [(INFER[0],), (INFER[1],)]


def test_task_that_ended_well_without_records_has_lost_its_units(run):
    ledger = record(run, done_at(INFER[0]), done_at(INFER[1]))
    known = {("7", 0): Task("COMPLETED"), ("7", 1): Task("COMPLETED"), ("8", 0): Task("PENDING")}
    known["8", 1] = Task("COMPLETED")
    found = outcome(run, ledger, known)
    assert [loss.unit for loss in found.lost] == INFER[2:]
    assert {loss.cause for loss in found.lost} == {"no record"}
    assert [unit for unit, _ in found.blocked] == COMPARE[2:]
    assert found.waiting == COMPARE[:2]


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("OUT_OF_MEMORY", "out of memory"),
        ("TIMEOUT", "timeout"),
        ("NODE_FAIL", "node lost"),
        ("PREEMPTED", "preempted"),
        ("CANCELLED", "cancelled"),
        ("FAILED", "task failed"),
    ],
)
def test_cause_by_the_state_of_the_task(run, state, cause):
    known = {("7", 0): Task(state), ("7", 1): Task("RUNNING"), ("8", 0): Task("PENDING")}
    found = outcome(run, record(run), known | {("8", 1): Task("PENDING")})
    assert {loss.cause for loss in found.lost} == {cause}
    assert [loss.unit for loss in found.lost] == INFER[:2]


def test_cause_by_the_log_when_slurm_has_forgotten(run):
    (run.logs / "infer-7_0.log").write_text(
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.\n"
    )
    found = outcome(run, record(run), {})
    assert [loss.cause for loss in found.lost[:2]] == ["out of memory"] * 2


def test_failure_of_an_earlier_run_is_none_of_this(run):
    error = {"cause": "error", "message": "m", "type": "T", "traceback": ""}
    old = Record(INFER[0], "failed", 50.0, error=error)
    waiting = {(j, i): Task("PENDING") for j in "78" for i in (0, 1)}
    assert INFER[0] in outcome(run, record(run, old), waiting).waiting
    now = outcome(run, record(run, failed(INFER[0], error, 1.0)), waiting)
    assert [loss.unit for loss in now.lost] == [INFER[0]]


def test_squeue_sacct_and_config_as_slurm_prints_them():
    text = "8|1|RUNNING|None\n8|2|PENDING|JobArrayTaskLimit\n9|N/A|PENDING|Dependency\n"
    found = parse_squeue(text)
    assert found["8", 1].phase is Phase.RUNNING
    assert found["8", 2] == Task("PENDING", "JobArrayTaskLimit")
    assert found["9", 0].phase is Phase.QUEUED
    assert parse_sacct("8_1|COMPLETED\n8_[2-9]|PENDING\n9|CANCELLED by 0\n") == {
        ("8", 1): Task("COMPLETED"),
        ("9", 0): Task("CANCELLED"),
    }
    config = "MaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/none\n"
    assert (parse_site(config).max_array_size, parse_site(config).accounting) == (1001, False)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT T DUE TO TIME LIMIT ***", "timeout"),
        ("slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT T DUE TO PREEMPTION ***", "preempted"),
        ("slurmstepd: error: *** JOB 2 ON n1 CANCELLED AT T ***", "cancelled"),
        ("some of the step tasks have been OOM Killed.", "out of memory"),
        ("all is well", None),
    ],
)
def test_cause_from_what_slurm_wrote_into_the_log(line, cause):
    assert cause_from_log(f"begin\n{line}\nend") == cause


def test_follower_reads_on_and_leaves_a_line_that_is_being_written(run):
    ledger = record(run, done_at(INFER[0], seconds=2.0))
    path = next(run.study.ledger.folder.iterdir())
    whole = done_at(INFER[1], seconds=4.0).to_json()
    with path.open("ab") as stream:
        stream.write(whole[:20])
    assert ledger.refresh() == []
    with path.open("ab") as stream:
        stream.write(whole[20:])
    assert ledger.refresh() == [INFER[1].key]
    assert ledger.mean_s("infer") == 3.0


def test_unit_at_which_workers_die_is_found_among_its_batch(run):
    for number in range(1, LIMIT + 2):
        attempt = begin(run, "batch", INFER)
        assert attempt.number == number
        if number == 1:
            with LedgerFile(run.study.ledger.folder, attempt.task, {}) as ledger:
                ledger.append(done_at(INFER[0]))
                ledger.append(Record(INFER[1], "started", 201.0))
    assert set(attempt.settled) == {INFER[0].key}
    assert attempt.deaths == {INFER[1].key: [1, 2, 3]}
    assert len(attempt.deaths[INFER[1].key]) == LIMIT
    assert not attempt.superseded
    begin(run, "batch", INFER)
    assert attempt.superseded


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        ("was killed by signal 9", "out of memory"),
        ("was killed by signal 11", "worker died"),
        ("exited with status 1", "worker died"),
    ],
)
def test_cause_of_a_death_is_waited_for_when_the_next_attempt_begins_first(
    run, tmp_path, end, cause
):
    log = tmp_path / "worker.log"
    log.write_text("begin\n")
    begin(run, "batch", INFER, str(log))
    attempt = begin(run, "batch", INFER, str(log))
    nanny = threading.Timer(
        0.3, log.write_text, [f"distributed.nanny - INFO - Worker process {os.getpid()} {end}\n"]
    )
    nanny.start()
    assert attempt.cause_of_death(INFER[0].key) == cause
    nanny.join()


def test_runs_that_make_good_are_numbered(run):
    second = RunFolder(run.study, child_id(run))
    assert (second.id, child_id(second)) == (f"{run.id}.02", f"{run.id}.03")
