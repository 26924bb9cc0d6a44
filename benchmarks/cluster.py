"""What does a unit cost beside its work, on a real SLURM cluster, and what does looking cost?

The cluster is that of the tests: two nodes of one processor on this machine. Peers run in the same
minutes on the same cluster. ``python -m benchmarks cluster`` prints these rows alone.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cohort import SUBJECTS, _manifest, _write_ledger
from benchmarks.timing import Row, seconds
from hpc import kept
from hpc.follow import Follower
from hpc.plan import EngineFacts, needs_of, suite, wanted_units
from hpc.profiles import Profile
from hpc.run import Plan
from hpc.run_folder import RunFolder
from hpc.slurm import site
from hpc.slurm_submit import submit
from jobs.datasets.manifest import Manifest
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.study import Study, create_study
from tests.cluster.slurm import Cluster, why_not
from tests.executors.idle import idle_run, idle_study, idle_units, python_path

UNITS = 2000
SLOTS = 2
PEER_TASKS = 30
"""Of submitit's, each a job of its own in an array: so many show what one costs."""

PROFILE = Profile(partition="main", cores=1, memory="900M", time="01:00:00")


def rows(work: Path) -> Iterator[Row]:
    """Every row that needs a cluster; none, with the reason said, where there can be none."""
    reason = why_not()
    if reason is not None:
        print(f"left out, the cluster's rows: {reason}", file=sys.stderr)
        return
    # The path of a socket ends at 107 characters, so not below `work`.
    with (
        tempfile.TemporaryDirectory(prefix="lamc") as root,
        Cluster(Path(root), nodes=SLOTS, cpus=1) as cluster,
        _environment(SLURM_CONF=cluster.env["SLURM_CONF"], PYTHONPATH=python_path()),
    ):
        yield _arrays(work, cluster)
        yield _dask(work)
        yield _submission(work, cluster)
    yield _status(work)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _arrays(work: Path, cluster: Cluster) -> Row:
    """Units of an array against submitit's, from submission to the last result."""
    study, units = idle_study(work / "arrays"), idle_units(UNITS)
    profile = PROFILE.model_copy(update={"units_per_task": UNITS // SLOTS})
    run = idle_run(study, units, profile, site().max_array_size)
    ours_s = seconds(lambda: _until_done(run, UNITS)) / UNITS
    cluster.wait_until("queue empty", lambda: not cluster.run("squeue", "-h").strip(), 120)
    theirs_s = _submitit(work / "submitit") / PEER_TASKS
    return Row(
        f"a unit that does nothing, {UNITS:,} on two slots, submission to last record",
        f"{ours_s * 1e3:.1f} ms", f"submitit `map_array`, {PEER_TASKS} tasks",
        f"{theirs_s * 1e3:.0f} ms", f"1/{theirs_s / ours_s:.0f}", "≤ 1/50",
    )  # fmt: skip


def _until_done(run: RunFolder, count: int) -> None:
    submit(run)
    ledger = Follower(run.study.ledger.folder)
    while ledger.seconds.get("nothing", (0, 0.0))[0] < count:
        time.sleep(0.02)
        ledger.refresh()


def _submitit(folder: Path) -> float:
    import submitit

    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(
        partition="main", time=10, mem="900MB", cpus_per_task=1, array_parallelism=SLOTS
    )
    begun = time.perf_counter()
    jobs = executor.map_array(abs, range(PEER_TASKS))
    while not all(job.paths.result_pickle.exists() for job in jobs):
        time.sleep(0.02)
    return time.perf_counter() - begun


def _dask(work: Path) -> Row:
    """Units through `DaskExecutor` and bare tasks, in turn, on the same workers."""
    from rich.console import Console

    from hpc.dask_executor import DaskExecutor
    from hpc.run import new_run_id
    from hpc.slurm_submit import new_facts

    study = idle_study(work / "dask")
    profile = Profile.model_validate(
        PROFILE.model_dump(exclude_unset=True) | {"dask": {"interface": "lo", "dashboard_port": 0}}
    )
    run = RunFolder(study, new_run_id())
    run.begin(new_facts(run, profile, "dask"))
    with DaskExecutor(run, profile, SLOTS, None, Console(stderr=True)) as executor:
        client = executor.client
        client.wait_for_workers(SLOTS, timeout=120)
        tags = iter("abcdefghij")

        def ours() -> None:
            executor.run(idle_units(UNITS, next(tags)), {}, lambda event: None)

        def theirs() -> None:
            client.gather(client.map(abs, range(UNITS), pure=False))

        mine, other, ratio = _in_turn(ours, theirs, rounds=5)
    return Row(
        f"the same through dask, {UNITS:,} units on two workers", f"{mine / UNITS * 1e3:.2f} ms",
        "bare `Client.map` on the same SLURMCluster", f"{other / UNITS * 1e3:.2f} ms",
        f"{ratio:.2f} ×", "≤ 1.3 ×",
    )  # fmt: skip


def _in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Medians of each, and of ours/theirs round by round; the first round warms up."""
    found = [(seconds(ours), seconds(theirs)) for _ in range(rounds + 1)][1:]
    ratio = statistics.median(mine / other for mine, other in found)
    return statistics.median(m for m, _ in found), statistics.median(o for _, o in found), ratio


def _submission(work: Path, cluster: Cluster) -> Row:
    """Plan on disk, scripts and jobs in the queue of 100,000 units."""
    study, units = idle_study(work / "many"), idle_units(100_000)
    made: list[Any] = []

    def ours() -> None:
        run = idle_run(study, units, PROFILE, site().max_array_size)
        made.append((run, submit(run)))

    elapsed = seconds(ours)
    run, jobs = made[0]
    cluster.run("scancel", *jobs)
    arrays, files = len(run.facts.arrays), len(list(run.path.glob("*.sbatch")))
    assert files == arrays + 1  # the last job's
    return Row(
        f"write, render and submit 100,000 units: {arrays} arrays, a file each",
        f"{elapsed:.2f} s", "", "", "", "≤ 10 s",
    )  # fmt: skip


def _status(work: Path) -> Row:
    """`lam status`, typed, of an idle study of 180,000 units, 99 % done."""
    config = StudyConfig(dataset=DatasetConfig(adapter="open-ms", root=work))
    study: Study = create_study(work / "status", render_config(config))
    entries = _manifest().entries
    manifest = Manifest({subject: entries[subject] for subject in SUBJECTS[:9000]})
    shifts = tuple(shift.label for shift in suite(config))
    engines = (EngineFacts("flair-zscore", "digest", shifts),)
    plan = Plan(study, manifest, engines, wanted_units(config, manifest, engines))
    kept.keep(study, plan.facts, list(plan.wanted), needs_of(manifest))
    _write_ledger(study.ledger.folder, plan.wanted)
    lam = [str(Path(sys.executable).with_name("lam")), "status", str(study.path)]
    before = _processor_s()
    took = statistics.median(
        seconds(lambda: subprocess.run(lam, check=True, capture_output=True)) for _ in range(5)
    )
    used = (_processor_s() - before) / 5
    return Row(
        f"`lam status` of {len(plan.wanted):,} units", f"{took:.2f} s, {used:.2f} s of processor",
        "", "", "", "≤ 2 s",
    )  # fmt: skip


def _processor_s() -> float:
    """What processes that this one waited for have used: on a busy machine the truer time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
