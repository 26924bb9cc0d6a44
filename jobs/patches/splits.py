"""Who trains and who validates, so that nothing that was learned from is ever counted as unseen?

Splits are by subject: all timepoints of one lie on one side. Folds are stratified by lesion volume,
so that each holds light and heavy cases. They are written to a file, which decides from then on. A
subject on both sides is refused, and so is an image that two subjects share, voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.patches.index import Image, SubjectIndex
from lamstore.errors import ConfigError

Kind = Literal["kfold", "leave_one_out", "hold_out", "given"]


class Fold(BaseModel):
    """One division; the two sides share no subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[str, ...]
    validation: tuple[str, ...]


class Splits(BaseModel):
    """The divisions of a cohort.

    Attributes
    ----------
    kind : {"kfold", "leave_one_out", "hold_out", "given"}
    seed : int
    lesion_mm3 : mapping of subject to float
        What was stratified by.
    folds : tuple of Fold
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    seed: int
    lesion_mm3: dict[str, float]
    folds: tuple[Fold, ...]


def k_fold(lesion_mm3: Mapping[str, float], folds: int, seed: int = 0) -> Splits:
    """Every subject validates in exactly one fold.

    Subjects are sorted by lesion volume and taken `folds` at a time; each such group gives one
    subject to every fold, at random. So the folds' sizes differ by one at most.

    Parameters
    ----------
    lesion_mm3 : mapping of subject to float
    folds : int
        From 2 to the number of subjects.
    seed : int

    Raises
    ------
    ConfigError
        Fewer subjects than folds, or fewer than two folds.
    """
    subjects = _by_volume(lesion_mm3)
    if not 2 <= folds <= len(subjects):
        raise ConfigError(
            f"{len(subjects)} subjects cannot be divided into {folds} folds",
            expected=f"2 to {len(subjects)} folds",
            remedy="fewer folds, or more subjects with a lesion truth",
        )
    random = np.random.default_rng(seed)
    chosen: list[list[str]] = [[] for _ in range(folds)]
    # The fullest folds differ from group to group, or the last would get all the rests.
    for start in range(0, len(subjects), folds):
        group = subjects[start : start + folds]
        for subject, fold in zip(group, random.permutation(folds), strict=False):
            chosen[fold].append(subject)
    return _splits("kfold", seed, lesion_mm3, chosen)


def leave_one_out(lesion_mm3: Mapping[str, float]) -> Splits:
    """One fold a subject, in which it validates alone; ConfigError for fewer than two."""
    subjects = sorted(lesion_mm3)
    if len(subjects) < 2:
        raise ConfigError("leaving one out needs two subjects", got=f"{len(subjects)}")
    return _splits("leave_one_out", 0, lesion_mm3, [[subject] for subject in subjects])


def hold_out(lesion_mm3: Mapping[str, float], share: float, seed: int = 0) -> Splits:
    """One fold, in which about `share` of the subjects validate, spread over lesion volumes.

    Parameters
    ----------
    lesion_mm3 : mapping of subject to float
    share : float
        Above 0, below 1; at least one subject is on either side.
    seed : int

    Raises
    ------
    ConfigError
        A share out of range, or fewer than two subjects.
    """
    subjects = _by_volume(lesion_mm3)
    if not 0 < share < 1 or len(subjects) < 2:
        raise ConfigError(
            f"{len(subjects)} subjects cannot be divided by a share of {share:g}",
            expected="two or more subjects, a share between 0 and 1",
        )
    count = min(max(round(share * len(subjects)), 1), len(subjects) - 1)
    random = np.random.default_rng(seed)
    # One from each of `count` ranges of lesion volume.
    groups = np.array_split(np.arange(len(subjects)), count)
    validation = [subjects[int(random.choice(group))] for group in groups]
    return _splits("hold_out", seed, lesion_mm3, [validation])


def given(lesion_mm3: Mapping[str, float], validation: Sequence[str]) -> Splits:
    """One fold, in which these subjects validate and all others train.

    Raises
    ------
    ConfigError
        A subject that there is not, or nobody left to train on.
    """
    if unknown := sorted(set(validation) - set(lesion_mm3)):
        raise ConfigError(
            "subjects are to validate that are not there, or have no lesion truth",
            got=", ".join(unknown),
            expected=", ".join(list(lesion_mm3)[:8]),
        )
    if len(set(validation)) == len(lesion_mm3):
        raise ConfigError("nobody is left to train on", got=f"{len(validation)} validate")
    return _splits("given", 0, lesion_mm3, [list(validation)])


def _by_volume(lesion_mm3: Mapping[str, float]) -> list[str]:
    return sorted(lesion_mm3, key=lambda subject: (lesion_mm3[subject], subject))


def _splits(
    kind: Kind, seed: int, lesion_mm3: Mapping[str, float], chosen: Sequence[Sequence[str]]
) -> Splits:
    folds = tuple(
        Fold(
            train=tuple(s for s in sorted(lesion_mm3) if s not in validation),
            validation=tuple(sorted(validation)),
        )
        for validation in map(set, chosen)
    )
    return Splits(kind=kind, seed=seed, lesion_mm3=dict(lesion_mm3), folds=folds)


def lesion_volumes(indexes: Mapping[str, SubjectIndex]) -> dict[str, float]:
    """Lesion volume (mm³) of the subjects that have a lesion truth, as the splits want it."""
    return {s: index.lesion_mm3() for s, index in indexes.items() if index.lesions}


def write_splits(path: Path, splits: Splits) -> None:
    """Write a splits file, JSON."""
    text = orjson.dumps(splits.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    path.write_bytes(text)


def read_splits(path: Path) -> Splits:
    """A splits file; ConfigError when it cannot be used."""
    try:
        return Splits.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no splits file {path}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{path} is no splits file", got="; ".join(lines)) from error


@dataclass(frozen=True)
class _Owner:
    subject: str
    image: Image

    def __str__(self) -> str:
        return f"{self.subject} ({' '.join(self.image)})"


def refuse_leaks(fold: Fold, contents: Mapping[str, Mapping[Image, str]]) -> None:
    """Refuse a fold whose validation was learned from.

    Parameters
    ----------
    fold : Fold
    contents : mapping of subject to mapping of (timepoint, modality) to str
        Checksums of images (`SubjectIndex.contents`).

    Raises
    ------
    ConfigError
        A subject on both sides; or two subjects, one on each, with the same image.
    """
    if both := sorted(set(fold.train) & set(fold.validation)):
        raise ConfigError(
            "a subject is in both training and validation",
            got=", ".join(both),
            expected="every subject on one side",
            remedy="correct the splits file, or delete it to have it made anew",
        )
    owners = {
        content: _Owner(subject, image)
        for subject in fold.train
        for image, content in contents.get(subject, {}).items()
    }
    shared = [
        f"{owners[content]} trains and {_Owner(subject, image)} validates"
        for subject in fold.validation
        for image, content in contents.get(subject, {}).items()
        if content in owners
    ]
    if shared:
        raise ConfigError(
            "the same image is in both training and validation",
            got="; ".join(shared),
            expected="images of their own for all subjects",
            remedy="leave one of the two out with dataset.subjects, or put both on one side",
        )
