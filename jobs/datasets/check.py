"""Which subjects can be taken in, before a single voxel moves?

Reads the header of every file of the cohort (threads: it is all waiting for the disk) and says of
each subject what is there, what is missing and what contradicts itself. Affines may differ by
float noise (1e-3 mm); anything else is a problem unless the study resamples.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.datasets.files import natural_key
from jobs.datasets.grids import grid_error, needs_resampling
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.datasets.readers import OpenedImage, open_image, stamps
from jobs.datasets.resample import read_transforms, resampled_dtype
from lamstore.errors import InputError, MissingInputError
from lamstore.grid import Grid

_THREADS = 8


@dataclass(frozen=True)
class SubjectCheck:
    """What the headers of one subject say.

    Attributes
    ----------
    subject : str
    grid : Grid or None
        Of its reference; None where that cannot be read.
    dtype : np.dtype or None
        Smallest type that holds all its wanted images exactly; None where there is none.
    available : frozenset of (timepoint, modality)
        Wanted images that are there and readable.
    has_brainmask, has_change_truth : bool
    lesion_truth : frozenset of str
        Timepoints with a lesion truth.
    problems : tuple of str
        Empty for a subject that can be taken in.
    """

    subject: str
    grid: Grid | None
    dtype: np.dtype[Any] | None
    available: frozenset[tuple[str, str]]
    has_brainmask: bool
    has_change_truth: bool
    lesion_truth: frozenset[str]
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the subject can be taken in."""
        return not self.problems and self.grid is not None and self.dtype is not None


@dataclass(frozen=True)
class CohortCheck:
    """What the headers of a cohort say.

    Attributes
    ----------
    subjects : tuple of SubjectCheck
        In the dataset's order, without those that it leaves out.
    left_out : tuple of (str, str)
        Label and reason of what the dataset itself makes no subject of; no failures.
    """

    subjects: tuple[SubjectCheck, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every subject can be taken in, and there is one."""
        return bool(self.subjects) and all(s.ok for s in self.subjects)

    @property
    def usable(self) -> tuple[SubjectCheck, ...]:
        """Subjects that can be taken in."""
        return tuple(s for s in self.subjects if s.ok)

    @property
    def extent(self) -> tuple[int, int, int]:
        """Largest shape along x, y, z of the usable subjects; InputError if there is none."""
        x, y, z = np.max([s.grid.shape for s in self._any_usable() if s.grid], axis=0).tolist()
        return x, y, z

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest type that holds all usable images exactly; InputError if there is none."""
        return np.result_type(*(s.dtype for s in self._any_usable() if s.dtype is not None))

    def table(self) -> list[dict[str, str]]:
        """One row a subject, for display; what is missing is an empty cell."""
        return [_table_row(s) for s in self.subjects]

    def _any_usable(self) -> tuple[SubjectCheck, ...]:
        if not self.usable:
            first = next((p for s in self.subjects for p in s.problems), "the dataset is empty")
            raise InputError(
                "no subject of the cohort can be taken in",
                got=f"{len(self.subjects)} subjects with problems, the first: {first}",
                expected="at least one subject without problems",
                remedy="resolve the problems listed by: lam check",
            )
        return self.usable


def check_cohort(
    subjects: Iterable[SubjectSources],
    modalities: Sequence[str],
    optional: Sequence[str] = (),
    resample: bool = False,
    *,
    timepoints: Sequence[str] = (),
    need_brainmask: bool = True,
) -> CohortCheck:
    """Check the headers of a whole cohort.

    Parameters
    ----------
    subjects : iterable of SubjectSources
    modalities : sequence of str
        Each subject must have these at every timepoint that it has.
    optional : sequence of str
        Checked where they are there. Images of other modalities are not looked at.
    resample : bool
        Whether files on another grid are resampled (else they are problems).
    timepoints : sequence of str, optional
        Timepoints that each subject must have.
    need_brainmask : bool, optional
        Whether a subject without brain mask has a problem.
    """
    listed = list(subjects)
    check = partial(
        _check_subject,
        required=tuple(modalities),
        optional=tuple(optional),
        resample=resample,
        timepoints=tuple(timepoints),
        need_brainmask=need_brainmask,
    )
    with ThreadPoolExecutor(_THREADS) as pool:
        checks = tuple(pool.map(check, [s for s in listed if not s.left_out]))
    return CohortCheck(checks, tuple((s.subject, s.left_out) for s in listed if s.left_out))


def source_fingerprint(sources: SubjectSources, root: Path) -> str:
    """Digest of one subject's files: role, path relative to `root`, size, time of change.

    Transforms count as files. Nothing is opened.

    Raises
    ------
    MissingInputError
        A file is not there.
    """
    digest = hashlib.sha256()
    for role, source in sorted((sources.files() | {"reference": sources.reference}).items()):
        digest.update(f"{role}\0{source.binarize}\0".encode())
        files = (source, *(ImageSource(path) for path in source.transforms))
        for file in files:
            for name, stat in _stamps(file, root, sources.subject):
                digest.update(name)
                digest.update(f"\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _stamps(
    source: ImageSource, root: Path, subject: str
) -> Iterator[tuple[bytes, os.stat_result]]:
    try:
        yield from stamps(source, root)
    except OSError as error:
        raise MissingInputError(
            f"{subject}: {source.shown} is missing",
            got=str(error.strerror),
            expected="a file",
            remedy="restore it, or take the subject out of the dataset",
        ) from None


def _check_subject(
    sources: SubjectSources,
    *,
    required: tuple[str, ...],
    optional: tuple[str, ...],
    resample: bool,
    timepoints: tuple[str, ...],
    need_brainmask: bool,
) -> SubjectCheck:
    wanted = {k: s for k, s in sources.images.items() if k[1] in (*required, *optional)}
    problems = [*sources.problems, *_missing(sources, required, timepoints)]
    need_brainmask = need_brainmask and sources.needs_brainmask
    if need_brainmask and sources.brainmask is None and not sources.problems:
        problems.append(f"{sources.subject}: no brain mask; every measure is taken within it")
    headers = _headers(sources, wanted, problems)
    reference = headers.get(sources.reference)
    if reference is not None:
        problems += _grid_problems(sources, headers, resample)
    images = {key: source for key, source in wanted.items() if source in headers}
    types = [_type(s, headers[s], reference, resample) for s in images.values()]
    return SubjectCheck(
        subject=sources.subject,
        grid=reference.grid if reference else None,
        dtype=np.result_type(*types) if types else None,
        available=frozenset(images),
        has_brainmask=sources.brainmask in headers,
        has_change_truth=sources.change_truth in headers,
        lesion_truth=frozenset(t for t, s in sources.lesion_truth.items() if s in headers),
        problems=tuple(problems),
    )


def _missing(
    sources: SubjectSources, required: tuple[str, ...], timepoints: tuple[str, ...]
) -> list[str]:
    present = {t for t, _ in sources.images}
    problems = [
        f"{sources.subject}: missing timepoint {t}; it has {', '.join(sorted(present)) or 'none'}"
        for t in timepoints
        if t not in present
    ]
    for timepoint in sorted(present, key=natural_key):
        absent = [m for m in required if (timepoint, m) not in sources.images]
        if absent:
            has = ", ".join(sorted(m for t, m in sources.images if t == timepoint))
            session = sources.sessions.get(timepoint)
            at = f"{timepoint} ({session})" if session else timepoint
            problems.append(
                f"{sources.subject}: missing modality {', '.join(absent)} at {at}; it has {has}"
            )
    if not present and not sources.problems and not timepoints:
        problems.append(f"{sources.subject}: no image")
    return problems


def _headers(
    sources: SubjectSources, wanted: dict[tuple[str, str], ImageSource], problems: list[str]
) -> dict[ImageSource, OpenedImage]:
    """Headers of the readable files; what is wrong with the others is added to `problems`."""
    masks = (sources.brainmask, sources.change_truth, *sources.lesion_truth.values())
    files = [*wanted.values(), *(mask for mask in masks if mask is not None)]
    if files or not problems:
        files.append(sources.reference)
    found = {}
    for source in dict.fromkeys(files):
        try:
            read_transforms(source.transforms, sources.subject)
            found[source] = open_image(source, sources.subject)
        except InputError as error:
            problems.append(str(error))
    return found


def _grid_problems(
    sources: SubjectSources, headers: dict[ImageSource, OpenedImage], resample: bool
) -> list[str]:
    expected = headers[sources.reference].grid
    return [
        str(grid_error(sources.subject, source, header.grid, sources.reference, expected))
        for source, header in headers.items()
        if expected.mismatch(header.grid) is not None
        and not needs_resampling(source, header.grid, expected, resample)
    ]


def _type(
    source: ImageSource, header: OpenedImage, reference: OpenedImage | None, resample: bool
) -> np.dtype[Any]:
    if reference and needs_resampling(source, header.grid, reference.grid, resample):
        return resampled_dtype(header.stored_dtype)
    return header.stored_dtype


def _table_row(check: SubjectCheck) -> dict[str, str]:
    grid = check.grid
    images: dict[str, list[str]] = {}
    for timepoint, modality in sorted(check.available):
        images.setdefault(timepoint, []).append(modality)
    first_lines = [problem.splitlines()[0] for problem in check.problems]
    return {
        "subject": check.subject,
        "shape": " x ".join(map(str, grid.shape)) if grid else "",
        "spacing_mm": " x ".join(f"{s:.3g}" for s in grid.spacing_mm) if grid else "",
        "dtype": str(check.dtype) if check.dtype is not None else "",
        "images": "; ".join(f"{t} {' '.join(found)}" for t, found in images.items()),
        "brainmask": "yes" if check.has_brainmask else "",
        "change_truth": "yes" if check.has_change_truth else "",
        "lesion_truth": " ".join(sorted(check.lesion_truth)),
        "problems": "; ".join(first_lines),
    }
