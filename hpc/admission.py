"""Which run may write to a study now? One at a time, whoever submitted it and however.

- A run on this machine, and the client of a dask run, hold the study's lock all the time.
- A slurm run is active from its claim until nothing of it is in the queue any more. Whoever plans
  a run holds the lock and asks SLURM; `lam cancel` ends a run.
- Scripts of a dry run that are submitted by hand claim the study when their first task starts.
"""

from __future__ import annotations

import time

from hpc.provenance import study_digest
from hpc.run_folder import RunFolder, run_folders
from hpc.slurm import in_queue
from lamstore.errors import ExecutorError, StudyLockedError
from lamstore.study import Study, study_lock

CLAIM_TIMEOUT_S = 30.0


def unended(study: Study, but: str = "") -> list[RunFolder]:
    """Submitted runs of which something may still be in the queue."""
    runs = run_folders(study)
    return [run for run in runs if run.claimed and run.ended is None and run.id != but]


def refuse_while_active(study: Study) -> None:
    """Make sure that no submitted run is at work; the caller holds the study's lock.

    Raises
    ------
    StudyLockedError
        When one is.
    ExecutorError
        When one may be, and SLURM cannot be asked from here.
    """
    for run in unended(study):
        left = in_queue(list(run.jobs()))
        if left:
            raise StudyLockedError(
                f"run {run.id} of {study.path} is still in the queue",
                got=f"jobs {', '.join(left)}",
                remedy=f"watch it with `lam status {study.path}`, end it with "
                f"`lam cancel {study.path}`",
            )
        run.end("found out of the queue")


def admit(run: RunFolder, script: str, job: str) -> None:
    """Let a task of a run begin.

    Raises
    ------
    ExecutorError
        When the run has ended, study.yaml has changed since it was planned, or another submitted
        run is at work.
    StudyLockedError
        When a run on this machine is at work.
    """
    if run.ended is not None or run.cancelled:
        raise ExecutorError(f"run {run.id} has ended ({run.ended or 'cancelled'})")
    if study_digest(run.study) != run.facts.study_digest:
        raise ExecutorError(
            f"study.yaml has changed since run {run.id} was planned",
            remedy=f"lam cancel {run.study.path}, then lam run again",
        )
    if not run.claimed:
        _claim_by_hand(run)
    if job not in run.jobs():
        run.register(job, script)


def _claim_by_hand(run: RunFolder) -> None:
    give_up = time.monotonic() + CLAIM_TIMEOUT_S
    while not run.claimed:
        try:
            with study_lock(run.study):
                _claim_if_free(run)
        except StudyLockedError:
            # The other tasks of this array try for the same lock at the same moment.
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


def _claim_if_free(run: RunFolder) -> None:
    others = unended(run.study, but=run.id)
    if others:
        raise ExecutorError(
            f"run {others[0].id} is at work on {run.study.path}",
            remedy=f"lam cancel {run.study.path}, or wait until it ends",
        )
    run.claim()
