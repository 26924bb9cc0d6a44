"""Which studies does a tree of DICOM files hold, and which series of each is the sagittal T2?

``rsna-lumbar``: the layout of the RSNA 2024 lumbar spine challenge,
``<root>/<study>/<series>/<instance>.dcm`` beside a CSV with study_id, series_id and
series_description. ``dicom``: any folder of mixed files, or a ZIP archive, told apart by their
headers (study and series UID).

A study is a subject with one timepoint, ``t0``, and one image, ``t2w``. Why its series was chosen
is in `SubjectSources.decisions`. Names of folders and files of an unknown tree may name people:
messages call its series by digests. With ``pseudonymize`` every id and name is a keyed hash.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.datasets.cohort_ids import chosen_studies, refuse_training
from jobs.datasets.files import (
    natural_key,
    not_such_a_dataset,
    parse_options,
    subfolders,
    subject_label,
)
from jobs.datasets.model import ImageSource, SeriesFiles, SubjectSources
from jobs.datasets.series_csv import read_series_csv
from jobs.dicom.choice import Candidate, choose_sagittal_t2
from jobs.dicom.header import read_file_header, read_uids
from jobs.dicom.hidden import hidden_name
from jobs.dicom.pseudonym import Pseudonyms, read_key
from jobs.dicom.storage import Storage, storage_at
from jobs.dicom.words import plane_of, spoken, weighting_of, words_of
from lamstore.errors import ConfigError, InputError

_THREADS = 8
_UID = re.compile(r"[0-9][0-9.]{0,59}")
_LAYOUT = "a folder <root>/<study>/<series>/<instance>.dcm (train_images of the challenge)"


class DicomOptions(BaseModel):
    """Options of both adapters; paths are absolute, or relative to where the command runs."""

    model_config = ConfigDict(extra="forbid")

    series_csv: Path | None = None
    """study_id, series_id, series_description."""
    ids: Path | None = None
    """The studies to evaluate; no other is touched."""
    allow_all_studies: bool = False
    """Without `ids`: take all, and let the report warn."""
    training_ids: Path | None = None
    """The studies that the model was trained on; none of them may be evaluated."""
    pseudonymize: bool = False
    """Replace ids and names of files by keyed hashes."""
    key_file: Path | None = None
    """Of the hashes, outside the study and the data."""


class RsnaOptions(DicomOptions):
    """`series_csv` is required."""

    series_csv: Path


@dataclass(frozen=True)
class _Series:
    """A series of a study: its id as it may be shown, and its files in the storage."""

    shown: str
    names: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class _Tree:
    """Where files lie and how they may be named."""

    root: Path
    storage: Storage
    pseudonyms: Pseudonyms | None
    key_file: Path | None

    def source(self, series: _Series) -> ImageSource:
        """The source of a series."""
        names, label = series.names, f"series {series.shown}"
        if self.pseudonyms:
            names = tuple(hidden_name(name, self.pseudonyms) for name in names)
        key = self.key_file if self.pseudonyms else None
        return ImageSource(self.root, series=SeriesFiles(names, label, key))


def rsna_lumbar(root: Path, **options: Any) -> list[SubjectSources]:
    """Studies of the RSNA layout, in the order of the ids.

    Parameters
    ----------
    root : Path
        The folder of the studies.
    **options
        As `RsnaOptions`.

    Raises
    ------
    ConfigError
        Wrong options, lists that overlap, no word on which studies may be touched, no such folder.
    """
    chosen = parse_options(RsnaOptions, options, "rsna-lumbar")
    studies = chosen_studies(chosen.ids, chosen.training_ids, chosen.allow_all_studies)
    if not root.is_dir():
        raise not_such_a_dataset(root, "rsna-lumbar", _LAYOUT)
    if studies is None:
        studies = tuple(folder.name for folder in subfolders(root))
        refuse_training(studies, chosen.training_ids)
    if not studies:
        raise not_such_a_dataset(root, "rsna-lumbar", _LAYOUT)
    tree = _tree(root, chosen)
    descriptions = read_series_csv(chosen.series_csv, frozenset(studies))

    def subject(study: str) -> SubjectSources:
        label = _label(tree, study, subject_label(study))
        return _subject(tree, label, lambda: _rsna_series(tree, study, descriptions))

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(subject, studies))


def dicom(root: Path, **options: Any) -> list[SubjectSources]:
    """Studies in a folder of any DICOM files, or in a ZIP archive, by their StudyInstanceUID.

    Files that belong to no series are listed as left out, by reason.

    Parameters
    ----------
    root : Path
    **options
        As `DicomOptions`; ids are StudyInstanceUIDs. To tell the studies apart, two UIDs of every
        file are read; nothing else of studies that are not asked for.

    Raises
    ------
    ConfigError
        Wrong options, lists that overlap, no word on which studies may be touched, no DICOM files.
    """
    chosen = parse_options(DicomOptions, options, "dicom")
    wanted = chosen_studies(chosen.ids, chosen.training_ids, chosen.allow_all_studies)
    if not root.exists():
        raise not_such_a_dataset(root, "dicom", "a folder of DICOM files, or a ZIP archive")
    tree = _tree(root, chosen)
    found, others = _grouped(tree.storage)
    if not found:
        nothing = not_such_a_dataset(root, "dicom", "DICOM files in a folder or a ZIP archive")
        nothing.got = _counted(others) or "no files"
        raise nothing
    if wanted is None:
        refuse_training(found, chosen.training_ids)
    studies = sorted(found, key=natural_key) if wanted is None else wanted
    texts = read_series_csv(chosen.series_csv, frozenset(studies)) if chosen.series_csv else {}

    def subject(study: str) -> SubjectSources:
        # Anything may stand where a UID should, and a label has 60 characters at most.
        own = study if _UID.fullmatch(study) else f"study-{_digest(study, 8)}"
        series = partial(_heap_series, tree, study, found.get(study, {}), texts)
        return _subject(tree, _label(tree, study, own), series)

    with ThreadPoolExecutor(_THREADS) as pool:
        listed = list(pool.map(subject, studies))
    if others:
        rest = SubjectSources("other-files", {}, ImageSource(root), left_out=_counted(others))
        listed.append(rest)
    return listed


def _tree(root: Path, options: DicomOptions) -> _Tree:
    key = options.key_file.resolve() if options.key_file else None
    if not options.pseudonymize:
        return _Tree(root, storage_at(root), None, None)
    if key and root.is_dir() and key.is_relative_to(root.resolve()):
        raise ConfigError(
            "the key of the pseudonyms lies among the images",
            expected="a place that is not passed on together with them",
            remedy="move it, and give its new path with key_file",
        )
    return _Tree(root, storage_at(root), read_key(key), key)


def _subject(tree: _Tree, label: str, series: Callable[[], Iterable[_Series]]) -> SubjectSources:
    nothing = SubjectSources(label, {}, ImageSource(tree.root), needs_brainmask=False)
    try:
        found = list(series())
        if not found:
            raise InputError(
                "the study is not there",
                got="no files of it",
                expected="the files of a study that was asked for",
                remedy="restore it, or take its id out of the list",
            )
        by_name = {one.shown: one for one in found}
        candidates = [_candidate(tree.storage, one) for one in found]
        choice = choose_sagittal_t2(candidates, {one.shown: one.description for one in found})
    except InputError as error:
        error.what = f"{label}: {error.what}"
        return replace(nothing, problems=(str(error),))
    source = tree.source(by_name[choice.series])
    reason = f"series {choice.series} of {len(found)}: {choice.reason}"
    return SubjectSources(
        label,
        {("t0", "t2w"): source},
        source,
        needs_brainmask=False,
        sessions={"t0": choice.series},
        decisions={"t0 t2w": reason},
    )


def _label(tree: _Tree, study: str, own: str) -> str:
    return f"study-{tree.pseudonyms.of('study', study)}" if tree.pseudonyms else own


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=size).hexdigest()


def _candidate(storage: Storage, series: _Series) -> Candidate:
    """A series with the header of its first file, unread where its description excludes it."""
    words = words_of(series.description)
    if plane_of(words) in ("axial", "coronal") or weighting_of(words) in ("t1", "other"):
        return Candidate(series.shown, None, 0, f"described as {spoken(words)}")
    if not series.names:
        return Candidate(series.shown, None, 0, "it has no files")
    try:
        header = read_file_header(storage, series.names[0], "its first file")
    except InputError as error:
        return Candidate(series.shown, None, 0, error.what)
    return Candidate(series.shown, header, max(len(series.names), len(header.frames)))


def _rsna_series(
    tree: _Tree, study: str, descriptions: Mapping[tuple[str, str], str]
) -> Iterable[_Series]:
    for folder in subfolders(tree.root / study):
        files = sorted(
            (p.name for p in folder.iterdir() if p.suffix.lower() == ".dcm" and p.is_file()),
            key=natural_key,
        )
        names = tuple(f"{study}/{folder.name}/{name}" for name in files)
        text = descriptions.get((study, folder.name), "")
        pseudonym = tree.pseudonyms and tree.pseudonyms.of("series", f"{study}/{folder.name}")
        yield _Series(pseudonym or folder.name, names, text)


def _heap_series(
    tree: _Tree,
    study: str,
    series: Mapping[str, Sequence[str]],
    texts: Mapping[tuple[str, str], str],
) -> Iterable[_Series]:
    for uid, names in series.items():
        pseudonym = tree.pseudonyms and tree.pseudonyms.of("series", uid)
        yield _Series(
            pseudonym or _digest(uid, 4), tuple(sorted(names)), texts.get((study, uid), "")
        )


def _grouped(storage: Storage) -> tuple[dict[str, dict[str, list[str]]], Counter[str]]:
    """Names of files by study and series UID, and how many have none, by reason."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    others: Counter[str] = Counter()
    names = list(storage.names())

    def read(name: str) -> tuple[str, str] | str:
        try:
            return read_uids(storage, name)
        except InputError as error:
            return error.what

    with ThreadPoolExecutor(_THREADS) as pool:
        for name, uids in zip(names, pool.map(read, names), strict=True):
            if isinstance(uids, str):
                others[uids] += 1
            else:
                found[uids[0]][uids[1]].append(name)
    return found, others


def _counted(others: Counter[str]) -> str:
    return "; ".join(f"{count} × {reason}" for reason, count in sorted(others.items()))
