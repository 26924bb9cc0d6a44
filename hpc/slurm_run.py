"""How does a study become a slurm run, and a run with losses another that makes them good?

All waves are submitted at once, each after the one before it, whatever became of its units: a task
leaves out what waits for a failed input. The last job gathers the cohort and writes the report.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

from hpc.arrays import Group
from hpc.follow import Follower
from hpc.losses import Outcome, each
from hpc.plan import left, needs_of
from hpc.profiles import Profile
from hpc.registry import VOXEL_JOBS
from hpc.resources import memory_mib, time_s
from hpc.run import Plan, chosen
from hpc.run_folder import RunFacts, RunFolder, child_id
from hpc.slurm import Site
from hpc.slurm_submit import new_facts, wave_group, write_run
from jobs.datasets.manifest import Manifest
from lamstore.units import Unit

MORE = 2
"""Factor of memory or time for units that were lost to the lack of it."""


@dataclass(frozen=True)
class Selection:
    """What of a study a run is about.

    Attributes
    ----------
    subjects : tuple of str or None
        None for all.
    seed : int or None
        With which the subjects of a trial were chosen.
    verbose : bool
    """

    subjects: tuple[str, ...] | None = None
    seed: int | None = None
    verbose: bool = False

    @property
    def only(self) -> frozenset[str] | None:
        """The subjects as a set."""
        return None if self.subjects is None else frozenset(self.subjects)


def plan_slurm_run(
    plan: Plan, run: RunFolder, profile: Profile, selection: Selection, site: Site, retries: int
) -> RunFolder:
    """Write a run of everything that is left; submits nothing."""
    ledger = Follower(plan.study.ledger.folder)
    ledger.refresh()
    groups = [
        wave_group(job, units, profile)
        for job in VOXEL_JOBS
        if (units := left(chosen(plan.wanted.of(job), selection.only), ledger.words))
    ]
    facts = new_facts(run, profile, "slurm").model_copy(
        update={
            "subjects": selection.subjects,
            "trial_seed": selection.seed,
            "verbose": selection.verbose,
            "accounting": site.accounting,
            "max_array_size": site.max_array_size,
            "retries": retries,
        }
    )
    _write(run, facts, groups, profile, plan.manifest, ledger)
    return run


class _Ask(NamedTuple):
    wave: str
    memory_mib: int
    time_s: int


def plan_retry(
    run: RunFolder, found: Outcome, facts: RunFacts, profile: Profile, ledger: Follower
) -> RunFolder | None:
    """Write a run of what a run has lost, with more memory or time where that was the cause.

    Parameters
    ----------
    facts : RunFacts
        Of the new run, without its arrays.

    Returns
    -------
    RunFolder or None
        None when nothing is to be tried again.
    """
    asked: dict[_Ask, list[Unit]] = {}
    for unit, cause, array in each(found):
        ask = _Ask(array.wave, *more(cause, array.memory_mib, array.time_s, profile))
        asked.setdefault(ask, []).append(unit)
    if not asked:
        return None
    waves = list(VOXEL_JOBS)
    ordered = sorted(asked, key=lambda ask: (waves.index(ask.wave), ask.memory_mib, ask.time_s))
    groups = [Group(ask.wave, asked[ask], ask.memory_mib, ask.time_s) for ask in ordered]
    manifest = Manifest.read(run.study.path / "cohort.json")
    child = RunFolder(run.study, facts.id)
    _write(child, facts, groups, profile, manifest, ledger)
    return child


def more(cause: str, memory: int, limit_s: int, profile: Profile) -> tuple[int, int]:
    """Memory (MiB) and time (s) of the next attempt; never less than before, capped."""
    if cause == "out of memory":
        memory = max(memory, min(MORE * memory, memory_mib(profile.max_memory)))
    if cause == "timeout":
        limit_s = max(limit_s, min(MORE * limit_s, time_s(profile.max_time)))
    return memory, limit_s


def worth_retrying(found: Outcome, profile: Profile) -> Outcome:
    """What another attempt can change: not errors, nor what had all the memory or time allowed."""

    def hopeless(cause: str, memory: int, limit_s: int) -> bool:
        if cause in ("out of memory", "timeout"):
            return more(cause, memory, limit_s, profile) == (memory, limit_s)
        return cause == "error"

    given_up = {
        loss.unit.key
        for loss in found.lost
        if hopeless(loss.cause, loss.array.memory_mib, loss.array.time_s)
    }
    kept = [loss for loss in found.lost if loss.unit.key not in given_up]
    subjects = {loss.unit.subject for loss in kept}
    blocked = [(unit, array) for unit, array in found.blocked if unit.subject in subjects]
    return Outcome(found.done, kept, blocked, found.waiting)


def retry_facts(run: RunFolder, retries: int) -> RunFacts:
    """Facts of the run that makes good the losses of another: same profile, same subjects.

    The image's digest is taken over too, for the image itself is not seen from within it.
    """
    child = {"id": child_id(run), "parent": run.id, "arrays": {}, "retries": retries}
    here = {"created": time.time(), "host": socket.gethostname(), "pid": os.getpid()}
    return run.facts.model_copy(update=child | here | {"command": tuple(sys.argv)})


def _write(
    run: RunFolder,
    facts: RunFacts,
    groups: list[Group],
    profile: Profile,
    manifest: Manifest,
    ledger: Follower,
) -> None:
    means = {job: mean for job in VOXEL_JOBS if (mean := ledger.mean_s(job)) is not None}
    write_run(
        run,
        facts,
        groups,
        profile,
        needs=needs_of(manifest),
        mean_s=means,
        max_array_size=facts.max_array_size,
    )
