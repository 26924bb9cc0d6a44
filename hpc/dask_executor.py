"""How do units run on dask? Batches as tasks of dask-jobqueue's workers, watched on the dashboard.

A fixed number of workers is one SLURM array, each worker named by its index; adaptive workers are
jobs of their own. A worker does one unit at a time. What a death leaves undone is begun again
elsewhere (`hpc.attempt`).
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import dask
from distributed import Client
from rich.console import Console

from hpc.arrays import GUESSED_S
from hpc.attempt import settled
from hpc.dask_cluster import make_cluster, pooled
from hpc.dask_worker import Answer, Asked, do_batch, known_answer
from hpc.follow import Follower
from hpc.local import Event, Listener
from hpc.profiles import Profile
from hpc.run_folder import RunFolder
from hpc.slurm import in_queue
from lamstore.config import digest
from lamstore.errors import DiskFullError, ExecutorError
from lamstore.ledger import Entry, LedgerFile, failed
from lamstore.units import Unit, parse_key

BATCH_S = 20.0
"""How long a batch should take: long against dask's overhead, short against a worker's life."""

LEAVE_S = 60.0
"""How long the workers' jobs may take to leave the queue at the end."""

LOOK_S = 15.0
"""How often missing fixed workers are looked for."""

FETCH_S = 10.0
"""How long an answer may take to arrive before it is taken for lost with its worker."""

CONFIG = {
    # Which unit kills workers is found by hpc.attempt, so a batch may be begun often.
    "distributed.scheduler.allowed-failures": 100_000,
    "distributed.scheduler.work-stealing": True,
}


class DaskExecutor:
    """Runs units on dask workers.

    Parameters
    ----------
    run : RunFolder
    profile : Profile
    workers : int or None
        Fixed number.
    adapt : tuple of int or None
        Least and largest number; wins over `workers`.
    console : Console
        Where the dashboard's address is said.
    """

    def __init__(
        self,
        run: RunFolder,
        profile: Profile,
        workers: int | None,
        adapt: tuple[int, int] | None,
        console: Console,
    ) -> None:
        self._run, self._profile = run, profile
        self._adapt, self._workers = adapt, workers or 2
        self._slots = adapt[1] if adapt else self._workers
        self._ledger = Follower(run.study.ledger.folder)
        self._resources = pooled(profile)
        self._looked = time.monotonic()
        run.claim()
        with dask.config.set(CONFIG):
            self._cluster = make_cluster(run, profile, 0 if adapt else self._workers)
        self.client: Any = Client(self._cluster)  # type: ignore[no-untyped-call]
        if adapt:
            self._cluster.adapt(minimum_jobs=adapt[0], maximum_jobs=adapt[1])
        else:
            self._cluster.scale(jobs=1)
        console.print(f"dashboard: [cyan]{self._cluster.dashboard_link}[/cyan]", soft_wrap=True)

    def run(self, units: Iterable[Unit], words: Mapping[str, Entry], listener: Listener) -> None:
        """Do all units; returns when each is done or failed.

        Raises
        ------
        ExecutorError
            When the run is cancelled, or a batch fails as a whole.
        DiskFullError
        """
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        batches = self._batches(list(units), words)
        futures = self._submit(batches)
        for future in futures:
            future.add_done_callback(ended.put)
        left = len(futures)
        while left:
            try:
                future = ended.get(timeout=1.0)
            except queue.Empty:
                self._look_around()
                continue
            left -= 1
            answers = self._answers(future, batches[future.key])
            future.release()  # or dask does it again for its answer should its worker die later
            for answer in answers:
                unit = parse_key(answer["unit"])
                event = Event(unit, answer["state"], answer["seconds"], answer["message"])
                listener(event)

    def close(self) -> None:
        """End the workers and make sure that they are gone."""
        with contextlib.suppress(Exception):  # a broken connection must not keep jobs alive
            self.client.close()
        self._cluster.close()
        jobs, give_up = list(self._run.jobs()), time.monotonic() + LEAVE_S
        while in_queue(jobs) and time.monotonic() < give_up:
            time.sleep(0.5)
        if not in_queue(jobs):
            self._run.end("cancelled" if self._run.cancelled else "finished")

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batches(self, units: list[Unit], words: Mapping[str, Entry]) -> dict[str, list[Any]]:
        """What each task is asked for, by its name."""
        self._ledger.refresh()
        size = self._batch_size(units[0].job, len(units)) if units else 1
        return {
            batch_name(batch): [_asked(unit, words.get(unit.key)) for unit in batch]
            for batch in cut(units, size)
        }

    def _batch_size(self, job: str, count: int) -> int:
        mean_s = self._ledger.mean_s(job) or GUESSED_S.get(job, BATCH_S)
        spread = -(-count // (4 * max(1, self._slots)))
        return max(1, min(int(BATCH_S / mean_s) or 1, spread))

    def _submit(self, batches: Mapping[str, list[Any]]) -> list[Any]:
        names = list(batches)
        gpu = any(name.startswith("infer") for name in names) and self._resources.gpu
        found: list[Any] = self.client.map(
            do_batch,
            [str(self._run.study.path)] * len(names),
            [self._run.id] * len(names),
            names,
            list(batches.values()),
            key=names,
            pure=False,
            resources={"GPU": 1} if gpu else None,
        )
        return found

    def _answers(self, future: Any, asked: Sequence[Any]) -> list[Answer]:
        """What became of each unit of a batch that has ended."""
        if future.status == "finished":
            with contextlib.suppress(TimeoutError):
                return list(future.result(timeout=FETCH_S))
        if future.status != "error":
            return self._answers_kept(future.key, asked)
        error = future.exception()
        if isinstance(error, DiskFullError | ExecutorError):
            raise error
        return self._record(future.key, asked, error)

    def _answers_kept(self, batch: str, asked: Sequence[Any]) -> list[Answer]:
        """Answers of a batch that was done by a worker that died before it could hand them over.

        dask would have another worker begin the batch again, for the answer alone; the ledger has
        it.
        """
        words = settled(self._run, batch)
        missing = [key for key, *_ in asked if key not in words]
        if missing:
            raise ExecutorError(
                f"dask gave up batch {batch}",
                got=f"no word in the ledger on {len(missing)} of {len(asked)} units: {missing[0]}",
                remedy="lam run again: it does what is left",
            )
        return [known_answer(key, words[key]) for key, *_ in asked]

    def _record(self, batch: str, asked: Sequence[Any], error: BaseException) -> list[Answer]:
        """A batch that failed as a whole: what has no word in the ledger is recorded as failed."""
        self._ledger.refresh()
        cause = {"type": type(error).__name__, "message": str(error), "cause": "worker died"}
        answers = []
        with LedgerFile(
            self._run.study.ledger.folder, f"{self._run.id}-{batch}-lost", {}
        ) as ledger:
            for key, fingerprint, _, after in asked:
                word = self._ledger.words.get(key)
                if word is None or word.finished < self._run.facts.created:
                    lost = failed(parse_key(key, fingerprint), cause | {"traceback": ""}, 0.0)
                    ledger.append(lost, after)
                    state = "failed"
                else:
                    state = word.state
                said = str(error) if state == "failed" else ""
                answers.append({"unit": key, "state": state, "seconds": 0.0, "message": said})
        return answers

    def _look_around(self) -> None:
        """Obey `lam cancel`; begin another array when all fixed workers have had their time."""
        if self._run.cancelled:
            raise ExecutorError(f"run {self._run.id} was cancelled; what is done stays done")
        if self._adapt or time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        if not self._cluster.scheduler_info["workers"] and not in_queue(list(self._run.jobs())):
            self._cluster.scale(jobs=0)
            # The next job takes the name of the last: dask begins it only when that is forgotten.
            give_up = time.monotonic() + LEAVE_S
            while self._cluster.workers and time.monotonic() < give_up:
                time.sleep(0.1)
            self._cluster.scale(jobs=1)


def _asked(unit: Unit, word: Entry | None) -> Asked:
    done, after = (word.state == "done", word.finished) if word else (False, 0.0)
    return unit.key, unit.fingerprint, done, after


def cut(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    """Batches of about `size` units; those of a subject stay together where that is possible."""
    ordered = sorted(units, key=lambda unit: unit[:5])
    batches: list[list[Unit]] = []
    for _, group in groupby(ordered, key=lambda unit: (unit.engine, unit.subject)):
        members = list(group)
        if batches and len(batches[-1]) + len(members) <= size:
            batches[-1] += members
            continue
        batches += [members[at : at + size] for at in range(0, len(members), size)]
    return batches


def batch_name(units: Sequence[Unit]) -> str:
    """Name of a task on the dashboard: ``infer-patient01-t1-gamma-1-…``.

    dask groups tasks by the words before the first that is not made of letters; the number after
    the job makes that the job's name, whatever a subject is called.
    """
    first = units[0]
    named = (first.subject or first.engine or "all", first.timepoint, first.shift)
    what = "-".join(part for part in named if part)
    more = f"+{len(units) - 1}" if len(units) > 1 else ""
    unique = digest([unit.key + unit.fingerprint for unit in units])[:10]
    return f"{first.job}-{len(units)}-{what}{more}-{unique}"
