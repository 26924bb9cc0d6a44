"""How far is it? `lam status`: the study by job, the submitted run by wave."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamstore.study import Study

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from hpc.run import Plan
    from hpc.run_status import RunStatus
    from hpc.status import StudyStatus

SHOWN = 20
WATCH_S = 3.0
"""Least time between two looks; ten times what a look takes, when that is more."""

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("status", rich_help_panel="Look")(status)


def status(
    study: StudyPath,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again.")] = False,
) -> None:
    """Done, failed and pending units of each job, the submitted run, and where the errors are."""
    from rich.console import Console

    look = _Look(Study.at(study))
    if as_json:
        typer.echo(json.dumps(look.to_json(), indent=2, ensure_ascii=False))
        return
    console = Console()
    if watch:
        _watch(look, study, console)
    else:
        for part in _shown(*look(), study):
            console.print(part, highlight=False)


class _Look:
    """One look at a study costs a read of what its ledger has gained, and one call to SLURM.

    While a submitted run is at work what counts is what it was planned for; otherwise the cohort's
    files and the engines are looked at again.
    """

    def __init__(self, study: Study) -> None:
        from hpc.follow import Follower

        self._study = study
        self._plan: Plan | None = None
        self._ledger = Follower(study.ledger.folder)

    def __call__(self) -> tuple[StudyStatus, RunStatus | None]:
        from hpc.run_folder import latest_run
        from hpc.run_status import planned_status, run_status

        run = latest_run(self._study)
        found = run_status(run, self._ledger) if run else None
        active = run and run.ended is None and found and found.state in ("queued", "running")
        if run and active and run.wanted.exists():
            return planned_status(run, self._ledger), found
        return self._looked_at(), found

    def _looked_at(self) -> StudyStatus:
        from hpc.run import make_plan
        from hpc.status import study_status

        if self._plan is None:
            self._plan = make_plan(self._study, keep=False)
        return study_status(self._plan)

    def to_json(self) -> dict[str, Any]:
        found, run = self()
        return found.to_json() | {"run": run.to_json() if run else None}


def _watch(look: _Look, study: Path, console: Any) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        while True:
            begun = time.monotonic()
            found, run = look()
            live.update(Group(*_shown(found, run, study)), refresh=True)
            if found.complete or (run is not None and run.state == "ended"):
                return
            time.sleep(max(WATCH_S, 10 * (time.monotonic() - begun)))


def _shown(found: StudyStatus, run: RunStatus | None, study: Path) -> Iterator[RenderableType]:
    yield _study_table(found)
    if run is not None:
        yield from _shown_run(run)
    yield from _shown_failures(found, study)
    lost = run is not None and bool(run.causes)
    if run is not None and run.state in ("queued", "running"):
        yield f"End it: [cyan]lam cancel {study}[/cyan]"
    elif not found.complete:
        again = "retry" if lost and run is not None and run.executor == "slurm" else "run"
        yield f"Next: [cyan]lam {again} {study}[/cyan]"


def _study_table(found: StudyStatus) -> Table:
    from rich.table import Table

    table = Table(header_style="bold")
    table.add_column("job")
    for column in ("done", "failed", "pending"):
        table.add_column(column, justify="right")
    for job in found.jobs:
        blocked = f" ({job.blocked} blocked)" if job.blocked else ""
        failed = f"[red]{job.failed}[/red]" if job.failed else "0"
        table.add_row(job.job, str(job.done), failed, f"{job.pending}{blocked}")
    return table


def _shown_run(run: RunStatus) -> Iterator[RenderableType]:
    from rich.table import Table

    tasks = ", ".join(f"{count} {phase}" for phase, count in run.workers.items())
    yield f"run [bold]{run.id}[/bold] on {run.executor}: {run.state}" + (
        f" [dim](tasks: {tasks})[/dim]" if tasks else ""
    )
    if run.problem:
        yield f"[yellow]SLURM could not be asked:[/yellow] {run.problem}"
    if run.waves:
        table = Table(header_style="bold")
        for column in ("wave", "done", "lost", "blocked", "tasks running", "queued", "time left"):
            table.add_column(column, justify="left" if column == "wave" else "right")
        for wave in run.waves:
            lost = f"[red]{wave.lost}[/red]" if wave.lost else "0"
            table.add_row(
                wave.wave,
                f"{wave.done}/{wave.units}",
                lost,
                str(wave.blocked),
                str(wave.running),
                str(wave.queued),
                "" if wave.left_s is None else _duration(wave.left_s),
            )
        yield table
    if run.causes:
        yield "lost by cause: " + ", ".join(f"{cause} {n}" for cause, n in run.causes.items())
    if run.reasons:
        waits = ", ".join(f"{reason} {n}" for reason, n in run.reasons.items())
        yield f"[dim]tasks wait for: {waits}[/dim]"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes or 1} min"


def _shown_failures(found: StudyStatus, study: Path) -> Iterator[RenderableType]:
    from rich.text import Text

    for record in found.failures[:SHOWN]:
        cause = record.error.get("cause", "error")
        yield f"[red]✗[/red] {record.unit} [dim]({cause})[/dim]"
        yield Text("    " + record.error.get("message", "").replace("\n", "\n    "))
    if len(found.failures) > SHOWN:
        yield f"… and {len(found.failures) - SHOWN} more: lam status {study} --json"
    if found.failures:
        yield f"Their logs: [cyan]lam logs {study} --failed[/cyan]"
