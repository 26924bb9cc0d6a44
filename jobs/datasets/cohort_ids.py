"""Which studies may be touched? The guard against judging a model on what it was trained on.

With a list of ids only those studies are looked at: of the others not even a folder is listed.
Without one nothing is, unless all studies are asked for by name of the option, and then a warning
goes with the results.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jobs.nifti import shown
from lamstore.errors import ConfigError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What may become the name of a folder: nothing that climbs out of the root."""
_FORMS = "a .npy array, a .txt with one id a line, a .csv with a column study_id, or a .json list"


def leakage_warning(options: Mapping[str, Any]) -> str | None:
    """What a report must say on its first page; None where the studies were chosen by a list.

    Parameters
    ----------
    options : mapping
        ``dataset.options`` of study.yaml.
    """
    if options.get("ids") or not options.get("allow_all_studies"):
        return None
    if options.get("training_ids"):
        return (
            "All studies of the dataset were evaluated, without a list of evaluation ids. None of "
            "them is in the list of training ids that was given; whether that list is complete is "
            "not known here."
        )
    return (
        "All studies of the dataset were evaluated, without a list of evaluation ids "
        "(--allow-all-studies). If the model was trained on any of them, every number here is too "
        "good."
    )


def read_ids(path: Path) -> tuple[str, ...]:
    """Study ids of a file, each once, in its order.

    Parameters
    ----------
    path : Path
        ``.npy`` (strings or whole numbers, never pickled), ``.txt``, ``.csv`` (column ``study_id``,
        or its only column) or ``.json`` (a list).

    Raises
    ------
    ConfigError
        No such file, another form, no ids, or one that could not be the name of a study.
    """
    readers = {".npy": _npy, ".txt": _txt, ".csv": _csv, ".json": _json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _error(path, f"the suffix {path.suffix!r}")
    try:
        raw = list(reader(path.read_bytes()))
    except FileNotFoundError:
        raise _error(path, "no such file") from None
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise _error(path, f"{type(error).__name__}: {error}") from error
    ids = [_whole(value) for value in raw]
    if wrong := [number for number, one in enumerate(ids, 1) if not _ID.fullmatch(one)]:
        raise _error(path, f"entry {wrong[0]} is no id of a study")
    if not ids:
        raise _error(path, "no id")
    return tuple(dict.fromkeys(ids))


def chosen_studies(
    ids: Path | None, training_ids: Path | None, allow_all_studies: bool
) -> tuple[str, ...] | None:
    """Ids of the studies to evaluate; None for all.

    Raises
    ------
    ConfigError
        Neither a list nor the word that all are meant, or ids in both lists.
    """
    if ids is None:
        if not allow_all_studies:
            raise ConfigError(
                "which studies may be evaluated?",
                got="no list of ids",
                expected="the ids that the model was not trained on",
                remedy="--ids valid_id.npy; or --allow-all-studies, and the report will say so",
            )
        return None
    wanted = read_ids(ids)
    refuse_training(wanted, training_ids)
    return wanted


def refuse_training(studies: Iterable[str], training_ids: Path | None) -> None:
    """ConfigError where a study to evaluate is one that the model was trained on."""
    if training_ids is None:
        return
    trained = set(read_ids(training_ids))
    both = [study for study in studies if study in trained]
    if both:
        raise ConfigError(
            "studies to evaluate are among those that the model was trained on",
            got=f"{len(both)} in both lists",
            expected="two lists without a common id",
            remedy="take them out of the evaluation ids",
        )


def _whole(value: object) -> str:
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else ""
    return str(value).strip()


def _npy(data: bytes) -> Iterable[object]:
    return np.atleast_1d(np.load(io.BytesIO(data), allow_pickle=False)).ravel().tolist()


def _txt(data: bytes) -> Iterable[object]:
    lines = (line.partition("#")[0].strip() for line in data.decode("utf-8-sig").splitlines())
    return [line for line in lines if line]


def _csv(data: bytes) -> Iterable[object]:
    rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if any(row)]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if "study_id" in header:
        column = header.index("study_id")
        return [row[column] for row in rows[1:]]
    if len(header) != 1:
        raise ValueError("no column study_id")
    return [row[0] for row in rows]


def _json(data: bytes) -> Iterable[object]:
    found = json.loads(data)
    if not isinstance(found, list) or any(isinstance(one, dict | list) for one in found):
        raise ValueError("no list of ids")
    return found


def _error(path: Path, got: str) -> ConfigError:
    return ConfigError(
        f"{shown(path)} gives no study ids",
        got=got,
        expected=_FORMS,
        remedy="numpy.save(path, ids.astype(str)) writes one that can be read",
    )
