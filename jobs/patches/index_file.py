"""Where is the index of a subject kept, and is it still that of the arrays in the store?

One small file a subject, ``study/index/<subject>.npz``. It names the checksums, as the ledger has
them, of the arrays that it was made from: with others it is stale, and made anew.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.patches.index import VERSION, IndexBuilder, Lesions, SubjectIndex
from jobs.unet.normalize import BrainScale
from lamstore.errors import MissingArrayError
from lamstore.grid import Grid
from lamstore.store import Store
from lamstore.study import Study


def index_path(study: Path, subject: str) -> Path:
    """Where the index of a subject lies."""
    return study / "index" / f"{subject}.npz"


def drop_index(study: Path, subject: str) -> None:
    """Delete the index of a subject whose arrays are about to be written anew."""
    index_path(study, subject).unlink(missing_ok=True)


def write_index(study: Path, index: SubjectIndex) -> None:
    """Replace the index of a subject in one step."""
    arrays: dict[str, NDArray[Any]] = {"box": index.brain_box, "brain": index.brain_samples}
    for timepoint, found in index.lesions.items():
        parts = vars(found)
        arrays |= {f"{timepoint}/{name}": values for name, values in parts.items()}
    header = {
        "version": VERSION,
        "subject": index.subject,
        "grid": [index.grid.shape, index.grid.affine],
        "brain_voxels": index.brain_voxels,
        "timepoints": list(index.lesions),
        "scales": [[*at, list(scale)] for at, scale in index.scales.items()],
        "contents": [[*at, content] for at, content in index.contents.items()],
        "made_from": dict(index.made_from),
    }
    path = index_path(study, index.subject)
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            arrays["header"] = np.array(json.dumps(header))
            np.savez_compressed(file, allow_pickle=False, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_index(study: Path, subject: str) -> SubjectIndex | None:
    """The index of a subject; None when there is none that this version understands."""
    try:
        # Opened here: NumPy leaves a file open that turns out to be no archive.
        with index_path(study, subject).open("rb") as raw, np.load(raw) as file:
            header = json.loads(str(file["header"]))
            if header["version"] != VERSION:
                return None
            shape, affine = header["grid"]
            return SubjectIndex(
                subject=subject,
                grid=Grid.of(tuple(shape), np.array(affine)),
                brain_box=file["box"],
                brain_voxels=header["brain_voxels"],
                brain_samples=file["brain"],
                lesions={t: _lesions(file, t) for t in header["timepoints"]},
                scales={(t, m): BrainScale(*scale) for t, m, scale in header["scales"]},
                contents={(t, m): content for t, m, content in header["contents"]},
                made_from=header["made_from"],
            )
    except (FileNotFoundError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _lesions(file: Mapping[str, NDArray[Any]], timepoint: str) -> Lesions:
    names = ("boxes", "voxels", "samples", "offsets")
    return Lesions(*(file[f"{timepoint}/{name}"] for name in names))


def subject_indexes(study: Study, subjects: Iterable[str] | None = None) -> dict[str, SubjectIndex]:
    """Indexes of ingested subjects; those that are absent or stale are made and kept.

    Parameters
    ----------
    study : Study
    subjects : iterable of str, optional
        All that are ingested when absent.

    Raises
    ------
    MissingArrayError
        A subject is not ingested.
    """
    records = {r.unit.subject: r.arrays for r in study.ledger.records("ingest", "done")}
    store = Store(study.store_path)
    found = {}
    for subject in store.labels("subject") if subjects is None else subjects:
        made_from = records.get(subject)
        if made_from is None:
            if subjects is None:
                continue
            raise MissingArrayError(
                f"{subject} is not in the store of {study.path}",
                expected=", ".join(list(records)[:8]) or "ingested subjects",
                remedy=f"lam run {study.path}; lam status {study.path} says what failed",
            )
        found[subject] = _fresh_index(study.path, store, subject, made_from)
    return found


def _fresh_index(
    study: Path, store: Store, subject: str, made_from: Mapping[str, str]
) -> SubjectIndex:
    known = read_index(study, subject)
    if known is not None and known.made_from == made_from:
        return known
    made = index_from_store(store, subject, made_from)
    write_index(study, made)
    return made


def index_from_store(store: Store, subject: str, made_from: Mapping[str, str]) -> SubjectIndex:
    """The index of a subject by reading its arrays whole, once."""
    builder = IndexBuilder(subject, store.grid(subject))
    builder.brainmask(store.read("brainmask", subject=subject)[0])
    for timepoint, modality in sorted(store.available(subject)):
        at = {"subject": subject, "timepoint": timepoint, "modality": modality}
        builder.image(timepoint, modality, store.read("volume", **at)[0, 0, 0])
    for array in made_from:
        name, _, timepoint = array.partition("@")
        if name == "lesion_truth":
            truth = store.read(name, subject=subject, timepoint=timepoint)[0, 0]
            builder.lesion_truth(timepoint, truth)
    return builder.finish(made_from)
