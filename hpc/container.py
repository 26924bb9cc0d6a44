"""How does a process enter the image? The words before ``python``, and what it may see there.

Only folders that the study names are bound, the home folder is not, the environment is clean, and
what libraries cache goes to a folder of the job.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from hpc.profiles import Profile
from lamstore.errors import MissingContainerError
from lamstore.study import Study

_CACHES = ("TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_HOME")
_HANDED_ON = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_CPUS_PER_TASK",
    "SLURM_RESTART_COUNT",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True)
class Entry:
    """How to enter an image.

    Attributes
    ----------
    words : tuple of str
        In front of the interpreter's name; ``$scratch`` stands for the job's own folder.
    environment : mapping
        What to set outside for it to be set inside; ``$scratch`` as above.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]

    def exports(self) -> list[str]:
        """Shell lines that set `environment`, and hand on what SLURM said, where it is set."""
        lines = [f'export {name}="{value}"' for name, value in self.environment.items()]
        names = " ".join(_HANDED_ON)
        return [
            *lines,
            f"for name in {names}; do",
            '    [[ -z ${!name-} ]] || export "APPTAINERENV_$name=${!name}"',
            "done",
        ]

    def filled(self, scratch: str) -> Entry:
        """With ``$scratch`` filled in, for a process that is started without a shell."""
        words = tuple(scratch if word == "$scratch" else word for word in self.words)
        handed = {f"APPTAINERENV_{k}": os.environ[k] for k in _HANDED_ON if os.environ.get(k)}
        own = {k: v.replace("$scratch", scratch) for k, v in self.environment.items()}
        return Entry(words, own | handed)


def entry(profile: Profile, study: Study, *, gpu: bool, digest: str) -> Entry | None:
    """How a process of a study enters an image.

    Parameters
    ----------
    profile : Profile
        Names the image, and folders to bind beside those of the study.
    study : Study
        Its folder, its dataset's root and every path among its engines' options are bound.
    gpu : bool
        Whether the host's GPUs and their driver are needed (``--nv``).
    digest : str
        Of the image, for the provenance.

    Returns
    -------
    Entry or None
        None when the profile names no image.
    """
    if profile.container is None:
        return None
    bound = [word for path in bind_paths(study, profile.binds) for word in ("--bind", path)]
    words = [
        profile.apptainer,
        "exec",
        "--cleanenv",
        "--no-home",
        *(["--nv"] if gpu else []),
        *bound,
        "--bind",
        "$scratch",
        "--pwd",
        str(study.path),
        str(profile.container),
    ]
    environment = {f"APPTAINERENV_{name}": "$scratch" for name in _CACHES}
    environment["APPTAINERENV_LAMSTORE_CONTAINER_DIGEST"] = digest
    environment["APPTAINERENV_PYTHONSAFEPATH"] = "1"
    return Entry(tuple(words), environment)


def bind_paths(study: Study, more: Iterable[str] = ()) -> list[str]:
    """Folders that a study's processes must see; none lies within another.

    Raises
    ------
    MissingContainerError
        When a folder's name cannot be bound.
    """
    config = study.config
    named = [study.path, config.dataset.root, *_paths(config.dataset.options)]
    for engine in config.engines:
        named += _paths(engine.options)
    folders = {path if path.is_dir() else path.parent for path in map(Path.resolve, named)}
    outermost = [str(f) for f in sorted(folders) if not any(p in folders for p in f.parents)]
    for folder in outermost:
        if ":" in folder or "," in folder:
            raise MissingContainerError(
                "a folder cannot be bound into a container",
                got=folder,
                expected="a path without : and ,",
                remedy="move it, or link to it and use the link",
            )
    return [*outermost, *more]


def _paths(value: Any) -> list[Path]:
    """Every existing path among the values of options."""
    if isinstance(value, Mapping):
        return [path for item in value.values() for path in _paths(item)]
    if isinstance(value, list | tuple):
        return [path for item in value for path in _paths(item)]
    if isinstance(value, str) and os.sep in value and Path(value).exists():
        return [Path(value)]
    return []


def image_digest(image: Path) -> str:
    """SHA-256 of an image; computed once for each state of the file.

    Raises
    ------
    MissingContainerError
    """
    if not image.is_file():
        raise MissingContainerError(
            "the container image is not there",
            got=str(image),
            remedy="build it (containers/README, `apptainer build …`), or correct --container",
        )
    kept = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lamstore/images"
    stat = image.stat()
    name = f"{image.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    note = kept / hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    if note.exists():
        return str(orjson.loads(note.read_bytes()))
    with image.open("rb") as stream:
        digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    kept.mkdir(parents=True, exist_ok=True)
    note.write_bytes(orjson.dumps(digest))
    return digest
