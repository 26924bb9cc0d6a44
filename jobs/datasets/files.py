"""What do all adapters need to find their files and to name their subjects?"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.nifti import shown
from lamstore.errors import ConfigError

_SUFFIXES = (".nii.gz", ".nii", ".hdr")
_LONGEST_LABEL = 60
"""Four bytes a character at most: short enough for a file name with a suffix."""

Options = TypeVar("Options", bound=BaseModel)


class NoOptions(BaseModel):
    """The adapter takes no options."""

    model_config = ConfigDict(extra="forbid")


def subject_label(name: str) -> str:
    """Label in the store for what a dataset calls a subject.

    Letters, marks and digits of any script stay, in their composed form (NFC), and so do ``_``,
    ``-`` and ``.``; each run of other characters (spaces, quotes, slashes) becomes one ``-``. The
    label starts with a letter, digit or ``_``, and has at most 60 characters. It may be empty.
    """
    composed = unicodedata.normalize("NFC", name)
    kept = "".join(
        c if c in "_-." or unicodedata.category(c)[0] in "LMN" else " " for c in composed
    )
    return re.sub(" +", "-", kept.strip()).lstrip("-.")[:_LONGEST_LABEL]


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``ses-2`` comes before ``ses-10``."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p)


def parse_options(model: type[Options], options: Mapping[str, Any], adapter: str) -> Options:
    """Options of an adapter, or ConfigError naming those that are unknown or wrong."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"dataset {adapter} has options that cannot be used",
            got=wrong,
            expected=f"only {', '.join(model.model_fields) or 'none: it takes no options'}",
            remedy="correct dataset.options in study.yaml",
        ) from error


def subfolders(folder: Path) -> list[Path]:
    """Folders in `folder`, in natural order, without hidden ones; empty if it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    return [folder / name for name in sorted(names, key=natural_key)]


def images_in(folder: Path) -> dict[str, Path]:
    """NIfTI files of a folder by name without suffix, in natural order; .nii.gz before .nii."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = sorted((e.name for e in entries if not e.name.startswith(".")), key=natural_key)
    found: dict[str, Path] = {}
    for suffix in _SUFFIXES:
        for name in names:
            if name.endswith(suffix):
                found.setdefault(name.removesuffix(suffix), folder / name)
    return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))


def images_under(root: Path) -> list[tuple[str, Path]]:
    """NIfTI files anywhere below a folder, as `images_in` names them, folder by folder."""
    found: list[tuple[str, Path]] = []
    for folder, names, _ in os.walk(root):
        names[:] = sorted((n for n in names if not n.startswith(".")), key=natural_key)
        found += images_in(Path(folder)).items()
    return found


def not_such_a_dataset(root: Path, adapter: str, expected: str) -> ConfigError:
    """The error for a root in which an adapter finds nothing."""
    if not root.exists():
        got = f"{shown(root)} does not exist"
    else:
        names = [p.name for p in subfolders(root)][:5] if root.is_dir() else []
        got = f"{shown(root)}, with folders {names}" if names else f"{shown(root)}, without folders"
    return ConfigError(
        f"no {adapter} dataset at {shown(root)}",
        got=got,
        expected=expected,
        remedy="correct dataset.root in study.yaml, or choose another dataset adapter",
    )
