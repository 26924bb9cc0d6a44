"""How do units run on dask? Batches as tasks of dask-jobqueue's workers, watched on the dashboard.

A fixed number of workers is one SLURM array, each worker named by its index; adaptive workers are
jobs of their own. A worker does one unit at a time. What a death leaves undone is begun again
elsewhere (`hpc.attempt`).
"""

from __future__ import annotations

import contextlib
import queue
import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client
from rich.console import Console

from hpc.arrays import GUESSED_S
from hpc.container import entry
from hpc.dask_worker import LOG, do_batch
from hpc.follow import Follower
from hpc.local import Event, Listener
from hpc.profiles import Profile, Resources
from hpc.resources import memory_mib, show_memory, show_time, time_s
from hpc.run_folder import RunFolder
from hpc.slurm import in_queue
from hpc.slurm_script import directives, sbatch_quote, shell_word
from hpc.slurm_submit import interpreter
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

CONFIG = {
    # Which unit kills workers is found by hpc.attempt, so a batch may be begun often.
    "distributed.scheduler.allowed-failures": 100_000,
    "distributed.scheduler.work-stealing": True,
}

WORKER_CONFIG = {
    # Workers hold no dask data; what they keep at hand must not make dask pause them for good.
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
}


class WorkerJob(SLURMJob):
    """A job of dask-jobqueue that keeps its id in the run's folder.

    Parameters
    ----------
    run : RunFolder
    indexed : bool
        Whether the job is an array: workers take the array index into their names.
    """

    def __init__(
        self,
        scheduler: Any = None,
        name: Any = None,
        run: RunFolder | None = None,
        indexed: bool = False,
        **options: Any,
    ) -> None:
        shown = f"{name}-$SLURM_ARRAY_TASK_ID" if indexed else name
        super().__init__(scheduler, shown, **options)  # type: ignore[no-untyped-call]
        self._run = run

    async def start(self) -> None:
        """Submit the job."""
        await super().start()  # type: ignore[no-untyped-call]
        if self._run is not None:
            self._run.register(str(self.job_id), "dask")


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
        self._client: Any = Client(self._cluster)  # type: ignore[no-untyped-call]
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
            for answer in self._answers(future, batches[future.key]):
                unit = parse_key(answer["unit"])
                event = Event(unit, answer["state"], answer["seconds"], answer["message"])
                listener(event)

    def close(self) -> None:
        """End the workers and make sure that they are gone."""
        with contextlib.suppress(Exception):  # a broken connection must not keep jobs alive
            self._client.close()
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
        done = {key for key, word in words.items() if word.state == "done"}
        size = self._batch_size(units[0].job, len(units)) if units else 1
        return {
            batch_name(batch): [(u.key, u.fingerprint, u.key in done) for u in batch]
            for batch in cut(units, size)
        }

    def _batch_size(self, job: str, count: int) -> int:
        mean_s = self._ledger.mean_s(job) or GUESSED_S.get(job, BATCH_S)
        spread = -(-count // (4 * max(1, self._slots)))
        return max(1, min(int(BATCH_S / mean_s) or 1, spread))

    def _submit(self, batches: Mapping[str, list[Any]]) -> list[Any]:
        names = list(batches)
        gpu = any(name.startswith("infer") for name in names) and self._resources.gpu
        found: list[Any] = self._client.map(
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

    def _answers(self, future: Any, asked: Sequence[Any]) -> list[dict[str, Any]]:
        if future.status == "finished":
            return list(future.result())
        error = future.exception() if future.status == "error" else None
        if isinstance(error, DiskFullError | ExecutorError):
            raise error
        if error is None:
            raise ExecutorError(f"dask gave up batch {future.key} ({future.status})")
        return self._record(future.key, asked, error)

    def _record(
        self, batch: str, asked: Sequence[Any], error: BaseException
    ) -> list[dict[str, Any]]:
        """A batch that failed as a whole: what has no word in the ledger is recorded as failed."""
        self._ledger.refresh()
        cause = {"type": type(error).__name__, "message": str(error), "cause": "worker died"}
        answers = []
        with LedgerFile(
            self._run.study.ledger.folder, f"{self._run.id}-{batch}-lost", {}
        ) as ledger:
            for key, fingerprint, _ in asked:
                word = self._ledger.words.get(key)
                if word is None or word.finished < self._run.facts.created:
                    ledger.append(
                        failed(parse_key(key, fingerprint), cause | {"traceback": ""}, 0.0)
                    )
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
            self._cluster.scale(jobs=1)


def pooled(profile: Profile) -> Resources:
    """What a worker asks for: inference's resources, and the memory of the job that needs most.

    One pool serves all waves.
    """
    jobs = ("ingest", "infer", "compare", "finish")
    most = max((profile.of(job).memory for job in jobs), key=memory_mib)
    return profile.of("infer").model_copy(update={"memory": most})


def make_cluster(run: RunFolder, profile: Profile, array: int) -> Any:
    """dask-jobqueue's cluster for a run; no worker yet.

    Parameters
    ----------
    array : int
        So many workers make one array job; 0 makes each worker a job.
    """
    resources = pooled(profile)
    mib, limit_s = memory_mib(resources.memory), time_s(resources.time)
    settings = profile.dask
    tag = "%A_%a" if array else "%j"
    options = [
        *_beyond_jobqueue(resources, mib, limit_s),
        f"--comment=lamstore:{run.id}",
        f"--output={sbatch_quote(str(run.logs / 'dask').replace('%', '%%') + f'-{tag}.log')}",
        "--open-mode=append",
        *([f"--array=0-{array - 1}"] if array else []),
    ]
    margin_s = min(time_s(settings.lifetime_margin), limit_s // 4)
    lifetime = ["--lifetime", f"{limit_s - 2 * margin_s}s", "--lifetime-stagger", f"{margin_s}s"]
    python, exports = _python(run, profile, resources)
    run.logs.mkdir(parents=True, exist_ok=True)
    cluster = SLURMCluster(
        name="lam",
        job_cls=WorkerJob,  # type: ignore[arg-type]
        run=run,
        indexed=bool(array),
        job_name=re.sub(r"[^\w.-]", "_", f"lam-dask-{run.study.path.name}"),
        queue=resources.partition,
        account=resources.account,
        walltime=show_time(limit_s),
        cores=1,
        processes=1,
        job_cpu=resources.cores,
        job_mem=show_memory(mib),
        memory=f"{int(mib * (1 - settings.memory_headroom))}MiB",
        python=python,
        interface=settings.interface,
        death_timeout=time_s(settings.death_timeout),
        local_directory='"$scratch"',
        job_extra_directives=options,
        job_script_prologue=_prologue(run, profile, resources, exports, indexed=bool(array)),
        worker_extra_args=[*lifetime, *(["--resources", "GPU=1"] if resources.gpu else [])],
        log_directory=None,
        silence_logs="error",
        scheduler_options={"dashboard_address": f":{settings.dashboard_port}"},
    )
    if array:
        cluster.new_spec["group"] = [f"-{index}" for index in range(array)]
    return cluster


def _beyond_jobqueue(resources: Resources, mib: int, limit_s: int) -> list[str]:
    """What dask-jobqueue itself does not ask for."""
    own = ("--partition", "--account", "--ntasks", "--cpus-per-task", "--mem", "--time")
    asked = directives(resources, mib, limit_s)
    extra = list(resources.extra_directives)
    base = asked[: len(asked) - len(extra)]
    return [option for option in base if option.split("=")[0] not in own] + extra


def _python(run: RunFolder, profile: Profile, resources: Resources) -> tuple[str, list[str]]:
    """Command that starts Python in a job, and the shell lines that it relies on."""
    digest_ = run.facts.container_digest or ""
    how = entry(profile, run.study, gpu=resources.gpu, digest=digest_)
    python = f"{shlex.quote(interpreter(profile))} -P"
    if how is None:
        return python, []
    words = [shell_word(word) for word in how.words]
    return " ".join([*words, python]), how.exports()


def _prologue(
    run: RunFolder, profile: Profile, resources: Resources, exports: list[str], *, indexed: bool
) -> list[str]:
    log = run.logs / "dask"
    tag = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" if indexed else "$SLURM_JOB_ID"
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    nanny: dict[str, object] = {
        f"DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON__{t}": resources.cores for t in threads
    }
    variables: dict[str, object] = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    variables |= {**WORKER_CONFIG, **nanny}
    lines = [f"module load {shlex.quote(name)}" for name in profile.modules]
    lines += list(profile.prologue)
    inside = "APPTAINERENV_" if profile.container else ""
    lines += [f"export {inside}{name}={value}" for name, value in variables.items()]
    lines.append(f"export {inside}{LOG}={shlex.quote(str(log))}-{tag}.log")
    return [
        *lines,
        'scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/lam-XXXXXXXX")',
        "trap 'rm -rf \"$scratch\"' EXIT",
        *exports,
    ]


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
