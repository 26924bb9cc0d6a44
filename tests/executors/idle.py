"""How does one run units that do nothing? A study without a cohort, and the job ``nothing``."""

from __future__ import annotations

import os
from pathlib import Path

from hpc.arrays import Group
from hpc.profiles import Profile
from hpc.run import new_run_id
from hpc.run_folder import RunFolder
from hpc.slurm_submit import new_facts, write_run
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.study import Study, create_study
from lamstore.units import Unit

PLUGIN = Path(__file__).with_name("nothing")


def python_path() -> str:
    """PYTHONPATH under which every Python knows the job ``nothing``."""
    return os.pathsep.join(filter(None, (str(PLUGIN), os.environ.get("PYTHONPATH", ""))))


def idle_study(path: Path) -> Study:
    """A study of an empty cohort."""
    root = path / "cohort"
    (root / "longitudinal" / "coregistered").mkdir(parents=True)
    config = StudyConfig(dataset=DatasetConfig(adapter="open-ms", root=root))
    return create_study(path / "study", render_config(config))


def idle_units(count: int, tag: str = "s") -> list[Unit]:
    """Units that do nothing."""
    return [Unit("nothing", subject=f"{tag}{n:06d}", fingerprint="f") for n in range(count)]


def idle_run(study: Study, units: list[Unit], profile: Profile, max_array_size: int) -> RunFolder:
    """A slurm run of units that do nothing, written and not yet submitted."""
    run = RunFolder(study, new_run_id())
    return write_run(
        run,
        new_facts(run, profile, "slurm"),
        [Group("nothing", units, memory_mib=500, time_s=600)],
        profile,
        needs=lambda unit: (),
        mean_s={},
        max_array_size=max_array_size,
    )
