"""What does the last job of a slurm run do? Cohort metrics, tables, report; then it makes good.

``python -P -m hpc.finish STUDY --run ID …``. Units that were lost to memory, time, nodes or
preemption are resubmitted while the run has retries left: a new run is written here and its status
tells the batch script to submit it (the script is outside of any container, where ``sbatch`` is).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from hpc.follow import Follower
from hpc.job import say, serve, task_name
from hpc.local import Event, LocalExecutor
from hpc.losses import outcome
from hpc.profiles import Profile
from hpc.run import close_plan, kept_plan
from hpc.run_folder import RunFolder
from hpc.slurm import tasks
from hpc.slurm_run import plan_retry, retry_facts, worth_retrying
from hpc.slurm_script import RESUBMIT
from lamstore.errors import ExecutorError


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    return serve(argv, __doc__, _finish)


def _finish(run: RunFolder, arguments: argparse.Namespace) -> int:
    if run.facts.retries and make_good(run) is not None:
        return RESUBMIT  # this job, still in the queue, speaks for the run until the next is there
    _close(run, task_name(arguments))
    run.end("finished")
    return 0


def _close(run: RunFolder, name: str) -> None:
    plan = kept_plan(run.study)
    with LocalExecutor(run.study, run.id, 1, task=name, logs=run.logs) as executor:
        close_plan(plan, executor, _hear, lambda job, count: say(f"{job}: {count} to do"))


def _hear(event: Event) -> None:
    say(f"{event.state} {event.unit.key} in {event.seconds:.2f} s {event.message}")


def make_good(run: RunFolder) -> RunFolder | None:
    """Write and claim a run of what this one has lost; None when there is nothing to gain."""
    ledger = Follower(run.study.ledger.folder)
    try:
        known = tasks(list(run.jobs()), accounting=run.facts.accounting) if _slurm_here() else {}
    except ExecutorError as error:
        say(f"SLURM does not answer, the logs must tell: {error}")
        known = {}
    ledger.refresh()
    profile = Profile.model_validate(run.facts.profile)
    found = worth_retrying(outcome(run, ledger, known), profile)
    facts = retry_facts(run, run.facts.retries - 1)
    child = plan_retry(run, found, facts, profile, ledger)
    if child is not None:
        child.claim()
        say(f"{len(found.lost)} units were lost; run {child.id} makes good")
    return child


def _slurm_here() -> bool:
    return shutil.which("squeue") is not None


if __name__ == "__main__":
    sys.exit(main())
