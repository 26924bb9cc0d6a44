"""How does a study get done? `lam run`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamstore.study import Study, study_lock

if TYPE_CHECKING:
    from rich.console import Console

    from hpc.progress import Watch
    from hpc.run import Plan


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("run", rich_help_panel="Audit")(run)


def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")],
    workers: Annotated[int | None, typer.Option(help="Worker processes (default: cores).")] = None,
) -> None:
    """Do what is not done yet: ingest → infer → compare → cohort → report.

    Interrupt it, kill it, change study.yaml, add subjects: the next run does just what is missing
    or changed. A unit that fails is recorded and stops no other.
    """
    from rich.console import Console

    raise typer.Exit(run_study(Study.at(study), workers, Console()))


def run_study(study: Study, workers: int | None, console: Console) -> int:
    """Run everything that is left, here; 0 when all is done, 1 when some units failed."""
    from hpc.local import LocalExecutor
    from hpc.progress import watch
    from hpc.run import make_plan, new_run_id, prepare_store, run_plan

    begun, run_id = time.monotonic(), new_run_id()
    with study_lock(study) as lock:
        plan = make_plan(study)
        if _nothing_left(plan):
            console.print("Everything is done; nothing to do.", highlight=False)
            return _farewell(study, console, 0, begun)
        prepare_store(plan)
        size = workers or os.cpu_count() or 1
        with (
            watch(console) as watcher,
            LocalExecutor(study, run_id, size, lock=lock) as executor,
        ):
            attempted = run_plan(plan, executor, watcher, watcher.start)
    return _conclude(plan, watcher, console, attempted, begun)


def _nothing_left(plan: Plan) -> bool:
    from hpc.plan import cohort_unit, is_done, left, report_unit

    words = plan.words()
    units = [*plan.wanted, *(cohort_unit(engine, plan.wanted, words) for engine in plan.engines)]
    units.append(report_unit(plan.study.config, plan.engines, words))
    return not left(units, words) and all(is_done(unit, words) for unit in units)


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
    return _farewell(plan.study, console, failures, begun)


def _farewell(study: Study, console: Console, failures: int, begun: float) -> int:
    console.print(f"Took {time.monotonic() - begun:.1f} s. Results:", highlight=False)
    console.print(f"  report   {study.report_path}", highlight=False, soft_wrap=True)
    console.print(f"  tables   {study.tables}", highlight=False, soft_wrap=True)
    console.print(f'  session  lamstore.open("{study.path}")', highlight=False, soft_wrap=True)
    return 1 if failures else 0
