"""What did the last look at the cohort find? Kept in ``cohort.json``, so a rerun looks only at
files that changed.

The manifest is a cache and the planner's message to the workers: which files make up each subject
and what their headers say. Deleting it costs one more look at every header.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.datasets.check import CohortCheck, SubjectCheck, check_cohort, source_fingerprint
from jobs.datasets.model import ImageSource, SeriesFiles, SubjectSources
from lamstore.config import DatasetConfig, digest
from lamstore.errors import MissingArrayError, MissingInputError
from lamstore.grid import Grid

MISSING = "missing"


@dataclass(frozen=True)
class Entry:
    """One subject.

    Attributes
    ----------
    sources : SubjectSources
    check : SubjectCheck
    fingerprint : str
        Digest of its files' names, sizes and times of change, and of what was asked of them.
    """

    sources: SubjectSources
    check: SubjectCheck
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """The checked cohort, by subject, in the dataset's order; `left_out` as in CohortCheck."""

    entries: dict[str, Entry]
    left_out: tuple[tuple[str, str], ...] = ()

    def entry(self, subject: str) -> Entry:
        """One subject; MissingArrayError when the cohort has none of this label."""
        if subject not in self.entries:
            raise MissingArrayError(
                f"the cohort has no subject {subject!r}", expected=", ".join([*self.entries][:8])
            )
        return self.entries[subject]

    @property
    def check(self) -> CohortCheck:
        """All checks, for the table and the cohort's extent and dtype."""
        return CohortCheck(tuple(e.check for e in self.entries.values()), self.left_out)

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        # The standard library keeps file names that are no UTF-8, which orjson refuses.
        body = {"left_out": self.left_out, "entries": [_pack(e) for e in self.entries.values()]}
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            part.write_text(json.dumps(body), encoding="ascii")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest at `path`, empty when there is none or it cannot be understood."""
        try:
            body = json.loads(path.read_bytes())
            entries = [_unpack(packed) for packed in body["entries"]]
            left_out = tuple((label, reason) for label, reason in body["left_out"])
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return cls({})
        return cls({entry.check.subject: entry for entry in entries}, left_out)


def survey(subjects: Iterable[SubjectSources], config: DatasetConfig, known: Manifest) -> Manifest:
    """Check every subject whose files changed since `known`; headers only.

    Parameters
    ----------
    subjects : iterable of SubjectSources
        As the adapter lists them; of a label that comes twice the first is kept, with its problem.
    config : DatasetConfig
    known : Manifest
        Of the last look.
    """
    wanted = set(config.subjects) if config.subjects is not None else None
    listed = [s for s in subjects if wanted is None or s.subject in wanted]
    here = {s.subject: s for s in reversed(listed) if not s.left_out}
    here = {s.subject: here[s.subject] for s in listed if not s.left_out}
    asked = digest(
        [config.modalities, config.optional_modalities, config.resample, config.need_brainmask]
    )
    with ThreadPoolExecutor(8) as pool:
        prints = dict(
            zip(here, pool.map(lambda s: _print(s, config.root, asked), here.values()), strict=True)
        )
    stale = [s for s in here.values() if not _fresh(known, s, prints[s.subject])]
    checked = {c.subject: c for c in _checks(stale, config).subjects}
    entries = {
        label: Entry(sources, checked[label], prints[label])
        if label in checked
        else known.entries[label]
        for label, sources in here.items()
    }
    return Manifest(entries, tuple((s.subject, s.left_out) for s in listed if s.left_out))


def _checks(subjects: list[SubjectSources], config: DatasetConfig) -> CohortCheck:
    return check_cohort(
        subjects,
        config.modalities,
        config.optional_modalities,
        config.resample,
        need_brainmask=config.need_brainmask,
    )


def _print(sources: SubjectSources, root: Path, asked: str) -> str:
    try:
        return digest([asked, sources.problems, source_fingerprint(sources, root)])
    except MissingInputError:
        return MISSING


def _fresh(known: Manifest, sources: SubjectSources, fingerprint: str) -> bool:
    entry = known.entries.get(sources.subject)
    return (
        entry is not None
        and fingerprint not in (MISSING, "")
        and (entry.fingerprint == fingerprint and entry.sources == sources)
    )


def _pack(entry: Entry) -> dict[str, Any]:
    sources, check = entry.sources, entry.check
    return {
        "subject": check.subject,
        "fingerprint": entry.fingerprint,
        "images": [[*key, _pack_source(s)] for key, s in sources.images.items()],
        "reference": _pack_source(sources.reference),
        "brainmask": _pack_source(sources.brainmask),
        "change_truth": _pack_source(sources.change_truth),
        "lesion_truth": [[t, _pack_source(s)] for t, s in sources.lesion_truth.items()],
        "sessions": dict(sources.sessions),
        "known_problems": sources.problems,
        "needs_brainmask": sources.needs_brainmask,
        "decisions": dict(sources.decisions),
        "grid": [check.grid.shape, check.grid.affine] if check.grid else None,
        "dtype": str(check.dtype) if check.dtype is not None else None,
        "available": sorted(check.available),
        "has": [check.has_brainmask, check.has_change_truth],
        "lesion_truth_at": sorted(check.lesion_truth),
        "problems": check.problems,
    }


def _unpack(packed: dict[str, Any]) -> Entry:
    sources = SubjectSources(
        subject=packed["subject"],
        images={(t, m): _source(s) for t, m, s in packed["images"]},
        reference=_source(packed["reference"]),
        brainmask=_source_or_none(packed["brainmask"]),
        change_truth=_source_or_none(packed["change_truth"]),
        lesion_truth={t: _source(s) for t, s in packed["lesion_truth"]},
        sessions=packed["sessions"],
        problems=tuple(packed["known_problems"]),
        needs_brainmask=packed["needs_brainmask"],
        decisions=packed["decisions"],
    )
    grid = packed["grid"]
    check = SubjectCheck(
        subject=packed["subject"],
        grid=Grid(tuple(grid[0]), tuple(tuple(row) for row in grid[1])) if grid else None,
        dtype=np.dtype(packed["dtype"]) if packed["dtype"] else None,
        available=frozenset((t, m) for t, m in packed["available"]),
        has_brainmask=packed["has"][0],
        has_change_truth=packed["has"][1],
        lesion_truth=frozenset(packed["lesion_truth_at"]),
        problems=tuple(packed["problems"]),
    )
    return Entry(sources, check, packed["fingerprint"])


def _pack_source(source: ImageSource | None) -> list[Any] | None:
    if source is None:
        return None
    packed = [str(source.path), [str(path) for path in source.transforms], source.binarize]
    if source.series is None:
        return packed
    key = source.series.key_file
    return [*packed, source.series.label, key and str(key), source.series.members]


def _source(packed: list[Any]) -> ImageSource:
    path, transforms, binarize, *series = packed
    return ImageSource(Path(path), tuple(Path(t) for t in transforms), binarize, _series(*series))


def _series(
    label: str = "", key: str | None = None, members: Sequence[str] = ()
) -> SeriesFiles | None:
    return SeriesFiles(tuple(members), label, Path(key) if key else None) if members else None


def _source_or_none(packed: list[Any] | None) -> ImageSource | None:
    return _source(packed) if packed is not None else None
