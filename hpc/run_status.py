"""How far is a submitted run? Per wave: units, tasks, causes of losses, time left. All derived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hpc.follow import Follower
from hpc.losses import Outcome, by_cause, outcome
from hpc.run_folder import RunFolder
from hpc.slurm import Phase, Task, tasks
from lamstore.errors import ExecutorError


@dataclass(frozen=True)
class WaveStatus:
    """One wave of a run.

    Attributes
    ----------
    units, done, lost, blocked : int
        The rest waits for its task, or is at work.
    running, queued : int
        Tasks.
    left_s : float or None
        Estimated from measured times and the tasks that run; None when nothing runs or was
        measured.
    """

    wave: str
    units: int
    done: int
    lost: int
    blocked: int
    running: int
    queued: int
    left_s: float | None = None


@dataclass(frozen=True)
class RunStatus:
    """A submitted run.

    Attributes
    ----------
    state : {"queued", "running", "ended", "unknown"}
        ``unknown`` where SLURM cannot be asked from here.
    waves : tuple of WaveStatus
        Empty for dask, whose units the ledger alone knows.
    workers : mapping of phase to count
        Tasks of all jobs of the run: dask's workers, slurm's tasks.
    causes : mapping of cause to number of lost units
    reasons : mapping of SLURM's reason to number of queued tasks
    """

    id: str
    executor: str
    state: str
    waves: tuple[WaveStatus, ...] = ()
    workers: Mapping[str, int] = field(default_factory=dict)
    causes: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-like, for scripts."""
        return asdict(self)


def run_status(run: RunFolder, ledger: Follower) -> RunStatus:
    """Where a run is, by the ledger and one call to SLURM."""
    known: dict[tuple[str, int], Task] = {}
    problem = ""
    try:
        known = tasks(list(run.jobs()), accounting=run.facts.accounting)
    except ExecutorError as error:
        problem = str(error)
    ledger.refresh()
    phases = Counter(task.phase for task in known.values())
    mute = (problem and not run.ended) or not run.facts.arrays
    found = Outcome() if mute else outcome(run, ledger, known)
    reasons = Counter(t.reason for t in known.values() if t.phase is Phase.QUEUED and t.reason)
    return RunStatus(
        id=run.id,
        executor=run.facts.executor,
        state=_state(run, phases, problem),
        waves=_waves(run, found, known, ledger),
        workers={str(phase): count for phase, count in phases.items()},
        causes=by_cause(found.lost),
        reasons=dict(reasons.most_common(3)),
        problem=problem,
    )


def _state(run: RunFolder, phases: Counter[Phase], problem: str) -> str:
    if phases[Phase.RUNNING]:
        return "running"
    if phases[Phase.QUEUED]:
        return "queued"
    return "unknown" if problem and not run.ended else "ended"


def _waves(
    run: RunFolder, found: Outcome, known: Mapping[tuple[str, int], Task], ledger: Follower
) -> tuple[WaveStatus, ...]:
    wave_of = {script: facts.wave for script, facts in run.facts.arrays.items()}
    wave_of_job = {job: wave_of.get(script, script) for job, script in run.jobs().items()}
    tasks_at = Counter((wave_of_job.get(job, ""), task.phase) for (job, _), task in known.items())
    counts = Counter(
        [(unit.job, "done") for unit in found.done]
        + [(loss.unit.job, "lost") for loss in found.lost]
        + [(unit.job, "blocked") for unit, _ in found.blocked]
        + [(unit.job, "waiting") for unit in found.waiting]
    )
    waves = []
    for wave in dict.fromkeys(wave_of.values()):
        units = sum(f.end - f.begin for f in run.facts.arrays.values() if f.wave == wave)
        processes = max(f.processes for f in run.facts.arrays.values() if f.wave == wave)
        running = tasks_at[wave, Phase.RUNNING]
        waves.append(
            WaveStatus(
                wave,
                units,
                counts[wave, "done"],
                counts[wave, "lost"],
                counts[wave, "blocked"],
                running,
                tasks_at[wave, Phase.QUEUED],
                _left_s(ledger.mean_s(wave), counts[wave, "waiting"], running * processes),
            )
        )
    return tuple(waves)


def _left_s(mean_s: float | None, waiting: int, at_once: int) -> float | None:
    if mean_s is None or not at_once or not waiting:
        return None
    return waiting * mean_s / at_once
