"""What is here to run on, what is wrong with it, and how is that mended? `lam doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hpc.origin import check_origin
from hpc.profiles import EXAMPLES, PROGRAM, load_profile, site_file
from hpc.provenance import versions
from hpc.slurm import call, site
from lamstore.errors import LamstoreError
from lamstore.study import Study, study_lock


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name, found : str
    state : {"good", "absent", "bad"}
        ``absent`` is no fault: it is not needed to run on one machine.
    remedy : str
        What to do, where something is wrong.
    """

    name: str
    state: Literal["good", "absent", "bad"]
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """JSON-like."""
        return asdict(self)


def examine(study: Path | None = None) -> list[Finding]:
    """Everything that decides what can run here; changes nothing but a probe file in a study."""
    found = [_versions(), _origin(), *_slurm(), _apptainer(), _gpu(), _profiles(), _dask()]
    return found + (list(_folder(study)) if study else [])


def _versions() -> Finding:
    known = versions()
    shown = ", ".join(f"{name} {number}" for name, number in known.items())
    lacking = [name for name in ("zarrs",) if name not in known]
    remedy = "pip install zarrs: reading and writing is several times faster" if lacking else ""
    return Finding("versions", "good", f"{shown}; {platform.platform()}", remedy)


def _origin() -> Finding:
    try:
        check_origin()
    except LamstoreError as error:
        return Finding("packages", "bad", f"{error.what}: {error.got}", error.remedy or "")
    return Finding("packages", "good", "lamstore, jobs, analysis and hpc lie side by side")


def _slurm() -> Iterator[Finding]:
    if shutil.which("sbatch") is None:
        yield Finding("slurm", "absent", "no sbatch here", "on a login node: load SLURM's module")
        return
    try:
        here = site()
        partitions = call("sinfo", "-h", "-o", "%P %a %l %D nodes %c cores %m MB %G").splitlines()
    except LamstoreError as error:
        yield Finding(
            "slurm", "bad", f"{error.what}: {error.got}", "is slurmctld up? `scontrol ping` tells"
        )
        return
    yield Finding("slurm", "good", f"{here.version}, arrays up to {here.max_array_size} tasks")
    off = "off: causes are read from logs, times of ended tasks are forgotten after a while"
    yield Finding("accounting", "good", "on (sacct)" if here.accounting else off)
    for line in partitions:
        up = line.split()[1] == "up"
        remedy = "" if up else "choose another partition in the cluster profile"
        yield Finding("partition", "good" if up else "bad", line, remedy)


def _apptainer() -> Finding:
    program = os.environ.get(PROGRAM, "apptainer")
    if shutil.which(program) is None:
        return Finding("apptainer", "absent", f"no {program} here", "module load apptainer")
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    if done.returncode:
        return Finding("apptainer", "bad", done.stderr.strip(), f"{program} version must work")
    return Finding("apptainer", "good", done.stdout.strip())


def _gpu() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("gpu", "absent", "no nvidia-smi on this machine (compute nodes may differ)")
    ask = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    if done.returncode:
        return Finding("gpu", "bad", done.stdout.strip() or done.stderr.strip(), "ask the admin")
    return Finding("gpu", "good", "; ".join(done.stdout.splitlines()))


def _profiles() -> Finding:
    path = site_file()
    try:
        load_profile({})
    except LamstoreError as error:
        return Finding("profiles", "bad", f"{error.what}: {error.got}", f"correct {path}")
    if path.exists():
        return Finding("profiles", "good", str(path))
    shipped = ", ".join(sorted(example.stem for example in EXAMPLES.glob("*.yaml")))
    return Finding(
        "profiles", "absent", f"no {path}; shipped: {shipped}", f"cp {EXAMPLES}/v100.yaml and edit"
    )


def _dask() -> Finding:
    try:
        from importlib.metadata import version

        found = version("dask-jobqueue")
    except ImportError:
        return Finding("dask", "absent", "no dask-jobqueue", "pip install dask-jobqueue")
    return Finding("dask", "good", f"dask-jobqueue {found}")


def _folder(path: Path) -> Iterator[Finding]:
    try:
        study = Study.at(path)
        load_profile(study.config.cluster)
    except LamstoreError as error:
        yield Finding("study", "bad", f"{error.what}: {error.got}", error.remedy or "")
        return
    kind = _file_system(study.path)
    shared = kind in ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "cvmfs")
    note = "shared" if shared else "make sure that compute nodes see it under the same path"
    yield Finding("file system", "good", f"{study.path} on {kind}: {note}")
    yield _renames(study.path)
    try:
        with study_lock(study):
            yield Finding("locks", "good", "files can be locked, so no two runs collide")
    except OSError as error:
        yield Finding(
            "locks",
            "bad",
            f"files cannot be locked: {error}",
            "mount with flock (Lustre: -o flock)",
        )
    except LamstoreError as error:
        yield Finding("locks", "good", f"held: {error.got}")


def _renames(folder: Path) -> Finding:
    probe = folder / f".probe-{uuid.uuid4().hex}"
    target = probe.with_suffix(".moved")
    try:
        with probe.open("w") as stream:
            stream.write("probe")
            os.fsync(stream.fileno())
        probe.replace(target)
    except OSError as error:
        return Finding("writing", "bad", str(error), f"check who may write to {folder}")
    finally:
        for left in (probe, target):
            left.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free / 1024**3
    return Finding("writing", "good", f"{free:.0f} GiB free")


def _file_system(path: Path) -> str:
    """Type of the mount that holds a path."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    for line in mounts:
        _, where, found, *_ = line.split()
        inside = path == Path(where) or Path(where) in path.parents
        if inside and len(where) >= len(best):
            best, kind = where, found
    return kind
