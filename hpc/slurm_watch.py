"""How does one wait for a slurm run? By the ledger, and now and then one call for the whole run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hpc.follow import Follower
from hpc.local import Event
from hpc.losses import Outcome, outcome
from hpc.plan_file import read_plan
from hpc.progress import Watch
from hpc.run_folder import RunFolder, run_folders
from hpc.slurm import Phase, Tasks, tasks
from lamstore.errors import ExecutorError
from lamstore.units import Unit, parse_key

LEDGER_POLL_S = (0.5, 10.0)
SLURM_POLL_S = (2.0, 60.0)
"""First and longest time between two looks; each look without news is followed by a longer wait."""


@dataclass(frozen=True)
class RunState:
    """A run as ledger and scheduler tell it now.

    Attributes
    ----------
    tasks : mapping of (job, index) to Task
    found : Outcome
    answered : bool
        Whether SLURM could be asked.
    """

    tasks: Tasks
    found: Outcome
    answered: bool = True

    @property
    def active(self) -> bool:
        """Whether anything of the run waits or runs."""
        return any(task.phase is not Phase.ENDED for task in self.tasks.values())


def run_state(run: RunFolder, ledger: Follower) -> RunState:
    """Where a run is; one call to SLURM, none when it has ended for good.

    Raises
    ------
    ExecutorError
        When the run may be at work and SLURM does not answer.
    """
    known = tasks(list(run.jobs()), accounting=run.facts.accounting)
    ledger.refresh()
    return RunState(known, outcome(run, ledger, known))


class _Pace:
    """Waits that grow while nothing happens."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first, self._longest = first_s, longest_s
        self._wait, self._due = first_s, 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._due

    def looked(self, *, news: bool) -> None:
        self._wait = self._first if news else min(self._longest, 1.5 * self._wait)
        self._due = time.monotonic() + self._wait


def await_run(run: RunFolder, watcher: Watch) -> RunFolder:
    """Show progress until nothing of a run, or of those that made it good, is in the queue.

    Returns
    -------
    RunFolder
        The last of the runs.
    """
    ledger = Follower(run.study.ledger.folder)
    ledger.refresh()
    shown = _Shown(run, watcher)
    ledger_pace, slurm_pace = _Pace(*LEDGER_POLL_S), _Pace(*SLURM_POLL_S)
    before: object = None
    while True:
        if ledger_pace.due():
            news = ledger.refresh()
            shown.tell(news, ledger)
            ledger_pace.looked(news=bool(news))
        if slurm_pace.due() or run.ended:
            known = _ask(run)
            if known is not None:
                if not any(task.phase is not Phase.ENDED for task in known.values()):
                    following = _child(run)
                    shown.tell(ledger.refresh(), ledger)
                    if following is None:
                        run.end("found out of the queue")
                        return run
                    run = following
                    shown.follow(run)
                phases = Counter(task.phase for task in known.values())
                slurm_pace.looked(news=phases != before)
                before = phases
            else:
                slurm_pace.looked(news=False)
        time.sleep(0.2)


def _ask(run: RunFolder) -> Tasks | None:
    """None while the controller does not answer: it may be restarting."""
    try:
        return tasks(list(run.jobs()), accounting=False)
    except ExecutorError:
        return None


def _child(run: RunFolder) -> RunFolder | None:
    for other in run_folders(run.study):
        if other.facts.parent == run.id and other.claimed:
            return other
    return None


class _Shown:
    """Hands the ledger's news of a run to a progress display."""

    def __init__(self, run: RunFolder, watcher: Watch) -> None:
        self._watcher, self._job = watcher, ""
        self.follow(run)

    def follow(self, run: RunFolder) -> None:
        """From now on tell of this run."""
        self._run = run
        units = [unit for unit, _ in read_plan(run.plan)]
        self._left = {unit.key: unit for unit in units}
        self._totals = Counter(unit.job for unit in units)

    def tell(self, keys: Sequence[str], ledger: Follower) -> None:
        """Tell of the units among these that have ended."""
        for key in dict.fromkeys(keys):
            word = ledger.words[key]
            if word.state == "started" or word.finished < self._run.facts.created:
                continue
            unit = self._left.pop(key, None) or self._closing(key)
            if unit is None:
                continue
            if unit.job != self._job:
                self._job = unit.job
                self._watcher.start(unit.job, self._totals.get(unit.job, 1))
            message = ledger.errors.get(key, {}).get("message", "")
            self._watcher(Event(unit, word.state, 0.0, message))

    def _closing(self, key: str) -> Unit | None:
        return parse_key(key) if key.startswith(("cohort/", "report/")) else None
