"""Which files does a hand-written CSV name as a subject's?

Columns ``subject``, ``timepoint``, ``modality`` (or ``role``), ``path`` and, where images have to
be resampled, ``transform``. One row a file::

    subject,timepoint,modality,path
    anna,t0,flair,anna/base_flair.nii.gz
    anna,t1,flair,anna/follow_flair.nii.gz
    anna,,brainmask,anna/mask.nii.gz
    anna,t1,lesion_truth,anna/lesions.nii.gz

Relative paths start at the table's folder. Roles: ``brainmask``, ``lesion_truth`` (of a
timepoint), ``change_truth``, and ``reference`` for a file that only gives the grid. ``transform``
names ITK text transforms from points of the reference to points of the image, first to last,
separated by ``;``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.datasets.files import NoOptions, not_such_a_dataset, parse_options, subject_label
from jobs.datasets.model import MODALITIES, ImageSource, SubjectSources
from jobs.nifti import shown
from lamstore.errors import ConfigError

_SINGLE_ROLES = ("brainmask", "change_truth", "reference")
_HELP = "a CSV with columns subject, timepoint, modality (or role), path and optionally transform"


@dataclass(frozen=True)
class _Row:
    line: int
    subject: str
    timepoint: str
    role: str
    source: ImageSource

    @property
    def key(self) -> tuple[str, str]:
        return ("", self.role) if self.role in _SINGLE_ROLES else (self.timepoint, self.role)


def nifti_table(root: Path, **options: Any) -> list[SubjectSources]:
    """Subjects of a table, in the order of their first rows.

    The subject's grid is that of its ``reference`` row, or of the first file without transform:
    baseline FLAIR, then other images, then the brain mask.

    Parameters
    ----------
    root : Path
        The table itself: ``.csv`` (comma) or ``.tsv`` (tab), UTF-8.

    Raises
    ------
    ConfigError
        Any option, no table, or a table without these columns or without rows.
    """
    parse_options(NoOptions, options, "nifti-table")
    if not root.is_file():
        raise not_such_a_dataset(root, "nifti-table", _HELP)
    by_subject: dict[str, list[_Row]] = {}
    for row in _rows(root):
        by_subject.setdefault(row.subject, []).append(row)
    if not by_subject:
        raise ConfigError(f"{shown(root)} has no rows", expected=_HELP)
    return [_subject(name, rows) for name, rows in by_subject.items()]


def _rows(table: Path) -> Iterable[_Row]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{shown(table)} is not UTF-8 text",
            got=str(error),
            expected=_HELP,
            remedy="save the table as CSV UTF-8",
        ) from error
    delimiter = "\t" if table.suffix == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    columns = [name.strip().lower() for name in reader.fieldnames or []]
    role = "modality" if "modality" in columns else "role"
    missing = {"subject", "timepoint", role, "path"} - set(columns)
    if missing:
        raise ConfigError(
            f"{shown(table)} lacks the columns {', '.join(sorted(missing))}",
            got=", ".join(columns) or "an empty file",
            expected=_HELP,
            remedy="name the columns in the first line",
        )
    reader.fieldnames = columns
    for cells in reader:
        yield _row(
            table, reader.line_num, {k: (v or "").strip() for k, v in cells.items() if k}, role
        )


def _row(table: Path, line: int, cells: dict[str, str], role: str) -> _Row:
    # A table with both columns says the modality in one and the role in the other.
    kind = (cells[role] or cells.get("role", "")).lower()
    empty = [
        name
        for name, value in (("subject", cells["subject"]), (role, kind), ("path", cells["path"]))
        if not value
    ]
    if empty:
        raise ConfigError(
            f"{shown(table)}, line {line}, has an empty cell",
            got=f"no {', '.join(empty)}",
            expected=_HELP,
            remedy="fill it, or remove the line",
        )
    transforms = tuple(
        table.parent / t.strip() for t in cells.get("transform", "").split(";") if t.strip()
    )
    source = ImageSource(table.parent / cells["path"], transforms)
    return _Row(line, cells["subject"], cells["timepoint"].lower(), kind, source)


def _subject(name: str, rows: list[_Row]) -> SubjectSources:
    problems = [p for p in map(_row_problem, rows) if p]
    first: dict[tuple[str, str], _Row] = {}
    for row in rows:
        other = first.setdefault(row.key, row)
        if other is not row:
            problems.append(
                f"duplicate row: lines {other.line} and {row.line} both give "
                f"{' '.join(filter(None, row.key))} of {name}"
            )
    images = {key: row.source for key, row in first.items() if row.role in MODALITIES}
    single = {role: first[("", role)].source for role in _SINGLE_ROLES if ("", role) in first}
    reference = _reference(images, single)
    if reference is None:
        problems.append(
            "every file has a transform: a row with the role reference must give the grid"
        )
    return SubjectSources(
        subject=subject_label(name),
        images=images,
        reference=reference or rows[0].source,
        brainmask=single.get("brainmask"),
        change_truth=single.get("change_truth"),
        lesion_truth={t: r.source for (t, role), r in first.items() if role == "lesion_truth"},
        problems=tuple(problems),
    )


def _row_problem(row: _Row) -> str:
    if row.role in _SINGLE_ROLES:
        return ""
    if row.role not in (*MODALITIES, "lesion_truth"):
        known = ", ".join((*MODALITIES, "lesion_truth", *_SINGLE_ROLES))
        return f"line {row.line}: unknown modality or role {row.role!r}; expected one of {known}"
    if not re.fullmatch(r"t[0-9]+", row.timepoint):
        return f"line {row.line}: timepoint {row.timepoint!r} of {row.role}; expected t0, t1, …"
    return ""


def _reference(
    images: dict[tuple[str, str], ImageSource], single: dict[str, ImageSource]
) -> ImageSource | None:
    if "reference" in single:
        return single["reference"]
    keys = sorted(images, key=lambda key: (key[0], key[1] != "flair"))
    candidates = [images[key] for key in keys] + [single[r] for r in _SINGLE_ROLES if r in single]
    return next((source for source in candidates if not source.transforms), None)
