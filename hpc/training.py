"""How is one model trained on this machine, watched and interrupted?"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from jobs.training.config import TrainConfig
    from jobs.training.run import Trained
    from jobs.training.state import Progress as State

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, SLURM's preemption, and what a batch script is sent before its time limit."""

QUIET_S = 30.0
"""How often a log file, which has no moving bar, gets a line."""


def train_here(config: TrainConfig, console: Console, *, resume: bool) -> Trained:
    """Train one model with a bar, and draw its curves; signals make it stop after a step."""
    from hpc.training_figures import draw_run
    from jobs.training.run import train

    with stopping(console) as stop, bar(console, config) as listen:
        found = train(config, resume=resume, listen=listen, stop=stop)
    draw_run(found.files.folder)
    return found


@contextmanager
def stopping(console: Console) -> Iterator[Event]:
    """An event that signals set; a second Ctrl-C ends at once."""
    stop = Event()

    def heard(number: int, _: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        name = signal.Signals(number).name
        console.print(f"{name}: stopping after this step, the state is kept", highlight=False)

    before = {number: signal.signal(number, heard) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bar:
    """Hears of every step; draws a bar, or writes a line now and then."""

    def __init__(self, console: Console, config: TrainConfig, progress: Progress | None) -> None:
        self._console, self._config, self._progress = console, config, progress
        self._task: TaskID | None = None
        self._epochs = -1
        self._said = time.monotonic()
        if progress is not None:
            self._task = progress.add_task(config.name, total=config.steps, says="")

    def __call__(self, state: State) -> None:
        """A step was made, or an epoch ended."""
        new = len(state.rows) > max(self._epochs, 0) and self._epochs >= 0
        if new:
            self._say(state.rows[-1])
        self._epochs = len(state.rows)
        if self._progress is not None and self._task is not None:
            says = self._line(state.rows[-1]) if state.rows else ""
            self._progress.update(self._task, completed=state.step, says=says)
        elif not new and time.monotonic() - self._said > QUIET_S:
            self._said = time.monotonic()
            left_s = (self._config.steps - state.step) * state.epoch_s / self._in_epoch(state)
            self._console.print(
                f"{self._config.name}: step {state.step} of {self._config.steps}, "
                f"{left_s / 60:.0f} min left",
                highlight=False,
            )

    def _in_epoch(self, state: State) -> int:
        return max(1, (state.step - 1) % self._config.steps_per_epoch + 1)

    def _say(self, row: Any) -> None:
        self._said = time.monotonic()
        if row["dice"] == row["dice"] or self._progress is None:
            self._console.print(self._line(row), highlight=False)

    def _line(self, row: Any) -> str:
        text = f"epoch {row['epoch']} of {self._config.epochs}, loss {row['loss']:.3f}"
        if row["dice"] == row["dice"]:
            text += f", Dice {row['dice']:.3f}, lesion F1 {row['lesion_f1']:.3f}"
        return text + f", {row['patches_per_s']:.1f} patches/s"


@contextmanager
def bar(console: Console, config: TrainConfig) -> Iterator[Bar]:
    """A bar on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Bar(console, config, None)
        return
    columns = (
        TextColumn("[bold]{task.description}[/bold]"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("[dim]{task.fields[says]}[/dim]"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(console, config, progress)
