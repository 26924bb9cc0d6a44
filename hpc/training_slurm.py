"""How does a sweep get into SLURM? One array of all its runs, and a last job for the tables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hpc import container
from hpc.profiles import Profile
from hpc.resources import memory_mib, time_s
from hpc.slurm_script import Batch, render, render_submit
from hpc.slurm_submit import interpreter
from hpc.training_sweep import SweepRun
from lamstore.errors import ExecutorError
from lamstore.study import Study

ARRAY, TABLES = "train", "tables"


def write_scripts(folder: Path, runs: Sequence[SweepRun], profile: Profile) -> Path:
    """Render the array, the last job and ``submit.sh`` of a sweep into its folder.

    Returns
    -------
    Path
        The script that submits both.
    """
    slurm = folder / "slurm"
    (slurm / "jobs").mkdir(parents=True, exist_ok=True)
    for name, tasks in ((ARRAY, len(runs)), (TABLES, None)):
        batch = _batch(folder, runs, profile, name, tasks)
        text = render(batch, profile, profile.of("train"))
        (slurm / f"{name}.sbatch").write_text(text, encoding="utf-8")
    path = slurm / "submit.sh"
    title = f"lamstore sweep {folder.name}: {len(runs)} trainings"
    path.write_text(render_submit(str(slurm), title, [(ARRAY, ()), (TABLES, (ARRAY,))]))
    return path


def _batch(
    folder: Path, runs: Sequence[SweepRun], profile: Profile, name: str, tasks: int | None
) -> Batch:
    asked = profile.of("train")
    limit_s = time_s(asked.time)
    study = Study.at(runs[0].config.study)
    seen = profile.model_copy(update={"binds": (*profile.binds, *_binds(folder, runs))})
    digest = container.image_digest(profile.container) if profile.container else ""
    entry = container.entry(seen, study, gpu=asked.gpu, digest=digest)
    return Batch(
        title=f"lamstore sweep {folder}: {name}".replace("\n", " "),
        name=f"lam-{name}-{folder.name}",
        module="hpc.training_task",
        study=str(folder),
        run=folder.name,
        script=name,
        log=str(folder / "slurm" / name),
        cwd=str(Path.cwd()),
        python=interpreter(profile),
        memory_mib=memory_mib(asked.memory),
        time_s=limit_s,
        lead_s=min(profile.stop_before_s, limit_s // 3),
        container=entry.words if entry else (),
        exports=tuple(entry.exports()) if entry else (),
        tasks=tasks,
        throttle=profile.throttle if tasks is not None else None,
        per_task=1,
        end=tasks or 0,
    )


def _binds(folder: Path, runs: Sequence[SweepRun]) -> list[str]:
    """The sweep's own folder, and where lesion masks lie."""
    bound = ["--bind", str(folder)]
    augment = runs[0].config.augment
    graft = augment.transplant if augment else None
    for pattern in graft.masks if graft else ():
        fixed = pattern.split("*")[0].split("?")[0].split("[")[0]
        home = Path(fixed) if fixed.endswith(os.sep) else Path(fixed).parent
        bound += ["--bind", str(home)]
    return bound


def submit(script: Path) -> list[str]:
    """Submit a sweep; gives the ids of its jobs.

    Raises
    ------
    ExecutorError
        When SLURM refuses; then nothing of the sweep stays in the queue.
    """
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExecutorError(
            "SLURM did not take the sweep; nothing of it stays in the queue",
            got=done.stderr.strip(),
            remedy="correct the cluster profile; `lam doctor` shows what this site has",
        )
    return sorted(path.name for path in (script.parent / "jobs").iterdir())
