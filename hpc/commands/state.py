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

    from hpc.kept import Facts
    from hpc.run import Plan
    from hpc.run_status import RunStatus
    from hpc.status import StudyStatus

SHOWN = 20
WATCH_S = 3.0
"""Least time between two looks; ten times what a look takes, when that is more."""

AS_PLANNED = "Files of the cohort, engines and weights as of the last run; look again: --look"
CHANGED = "study.yaml or lamstore has changed since this run was planned, which goes on as planned"

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("status", rich_help_panel="Look")(status)


def status(
    study: StudyPath,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again.")] = False,
    again: Annotated[
        bool, typer.Option("--look", help="Look at the cohort's files and the engines, too.")
    ] = False,
) -> None:
    """Done, failed and pending units of each job, the submitted run, and where the errors are."""
    from rich.console import Console

    look = _Look(Study.at(study), again=again)
    if as_json:
        typer.echo(json.dumps(look.to_json(), indent=2, ensure_ascii=False))
        return
    console = Console()
    if watch:
        _watch(look, study, console)
    else:
        for part in (*_shown(*look(), study), f"[dim]{look.note}[/dim]" if look.note else ""):
            console.print(part, highlight=False, end="\n" if part else "")


class _Look:
    """One look at a study costs a read of what its ledger has gained, and one call to SLURM.

    What the study wants is what the last planner kept (`hpc.kept`), unless study.yaml or lamstore
    has changed since, or `again`: then the cohort's files and the engines are looked at. While a
    submitted run is at work what counts is what it was planned for.
    """

    def __init__(self, study: Study, *, again: bool) -> None:
        from hpc.follow import Follower

        self._study, self._again = study, again
        self._plan: Plan | None = None
        self._ledger = Follower(study.ledger.folder)
        self.note = ""

    def __call__(self) -> tuple[StudyStatus, RunStatus | None]:
        from hpc import kept
        from hpc.run_folder import latest_run
        from hpc.run_status import run_status
        from hpc.status import study_status

        run = latest_run(self._study)
        found = run_status(run, self._ledger) if run else None
        self._ledger.refresh()
        active = bool(found and run and not run.ended and found.state in ("queued", "running"))
        facts = kept.kept_facts(self._study)
        current = facts is not None and kept.is_current(facts, self._study)
        if facts is not None and (active or (current and not self._again)):
            self.note = AS_PLANNED if current else CHANGED
            lines = kept.kept_lines(self._study)
        else:
            self.note = ""
            facts, lines = self._looked_at()
        return study_status(facts, lines, self._study.config, self._ledger), found

    def _looked_at(self) -> tuple[Facts, Iterator[dict[str, Any]]]:
        from hpc.plan import needs_of
        from hpc.plan_file import plan_lines
        from hpc.run import make_plan

        if self._plan is None:
            self._plan = make_plan(self._study, keep=False)
        units, needs = list(self._plan.wanted), needs_of(self._plan.manifest)
        return self._plan.facts, plan_lines(units, needs)

    def to_json(self) -> dict[str, Any]:
        found, run = self()
        return found.to_json() | {"run": run.to_json() if run else None, "note": self.note}


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
