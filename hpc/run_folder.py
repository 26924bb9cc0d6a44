"""What does a run leave on disk? Only what cannot be derived from the ledger and the scheduler.

::

    runs/<id>/
      run.json      executor, resources and slices of each array; written once
      plan.jsonl    the units (`hpc.plan_file`)
      *.sbatch      one script an array; submit.sh submits them all, chained
      claimed       the run has been submitted: it may write to the study
      jobs/<id>     one file a scheduler's job, holding the name of its script
      logs/         what the tasks said
      attempts/     which batches of units were begun (`hpc.attempt`)
      cancel        a person asked the run to end
      ended         nothing of this run is in a queue any more; holds why
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lamstore.errors import ExecutorError
from lamstore.study import Study


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArrayFacts(_Facts):
    """One array: which units its tasks do, and with what."""

    wave: str
    begin: int
    """First line of the plan; task i does lines ``begin + i * per_task`` and following."""
    end: int
    per_task: int
    memory_mib: int
    time_s: int
    processes: int = 1
    lead_s: int = 120
    """How long before its time limit a task is told to stop."""

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return max(1, -(-(self.end - self.begin) // self.per_task))

    def slice(self, index: int) -> tuple[int, int]:
        """Lines of the plan that one task does."""
        begin = self.begin + index * self.per_task
        return begin, min(begin + self.per_task, self.end)


class RunFacts(_Facts):
    """run.json."""

    id: str
    executor: Literal["local", "slurm", "dask"]
    created: float
    """Seconds since the epoch."""
    command: tuple[str, ...]
    cwd: str
    host: str
    pid: int
    study_digest: str
    """Of study.yaml when the run was planned; tasks refuse to run under another."""
    subjects: tuple[str, ...] | None = None
    """Only these, when a trial or single subjects were asked for."""
    trial_seed: int | None = None
    verbose: bool = False
    arrays: dict[str, ArrayFacts] = {}
    """By name of the script."""
    accounting: bool = False
    max_array_size: int = 1001
    retries: int = 0
    """How often the last job may resubmit what was lost."""
    parent: str | None = None
    """The run whose losses this one makes good."""
    profile: dict[str, object] = {}
    """The cluster profile, with the command line's values."""
    container_digest: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """One folder below ``runs/``."""

    study: Study
    id: str

    @property
    def path(self) -> Path:
        """The folder."""
        return self.study.runs / self.id

    @property
    def plan(self) -> Path:
        """The plan."""
        return self.path / "plan.jsonl"

    @property
    def logs(self) -> Path:
        """What the tasks said."""
        return self.path / "logs"

    @cached_property
    def facts(self) -> RunFacts:
        """run.json.

        Raises
        ------
        ExecutorError
            When it is not there or cannot be read.
        """
        path = self.path / "run.json"
        try:
            return RunFacts.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise ExecutorError(f"{self.path} holds no run") from error
        except ValidationError as error:
            raise ExecutorError(f"{path} cannot be read", got=str(error)) from error

    def begin(self, facts: RunFacts) -> None:
        """Make the folder."""
        for folder in (self.path / "jobs", self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.path / "run.json").write_text(facts.model_dump_json(indent=1) + "\n")

    @property
    def claimed(self) -> bool:
        """Whether the run has been submitted."""
        return (self.path / "claimed").exists()

    def claim(self) -> None:
        """Say that this run may write; the caller holds the study's lock."""
        (self.path / "claimed").touch()

    @property
    def ended(self) -> str | None:
        """Why nothing of this run is left in a queue; None while something may be."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / "ended").read_text().strip() or "ended"
        return None

    def end(self, why: str) -> None:
        """Say that nothing of this run is in a queue any more."""
        self._put("ended", f"{why}\n")

    @property
    def cancelled(self) -> bool:
        """Whether a person asked the run to end."""
        return (self.path / "cancel").exists()

    def cancel(self) -> None:
        """Ask the run to end."""
        (self.path / "cancel").touch()

    def register(self, job: str, script: str) -> None:
        """Keep the id that the scheduler gave to a script."""
        self._put(f"jobs/{job}", f"{script}\n")

    def jobs(self) -> dict[str, str]:
        """Name of the script by id of the scheduler's job."""
        try:
            names = [path.name for path in (self.path / "jobs").iterdir()]
        except FileNotFoundError:
            return {}
        ids = sorted((name for name in names if name.isdigit()), key=int)
        return {job: (self.path / "jobs" / job).read_text().strip() for job in ids}

    def _put(self, name: str, text: str) -> None:
        # Renamed into place: who sees the file sees all of it.
        path = self.path / name
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_text(text)
        part.replace(path)


def run_folders(study: Study) -> list[RunFolder]:
    """Runs of a study, the newest last."""
    return list(_folders(study))


def _folders(study: Study) -> Iterator[RunFolder]:
    for path in sorted(study.runs.glob("*/run.json")):
        yield RunFolder(study, path.parent.name)


def latest_run(study: Study) -> RunFolder | None:
    """The run that was submitted last."""
    submitted = [run for run in run_folders(study) if run.claimed]
    return submitted[-1] if submitted else None


def child_id(run: RunFolder) -> str:
    """Id of the run that makes good the losses of another: ``<id>.02``, ``<id>.03``, …"""
    stem, _, number = run.id.partition(".")
    return f"{stem}.{int(number or 1) + 1:02d}"
