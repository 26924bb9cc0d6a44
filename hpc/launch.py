"""How does a run begin, whatever executor does it? Lock, plan, store; then the executor."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from rich.console import Console

from hpc.admission import refuse_while_active
from hpc.container import Entry, entry, image_digest
from hpc.local import LocalExecutor, cores
from hpc.plan import cohort_unit, left, needs_of, report_unit
from hpc.plan_file import write_plan
from hpc.profiles import Profile, load_profile
from hpc.progress import Watch, watch
from hpc.registry import VOXEL_JOBS
from hpc.run import Plan, chosen, make_plan, new_run_id, prepare_store, run_plan
from hpc.run_folder import RunFolder
from hpc.slurm_run import Selection
from hpc.slurm_submit import interpreter, new_facts
from lamstore.errors import ConfigError
from lamstore.study import Study, study_lock

ExecutorName = Literal["local", "slurm", "dask"]


@dataclass(frozen=True)
class Request:
    """What the command line asked for.

    Attributes
    ----------
    workers : int or None
        Processes (local), or workers of fixed number (dask).
    adapt : tuple of int or None
        Least and largest number of dask workers.
    trial : int or None
        Number of subjects, chosen with `seed`.
    subjects : tuple of str
        Only these, with verbose logs and debug pictures.
    wait : bool
        For slurm: stay and show progress.
    """

    on: ExecutorName = "local"
    workers: int | None = None
    adapt: tuple[int, int] | None = None
    profile: str | None = None
    throttle: int | None = None
    units_per_task: int | None = None
    container: Path | None = None
    retries: int = 0
    trial: int | None = None
    seed: int = 0
    subjects: tuple[str, ...] = ()
    wait: bool = False
    dry_run: bool = False


def launch(study: Study, request: Request, console: Console) -> int:
    """Do, or submit, what is left of a study.

    Returns
    -------
    int
        Exit status: 0 all is done (or submitted), 1 some units failed.
    """
    begun = time.monotonic()
    profile = load_profile(
        study.config.cluster,
        request.profile,
        throttle=request.throttle,
        units_per_task=request.units_per_task,
        container=request.container,
    )
    with study_lock(study) as lock:
        refuse_while_active(study)
        plan = make_plan(study)
        selection = select(plan, request)
        if _nothing_left(plan, selection):
            console.print("Everything is done; nothing to do.", highlight=False)
            _debug_pictures(study, request, console)
            return farewell(study, console, 0, begun)
        run = RunFolder(study, new_run_id())
        prepare_store(plan)
        if request.on == "slurm":
            from hpc.launch_slurm import launch_slurm

            run = launch_slurm(plan, run, profile, selection, request, console)
        else:
            watcher, attempted = _here(plan, run, profile, selection, request, console, lock)
    if request.on == "slurm":
        from hpc.launch_slurm import after_submission

        return after_submission(run, request, console, begun)
    _debug_pictures(study, request, console)
    return _conclude(plan, watcher, console, attempted, begun)


def select(plan: Plan, request: Request) -> Selection:
    """The subjects of a run.

    Raises
    ------
    ConfigError
        When a named subject is not in the cohort.
    """
    known = list(plan.manifest.entries)
    unknown = [subject for subject in request.subjects if subject not in known]
    if unknown:
        shown = ", ".join(known[:10]) + (" …" if len(known) > 10 else "")
        raise ConfigError(
            "the cohort has no such subject", got=", ".join(unknown), expected=f"of {shown}"
        )
    if request.subjects:
        return Selection(request.subjects, verbose=True)
    if request.trial is not None:
        usable = sorted(check.subject for check in plan.manifest.check.usable)
        drawn = random.Random(request.seed).sample(usable, min(request.trial, len(usable)))
        return Selection(tuple(sorted(drawn)), seed=request.seed)
    return Selection()


def _here(
    plan: Plan,
    run: RunFolder,
    profile: Profile,
    selection: Selection,
    request: Request,
    console: Console,
    lock: int,
) -> tuple[Watch, int]:
    facts = new_facts(run, profile, request.on).model_copy(
        update={
            "subjects": selection.subjects,
            "trial_seed": selection.seed,
            "verbose": selection.verbose,
        }
    )
    run.begin(facts)
    words = plan.words()
    todo = [left(chosen(plan.wanted.of(job), selection.only), words) for job in VOXEL_JOBS]
    write_plan(run.plan, [unit for units in todo for unit in units], needs_of(plan.manifest))
    if request.on == "dask":
        from hpc.dask_executor import DaskExecutor

        with (
            watch(console) as watcher,
            DaskExecutor(run, profile, request.workers, request.adapt, console) as dask,
        ):
            return watcher, run_plan(plan, dask, watcher, watcher.start, selection.only)
    size = request.workers or cores()
    with TemporaryDirectory(prefix="lam-") as scratch, watch(console) as watcher:
        command, environment = _enter(profile, plan.study, scratch)
        with LocalExecutor(
            plan.study,
            run.id,
            size,
            command=command,
            environment=environment,
            lock=lock,
            logs=run.logs,
            verbose=selection.verbose,
        ) as local:
            return watcher, run_plan(plan, local, watcher, watcher.start, selection.only)


def _enter(profile: Profile, study: Study, scratch: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Words before ``-m hpc.worker``, and environment, of workers on this machine."""
    if profile.container is None:
        return (), {}
    gpu = Path("/dev/nvidiactl").exists()
    how: Entry | None = entry(profile, study, gpu=gpu, digest=image_digest(profile.container))
    assert how is not None
    filled = how.filled(scratch)
    return (*filled.words, interpreter(profile)), dict(filled.environment)


def _nothing_left(plan: Plan, selection: Selection) -> bool:
    words = plan.words()
    if left(chosen(plan.wanted, selection.only), words):
        return False
    closing = [cohort_unit(engine, plan.wanted, words) for engine in plan.engines]
    closing = closing if plan.manifest.check.usable else []
    return not left([*closing, report_unit(plan.study.config, plan.engines, words)], words)


def _debug_pictures(study: Study, request: Request, console: Console) -> None:
    if request.subjects:
        from hpc.debug_pictures import debug_pictures

        for path in debug_pictures(study, request.subjects):
            console.print(f"  picture  {path}", highlight=False, soft_wrap=True)


def _conclude(plan: Plan, watcher: Watch, console: Console, attempted: int, begun: float) -> int:
    failures = len(watcher.failures)
    left_out = plan.manifest.left_out
    for label, reason in left_out[:5]:
        console.print(f"[dim]left out {label}: {reason}[/dim]", highlight=False)
    if len(left_out) > 5:
        console.print(f"[dim]… and {len(left_out) - 5} more left out[/dim]", highlight=False)
    console.print(f"{attempted} units attempted, {failures} failed.", highlight=False)
    if failures:
        console.print(f"What failed and why: [cyan]lam status {plan.study.path}[/cyan]")
    return farewell(plan.study, console, failures, begun)


def farewell(study: Study, console: Console, failures: int, begun: float) -> int:
    """Say where the results are; 1 when some units failed."""
    console.print(f"Took {time.monotonic() - begun:.1f} s. Results:", highlight=False)
    if study.config.engines:
        console.print(f"  report   {study.report_path}", highlight=False, soft_wrap=True)
        console.print(f"  tables   {study.tables}", highlight=False, soft_wrap=True)
    else:
        console.print("  next     lam train --example > train.yaml", highlight=False)
    console.print(f'  session  lamstore.open("{study.path}")', highlight=False, soft_wrap=True)
    return 1 if failures else 0
