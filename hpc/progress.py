"""What does a person see while a study runs? Done, failed, left and when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hpc.local import Event
from hpc.registry import JOBS

QUIET_S = 10.0
"""How often a log file, which has no moving bar, gets a line."""


class Watch:
    """One bar a job; a plain line now and then where the output is no terminal."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console, self._progress = console, progress
        self._task: TaskID | None = None
        self._job, self._total, self._done, self._failed = "", 0, 0, 0
        self._said = time.monotonic()
        self.failures: list[Event] = []

    def start(self, job: str, total: int) -> None:
        """A job begins with this many units to do."""
        self._job, self._total, self._done, self._failed = job, total, 0, 0
        if self._progress is not None:
            says = JOBS[job].says if job in JOBS else job
            self._task = self._progress.add_task(job, total=total, says=says, failed="")

    def __call__(self, event: Event) -> None:
        """A unit has ended."""
        self._done += 1
        if event.state == "failed":
            self._failed += 1
            self.failures.append(event)
            first = event.message.splitlines()[0] if event.message else "failed"
            self._console.print(f"[red]✗[/red] {event.unit}: {first}", highlight=False)
        if self._progress is not None and self._task is not None:
            failed = f"[red]{self._failed} failed[/red]" if self._failed else ""
            self._progress.update(self._task, completed=self._done, failed=failed)
        else:
            self._plain()

    def _plain(self) -> None:
        ended = self._done == self._total
        if ended or time.monotonic() - self._said > QUIET_S:
            self._said = time.monotonic()
            left, failed = self._total - self._done, self._failed
            line = f"{self._job}: {self._done} of {self._total} ended, {failed} failed, {left} left"
            self._console.print(line, highlight=False)


@contextmanager
def watch(console: Console) -> Iterator[Watch]:
    """Bars on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Watch(console, None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("[bold]{task.description:8}[/bold]"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[says]}[/dim]"),
    )
    with Progress(*columns, console=console) as progress:
        yield Watch(console, progress)
