"""What is dask-jobqueue told? The same profile as SLURM arrays, for workers instead of tasks."""

from __future__ import annotations

import re
import shlex
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob

from hpc.container import entry
from hpc.dask_worker import LOG
from hpc.profiles import Profile, Resources
from hpc.resources import memory_mib, show_memory, show_time, time_s
from hpc.run_folder import RunFolder
from hpc.slurm_script import directives, sbatch_quote, shell_word
from hpc.slurm_submit import interpreter

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
