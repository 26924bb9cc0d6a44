"""What became of the units of a submitted run, and why are those lost that are?

The ledger decides. Of units without a word in it the scheduler, or where it has forgotten the
log, says why: a task that ended with status 0 and left no record has failed all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hpc.follow import Follower
from hpc.plan_file import Planned, read_plan
from hpc.run_folder import ArrayFacts, RunFolder
from hpc.slurm import CAUSES, Phase, Task, Tasks, cause_from_log
from lamstore.units import Unit

TAIL_BYTES = 8192


@dataclass(frozen=True)
class Loss:
    """A unit that has ended without being done.

    Attributes
    ----------
    cause : str
        ``error``, ``out of memory``, ``timeout``, ``node lost``, ``preempted``, ``cancelled``,
        ``worker died``, ``task failed``, ``no record``.
    message : str
    array : ArrayFacts
        With what it was tried.
    log : str
        Of its task; empty when that is not known.
    """

    unit: Unit
    cause: str
    message: str
    array: ArrayFacts
    log: str = ""


@dataclass
class Outcome:
    """Units of one run by what became of them, and its tasks by where they are."""

    done: list[Unit] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    blocked: list[tuple[Unit, ArrayFacts]] = field(default_factory=list)
    """Their input is lost or blocked, or was when their task came to them."""
    waiting: list[Unit] = field(default_factory=list)
    """Their task is queued or runs."""


@dataclass(frozen=True)
class _Known:
    """What decides the fate of a unit."""

    run: RunFolder
    ledger: Follower
    tasks: Tasks


def outcome(run: RunFolder, ledger: Follower, tasks: Tasks) -> Outcome:
    """What became of every unit of a run.

    Parameters
    ----------
    run : RunFolder
    ledger : Follower
        Refreshed after `tasks` was asked for, so that no task ends in between unseen.
    tasks : mapping of (job, index) to Task
        Every task that the scheduler knows; one that it does not know has ended.
    """
    found, known = Outcome(), _Known(run, ledger, tasks)
    plan = read_plan(run.plan)
    jobs: dict[str, list[str]] = {}
    for job, script in run.jobs().items():
        jobs.setdefault(script, []).append(job)
    undone: set[str] = set()
    for script, array in run.facts.arrays.items():
        for index in range(array.tasks):
            begin, end = array.slice(index)
            task = _Slice(known, script, index, array, tuple(jobs.get(script, ())))
            for planned in plan[begin:end]:
                task.sort_in(planned, found, undone)
    return found


@dataclass
class _Slice:
    known: _Known
    script: str
    index: int
    array: ArrayFacts
    jobs: tuple[str, ...]

    def sort_in(self, planned: Planned, found: Outcome, undone: set[str]) -> None:
        unit, needs = planned
        word = self.known.ledger.words.get(unit.key)
        mine = word is not None and word.fingerprint == unit.fingerprint
        if word is not None and mine and word.state == "done":
            found.done.append(unit)
            return
        if word is not None and mine and word.state == "failed" and self._recent(word.finished):
            undone.add(unit.key)
            error = self.known.ledger.errors.get(unit.key, {})
            cause, message = error.get("cause", "error"), error.get("message", "")
            found.lost.append(Loss(unit, cause, message, self.array, self.log))
        elif self.open:
            found.waiting.append(unit)
        elif any(need.key in undone for need in needs):
            undone.add(unit.key)
            found.blocked.append((unit, self.array))
        else:
            undone.add(unit.key)
            found.lost.append(Loss(unit, self.cause, self._tale, self.array, self.log))

    def _recent(self, finished: float) -> bool:
        return finished >= self.known.run.facts.created

    @property
    def states(self) -> list[Task]:
        """What the scheduler knows of the task; none when it has forgotten, or never saw it."""
        found = (self.known.tasks.get((job, self.index)) for job in self.jobs)
        return [task for task in found if task is not None]

    @property
    def open(self) -> bool:
        """Whether the task may still do its units."""
        return any(task.phase is not Phase.ENDED for task in self.states)

    @property
    def log(self) -> str:
        """Path of the task's log."""
        job = self.jobs[-1] if self.jobs else ""
        path = self.known.run.logs / f"{self.script}-{job}_{self.index}.log"
        return str(path) if path.exists() else ""

    @property
    def cause(self) -> str:
        """Why the task ended."""
        states = self.states
        if states and states[-1].state not in ("COMPLETED", "FAILED"):
            return CAUSES.get(states[-1].state, states[-1].state.lower())
        told = cause_from_log(_tail(self.log))
        if told:
            return told
        if self.known.run.cancelled:
            return "cancelled"
        return CAUSES[states[-1].state] if states else "no record"

    @property
    def _tale(self) -> str:
        return f"the task {self.script}[{self.index}] ended and left no record of this unit"


def _tail(log: str) -> str:
    if not log:
        return ""
    with open(log, "rb") as stream:  # noqa: PTH123, read from its end
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - TAIL_BYTES))
        return stream.read().decode(errors="replace")


def by_cause(losses: list[Loss]) -> Mapping[str, int]:
    """Number of lost units by cause, the most frequent first."""
    counts: dict[str, int] = {}
    for loss in losses:
        counts[loss.cause] = counts.get(loss.cause, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def each(found: Outcome) -> Iterator[tuple[Unit, str, ArrayFacts]]:
    """Every unit that is to be tried again, with its cause; ``blocked`` for those that wait."""
    for loss in found.lost:
        yield loss.unit, loss.cause, loss.array
    for unit, array in found.blocked:
        yield unit, "blocked", array
