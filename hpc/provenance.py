"""Who computed this, with what? The header of every ledger file and the store's attributes."""

from __future__ import annotations

import os
import platform
import socket
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lamstore import __version__
from lamstore.config import digest
from lamstore.study import Study

LIBRARIES = ("zarr", "zarrs", "numpy", "scipy", "xarray", "dask", "nibabel", "SimpleITK", "torch")


@lru_cache(maxsize=1)  # a dask worker asks once a batch, and each answer takes milliseconds
def versions() -> dict[str, str]:
    """Versions of lamstore, Python and the libraries that can change a result."""
    found = {"lamstore": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def study_digest(study: Study) -> str:
    """Digest of everything in study.yaml that decides a result."""
    return digest(study.config.model_dump(mode="json", exclude={"cluster"}))


def provenance(study: Study) -> dict[str, Any]:
    """JSON-like record of this process: versions, study digest, command, host, container."""
    header: dict[str, Any] = {
        "versions": versions(),
        "study_digest": study_digest(study),
        "command": sys.argv,
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    known = {
        "container_digest": "LAMSTORE_CONTAINER_DIGEST",
        "slurm_job": "SLURM_JOB_ID",
        "slurm_array_task": "SLURM_ARRAY_TASK_ID",
    }
    return header | {name: os.environ[key] for name, key in known.items() if key in os.environ}
