"""Does the kernel enforce a job's memory here, and what do killed nodes leave behind?"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "freezer", "cpuset")


def usable() -> bool:
    """Can slurmd make version 1 cgroups here? Without them no job ever ends OUT_OF_MEMORY."""
    for controller in CONTROLLERS:
        probe = ROOT / controller / f"lamstore-probe-{os.getpid()}"
        try:
            probe.mkdir()
            (probe / "cgroup.procs").read_text()
            probe.rmdir()
        except OSError:
            return False
    return True


def remove(nodes: tuple[str, ...]) -> None:
    """Remove what killed nodes left: slurmd cleans its cgroups only when it ends in peace."""
    for controller in ROOT.iterdir() if ROOT.is_dir() else ():
        for node in nodes:
            for folder in _deepest_first(controller / f"slurm_{node}"):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _deepest_first(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for child in folder.iterdir():
            if child.is_dir():
                yield from _deepest_first(child)
        yield folder
