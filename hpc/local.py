"""How do units run on one machine? A few worker processes, each fed one subject at a time.

Workers are ordinary processes that read units from a pipe (`hpc.worker`). One that dies takes with
it only the unit it was at: that unit is recorded as failed with the cause, another worker takes
over the rest.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import orjson

from hpc.worker import request
from lamstore import errors
from lamstore.errors import ExecutorError
from lamstore.ledger import Entry, LedgerFile, failed
from lamstore.study import Study
from lamstore.units import Unit


@dataclass(frozen=True)
class Event:
    """One unit has ended.

    Attributes
    ----------
    state : {"done", "failed"}
    message : str
        Of the error; empty when done.
    """

    unit: Unit
    state: str
    seconds: float
    message: str = ""


Listener = Callable[[Event], None]


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    task: str
    log: IO[bytes]
    pending: deque[Unit] = field(default_factory=deque)
    buffer: bytes = b""
    ready: bool = False


class LocalExecutor:
    """Runs units in worker processes on this machine.

    Parameters
    ----------
    study : Study
    run : str
        Id of the run; names ledger files and logs.
    workers : int
    command : sequence of str, optional
        How to enter a container, and the interpreter there; this process's own when empty.
    environment : mapping, optional
        Variables that entering it needs.
    lock : int, optional
        Descriptor of the study's lock, inherited so that it holds as long as any worker lives.
    task : str, optional
        Stem of the workers' names, where several executors serve one run.
    logs : Path, optional
        Where workers' logs go; ``runs/<run>`` when absent.
    verbose : bool
        Whether the logs shall hold every unit's result.
    """

    def __init__(
        self,
        study: Study,
        run: str,
        workers: int,
        *,
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        lock: int | None = None,
        task: str | None = None,
        logs: Path | None = None,
        verbose: bool = False,
    ) -> None:
        self._study, self._task, self._size = study, task or run, workers
        self._command, self._lock = tuple(command), lock
        self._environment = {**worker_environment(workers), **(environment or {})}
        self._logs = logs or study.runs / run
        self._options = ("--verbose",) if verbose else ()
        self._deadline: float | None = None
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._started = 0

    def run(self, units: Iterable[Unit], words: Mapping[str, Entry], listener: Listener) -> None:
        """Do all units, in any order; returns when each is done or failed, or after `stop`.

        Raises
        ------
        DiskFullError
            When there is no space left; what is done stays done.
        ExecutorError
            When workers cannot start.
        """
        groups = deque(_by_subject(units, self._size))
        while self._at_work() if self._deadline else groups or self._at_work():
            if self._deadline is None:
                self._feed(groups, words)
            elif time.monotonic() > self._deadline:
                return
            for key, _ in self._selector.select(timeout=1.0):
                self._hear(self._workers[key.fd], groups, listener)

    def _at_work(self) -> bool:
        return any(worker.pending for worker in self._workers.values())

    def stop(self, grace_s: float) -> None:
        """Let workers finish the unit they are at, for so long, and begin no other.

        May be called from a signal handler. Units that are left get no event.
        """
        if self._deadline is None:
            self._deadline = time.monotonic() + grace_s
            for worker in list(self._workers.values()):
                worker.process.send_signal(signal.SIGUSR1)

    def at_hand(self) -> list[Unit]:
        """Units that workers are at now."""
        return [worker.pending[0] for worker in self._workers.values() if worker.pending]

    def close(self) -> None:
        """End the workers: idle ones by closing their input, busy ones by SIGTERM."""
        for worker in list(self._workers.values()):
            if worker.pending:
                worker.process.terminate()
            if worker.process.stdin:
                worker.process.stdin.close()
        for worker in list(self._workers.values()):
            try:
                worker.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._forget(worker)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _feed(self, groups: deque[list[Unit]], words: Mapping[str, Entry]) -> None:
        while groups and len(self._workers) < self._size:
            self._start()
        for worker in self._workers.values():
            if groups and not worker.pending:
                self._send(worker, groups.popleft(), words)

    def _send(self, worker: _Worker, units: list[Unit], words: Mapping[str, Entry]) -> None:
        worker.pending.extend(units)
        assert worker.process.stdin is not None
        lines = b"".join(request(unit, words.get(unit.key)) for unit in units)
        try:
            worker.process.stdin.write(lines)
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead; the closed output tells so next

    def _start(self) -> None:
        self._started += 1
        task = f"{self._task}-w{self._started:02d}"
        self._logs.mkdir(parents=True, exist_ok=True)
        log = (self._logs / f"{task}.log").open("wb")
        argv = [*worker_argv(self._study.path, task, self._command), *self._options]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=self._environment,
            pass_fds=() if self._lock is None else (self._lock,),
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process, task, log)
        self._workers[process.stdout.fileno()] = worker
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def _hear(
        self,
        worker: _Worker,
        groups: deque[list[Unit]],
        listener: Listener,
    ) -> None:
        assert worker.process.stdout is not None
        data = worker.process.stdout.read()
        if data == b"":
            self._bury(worker, groups, listener)
            return
        *lines, worker.buffer = (worker.buffer + (data or b"")).split(b"\n")
        for line in lines:
            self._answer(worker, orjson.loads(line), listener)

    def _answer(self, worker: _Worker, said: dict[str, Any], listener: Listener) -> None:
        if "fatal" in said:
            kind = getattr(errors, said["type"], ExecutorError)
            raise kind(said["fatal"], **said["parts"])
        if "ready" in said:
            worker.ready = True
            return
        unit = worker.pending.popleft()
        message = said.get("error", {}).get("message", "")
        listener(Event(unit, said["state"], said["seconds"], message))

    def _bury(self, worker: _Worker, groups: deque[list[Unit]], listener: Listener) -> None:
        code = worker.process.wait()
        self._forget(worker)
        if self._deadline is not None:  # it was told to end, and so may leave units behind
            return
        if not worker.ready:
            raise ExecutorError(
                "a worker process could not start",
                got=_tail(Path(worker.log.name)),
                remedy=f"read {worker.log.name}",
            )
        if not worker.pending:
            return
        culprit = worker.pending.popleft()
        error = _death(code, Path(worker.log.name))
        with LedgerFile(self._study.ledger.folder, f"{worker.task}-died", {}) as ledger:
            ledger.append(failed(culprit, error, 0.0))
        listener(Event(culprit, "failed", 0.0, error["message"]))
        if worker.pending:
            groups.appendleft(list(worker.pending))

    def _forget(self, worker: _Worker) -> None:
        stdout = worker.process.stdout
        assert stdout is not None
        if self._workers.pop(stdout.fileno(), None) is not None:
            self._selector.unregister(stdout)
        for stream in (stdout, worker.process.stdin, worker.log):
            if stream is not None:
                stream.close()


def worker_argv(study: Path, task: str, command: Sequence[str] = ()) -> list[str]:
    """Command line of a worker; ``-P`` keeps the working directory off the import path."""
    enter = command or (sys.executable,)
    return [*enter, "-P", "-m", "hpc.worker", str(study), "--task", task]


def cores() -> int:
    """Processors that this process may use: its share of the node, inside a job."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    if given:
        return int(given)
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_environment(workers: int) -> dict[str, str]:
    """Environment of a worker: its share of the processors, no folder that shadows packages."""
    share = str(max(1, cores() // workers))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, share), "PYTHONSAFEPATH": "1"}


def _by_subject(units: Iterable[Unit], workers: int) -> Iterable[list[Unit]]:
    """Groups that share what a worker keeps at hand: all of a subject, or of a timepoint when
    there are too few subjects to keep every worker busy."""
    listed = sorted(units, key=lambda unit: unit[:5])
    subjects = len({unit.subject for unit in listed})
    few = subjects < 2 * workers
    for _, group in groupby(
        listed, key=lambda u: (u.engine, u.subject, u.timepoint if few else "")
    ):
        yield list(group)


def _death(code: int, log: Path) -> dict[str, str]:
    killed = code < 0 and -code in (signal.SIGKILL, signal.SIGABRT)
    name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    cause = "out of memory" if killed else "worker died"
    hint = " (the system kills what uses too much memory: try fewer --workers)" if killed else ""
    message = f"the worker process ended with {name}{hint}"
    return {"type": "WorkerDied", "message": message, "cause": cause, "traceback": _tail(log)}


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
