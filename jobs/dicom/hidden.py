"""How does a worker find files whose names must not be written down?

Every part of a relative path becomes a keyed hash (`jobs.dicom.pseudonym`). To find a file again,
the folder is listed and its names hashed, level by level, so that only folders on the way are
looked into.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from jobs.dicom.pseudonym import Pseudonyms, read_key
from jobs.dicom.storage import storage_at
from lamstore.errors import MissingInputError


def hidden_name(name: str, pseudonyms: Pseudonyms) -> str:
    """A relative path, each of its parts replaced by the hash of the path up to it."""
    parts = name.split("/")
    ends = range(1, len(parts) + 1)
    return "/".join(pseudonyms.of("path", "/".join(parts[:end])) for end in ends)


def found_names(root: Path, members: Sequence[str], key_file: Path) -> list[str]:
    """Relative paths under `root` (a folder or a ZIP) of hidden names.

    Raises
    ------
    ConfigError
        The key cannot be read.
    MissingInputError
        No file has such a name any more.
    """
    pseudonyms = read_key(key_file)
    if root.is_file():
        known = _entries(root, pseudonyms, root.stat().st_mtime_ns)
        return [_known(known, member) for member in members]
    return [_walk(root, member, pseudonyms) for member in members]


def _walk(root: Path, member: str, pseudonyms: Pseudonyms) -> str:
    name = ""
    for end in range(1, member.count("/") + 2):
        wanted = "/".join(member.split("/")[:end])
        folder = root / name
        try:
            changed = folder.stat().st_mtime_ns
        except OSError:
            raise _missing() from None
        name = _known(_children(folder, name, pseudonyms, changed), wanted)
    return name


@lru_cache(maxsize=64)
def _children(folder: Path, inside: str, pseudonyms: Pseudonyms, _changed: int) -> dict[str, str]:
    with os.scandir(folder) as entries:
        names = [f"{inside}/{e.name}" if inside else e.name for e in entries]
    return {hidden_name(name, pseudonyms): name for name in names}


@lru_cache(maxsize=4)
def _entries(archive: Path, pseudonyms: Pseudonyms, _changed: int) -> dict[str, str]:
    return {hidden_name(name, pseudonyms): name for name in storage_at(archive).names()}


def _known(known: dict[str, str], member: str) -> str:
    if member not in known:
        raise _missing()
    return known[member]


def _missing() -> MissingInputError:
    return MissingInputError(
        "a file of the series is missing, or the key is another one",
        expected="the files and the key that the study was made with",
        remedy="restore them, then: lam run STUDY",
    )
