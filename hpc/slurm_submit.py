"""How does a run get into SLURM? Writes the plan and its scripts, then submits them all.

Everything a run needs lies in its folder; submitting is one ``sbatch`` an array, done by the
``submit.sh`` that a person could also type.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hpc import container
from hpc.arrays import Group, divide
from hpc.plan_file import write_plan
from hpc.profiles import Profile
from hpc.provenance import study_digest
from hpc.resources import memory_mib, time_s
from hpc.run_folder import ArrayFacts, RunFacts, RunFolder, child_id
from hpc.slurm_script import Batch, render, render_submit
from lamstore.errors import ExecutorError
from lamstore.units import Unit

FINISH = "finish"
"""Script of the last job: cohort, report, and resubmission of what was lost."""


def write_run(
    run: RunFolder,
    facts: RunFacts,
    groups: Sequence[Group],
    profile: Profile,
    *,
    needs: Callable[[Unit], Iterable[str]],
    mean_s: Mapping[str, float],
    max_array_size: int,
) -> RunFolder:
    """Write plan and scripts of a run; submits nothing.

    Parameters
    ----------
    facts : RunFacts
        Without its arrays.
    groups : sequence of Group
        In the order of the waves; empty when only cohort and report are left.
    needs : callable
        Keys of the units whose outputs a unit reads.
    mean_s : mapping of job to measured seconds of a unit
    """
    division = divide(groups, profile, mean_s, max_array_size)
    facts = facts.model_copy(update={"arrays": division.arrays})
    run.begin(facts)
    write_plan(run.plan, [unit for group in groups for unit in group.units], needs)
    for name, array in division.arrays.items():
        _put(run, name, _array_script(run, facts, name, array, profile))
    _put(run, FINISH, _finish_script(run, facts, profile))
    chain = [(name, division.after[name]) for name in division.arrays]
    text = render_submit(
        str(run.path), _title(run, "all arrays"), [*chain, (FINISH, division.last)]
    )
    (run.path / "submit.sh").write_text(text)
    return run


def submit(run: RunFolder) -> list[str]:
    """Submit all scripts of a run; the caller holds the study's lock.

    Returns
    -------
    list of str
        Ids of the jobs.

    Raises
    ------
    ExecutorError
        When SLURM refuses; then nothing of the run stays in the queue.
    """
    run.claim()
    try:
        done = subprocess.run(
            ["bash", str(run.path / "submit.sh")], capture_output=True, text=True, check=False
        )
    except OSError as error:
        run.end("could not be submitted")
        raise ExecutorError("bash cannot be started", got=str(error)) from error
    if done.returncode:
        run.end("could not be submitted")
        raise ExecutorError(
            "SLURM did not take the run; nothing of it stays in the queue",
            got=done.stderr.strip(),
            remedy="correct the cluster profile; `lam doctor` shows what this site has",
        )
    return list(run.jobs())


def new_facts(
    run: RunFolder, profile: Profile, executor: Literal["local", "slurm", "dask"]
) -> RunFacts:
    """Facts of a run that begins now."""
    image = profile.container
    return RunFacts(
        id=run.id,
        executor=executor,
        created=time.time(),
        command=tuple(sys.argv),
        cwd=str(Path.cwd()),
        host=socket.gethostname(),
        pid=os.getpid(),
        study_digest=study_digest(run.study),
        profile=profile.model_dump(mode="json", exclude_unset=True),
        container_digest=container.image_digest(image) if image else None,
    )


def wave_group(wave: str, units: Sequence[Unit], profile: Profile) -> Group:
    """Units of a wave, with the profile's resources; sorted so that neighbours share a cache."""
    asked = profile.of(wave)
    ordered = sorted(
        units, key=lambda unit: (unit.engine, unit.subject, unit.timepoint, unit.shift)
    )
    return Group(wave, ordered, memory_mib(asked.memory), time_s(asked.time))


def _array_script(
    run: RunFolder, facts: RunFacts, name: str, array: ArrayFacts, profile: Profile
) -> str:
    units = array.end - array.begin
    batch = Batch(
        title=_title(run, f"{array.wave}: {units} units, {array.per_task} a task"),
        module="hpc.task",
        tasks=array.tasks,
        throttle=profile.throttle,
        begin=array.begin,
        per_task=array.per_task,
        end=array.end,
        memory_mib=array.memory_mib,
        time_s=array.time_s,
        lead_s=array.lead_s,
        **_common(run, name, array.wave, facts, profile),
    )
    return render(batch, profile, profile.of(array.wave))


def _finish_script(run: RunFolder, facts: RunFacts, profile: Profile) -> str:
    asked = profile.of(FINISH)
    limit_s = time_s(asked.time)
    child = RunFolder(run.study, child_id(run)).path / "submit.sh"
    batch = Batch(
        title=_title(run, "cohort metrics, tables, report"),
        module="hpc.finish",
        memory_mib=memory_mib(asked.memory),
        time_s=limit_s,
        lead_s=min(profile.stop_before_s, limit_s // 3),
        next_submit=str(child) if facts.retries else "",
        **_common(run, FINISH, FINISH, facts, profile),
    )
    return render(batch, profile, asked)


def _common(
    run: RunFolder, script: str, job: str, facts: RunFacts, profile: Profile
) -> dict[str, Any]:
    gpu, digest = profile.of(job).gpu, facts.container_digest or ""
    entry = container.entry(profile, run.study, gpu=gpu, digest=digest)
    return {
        "name": f"lam-{job}-{run.study.path.name}",
        "study": str(run.study.path),
        "run": run.id,
        "script": script,
        "log": str(run.logs / script),
        "cwd": facts.cwd,
        "python": interpreter(profile),
        "container": entry.words if entry else (),
        "exports": tuple(entry.exports()) if entry else (),
    }


def interpreter(profile: Profile) -> str:
    """Which Python a task runs."""
    return profile.python or ("python" if profile.container else sys.executable)


def _title(run: RunFolder, what: str) -> str:
    return f"lamstore run {run.id} of {shlex.quote(str(run.study.path))}: {what}".replace("\n", " ")


def _put(run: RunFolder, name: str, text: str) -> None:
    (run.path / f"{name}.sbatch").write_text(text)


__all__ = ["FINISH", "new_facts", "submit", "wave_group", "write_run"]
