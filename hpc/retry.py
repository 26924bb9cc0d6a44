"""How are the losses of a submitted run made good by hand? `lam retry`; and `lam cancel`."""

from __future__ import annotations

import time

from hpc.admission import refuse_while_active, unended
from hpc.follow import Follower
from hpc.losses import Outcome, outcome
from hpc.profiles import load_profile
from hpc.run import Plan, make_plan, new_run_id, prepare_store
from hpc.run_folder import RunFolder, latest_run
from hpc.slurm import cancel, in_queue, tasks
from hpc.slurm_run import plan_retry
from hpc.slurm_submit import new_facts, submit
from lamstore.errors import ExecutorError
from lamstore.study import Study, study_lock

LEAVE_S = 90.0
"""How long a cancelled job may take to leave the queue."""


def retry(study: Study, profile_name: str | None, retries: int) -> RunFolder | None:
    """Submit a run of what the latest slurm run has lost.

    Returns
    -------
    RunFolder or None
        None when nothing was lost.

    Raises
    ------
    ExecutorError
        When nothing was ever submitted to SLURM.
    StudyLockedError
        While a run is at work.
    """
    with study_lock(study):
        run = latest_run(study)
        if run is None or run.facts.executor != "slurm":
            raise ExecutorError(
                f"no slurm run of {study.path} is there to be retried",
                remedy=f"`lam run {study.path}` does again what failed, with any --on",
            )
        refuse_while_active(study)
        plan = make_plan(study)
        ledger = Follower(study.ledger.folder)
        known = tasks(list(run.jobs()), accounting=run.facts.accounting)
        ledger.refresh()
        found = still_wanted(outcome(run, ledger, known), plan)
        overrides = {} if profile_name else run.facts.profile
        profile = load_profile(overrides or study.config.cluster, profile_name)
        again = RunFolder(study, new_run_id())
        facts = new_facts(again, profile, "slurm").model_copy(
            update={
                "parent": run.id,
                "retries": retries,
                "subjects": run.facts.subjects,
                "trial_seed": run.facts.trial_seed,
                "verbose": run.facts.verbose,
                "accounting": run.facts.accounting,
                "max_array_size": run.facts.max_array_size,
            }
        )
        prepare_store(plan)
        planned = plan_retry(run, found, facts, profile, ledger)
        if planned is not None:
            submit(planned)
        return planned


def still_wanted(found: Outcome, plan: Plan) -> Outcome:
    """Without what study.yaml or the cohort no longer asks for."""
    wanted = set(plan.wanted)
    return Outcome(
        found.done,
        [loss for loss in found.lost if loss.unit in wanted],
        [(unit, array) for unit, array in found.blocked if unit in wanted],
        found.waiting,
    )


def cancel_runs(study: Study) -> list[RunFolder]:
    """Take every run of a study out of the queue; returns those that were in it.

    Raises
    ------
    ExecutorError
        When SLURM does not let them go in time.
    """
    ended = []
    for run in unended(study):
        run.cancel()  # no task that starts from now on goes on
        jobs = list(run.jobs())
        cancel(in_queue(jobs))
        give_up = time.monotonic() + LEAVE_S
        while in_queue(jobs):
            if time.monotonic() > give_up:
                raise ExecutorError(
                    f"jobs of run {run.id} are still in the queue",
                    got=", ".join(in_queue(jobs)),
                    remedy="lam cancel again in a while",
                )
            time.sleep(1.0)
        run.end("cancelled")
        ended.append(run)
    return ended
