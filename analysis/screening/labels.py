"""Which studies are transitional? Labels of a CSV, joined to a study's measures by study_id."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lamstore.errors import AnalysisError

ID, LABEL, KIND = "study_id", "lstv", "kind"
GENERATED = {"kind", "severity", "seed"}
"""Columns by which labels of `jobs.lumbar` are known."""
_WORDS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_SHOWN = 5


@dataclass(frozen=True)
class Labels:
    """What a file of labels says.

    Attributes
    ----------
    lstv : mapping of study id to bool
    kind : mapping of study id to str
        From the column ``kind`` where there is one: which sort of transitional vertebra.
    repeated : int
        Lines that said what an earlier line had said.
    generated : bool
        Whether the file was written with generated spines.
    provenance : str
        Where the file lies, and the digest of its content.
    """

    source: str
    lstv: dict[str, bool]
    kind: dict[str, str]
    repeated: int
    generated: bool
    provenance: str = ""


@dataclass(frozen=True)
class Join:
    """Who has both a label and measures, and who lacks one of them.

    Attributes
    ----------
    unlabelled : tuple of str
        Measured, without a label: left out of every statistic, kept in the queue.
    failed : tuple of str
        Labelled, and without measures since they failed in this study.
    unknown : tuple of str
        Labelled, and not of this study.
    """

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    failed: tuple[str, ...]
    unknown: tuple[str, ...]


def read_labels(path: Path) -> Labels:
    """Read a CSV with the columns ``study_id`` and ``lstv`` (0 or 1); others are allowed.

    Raises
    ------
    AnalysisError
        No such file, not a CSV, a column missing, a value that is not 0 or 1, an empty id, or a
        study that is called both.
    """
    table = _read(path)
    if missing := [name for name in (ID, LABEL) if name not in table]:
        raise _error(path, f"no column {', '.join(missing)} in {', '.join(map(str, table))}")
    ids = table[ID].str.strip()
    words = table[LABEL].str.strip().str.lower()
    if not ids.astype(bool).all():
        raise _error(path, f"no study id in line {_line(~ids.astype(bool))}")
    if not words.isin([*_WORDS]).all():
        wrong = ~words.isin([*_WORDS])
        raise _error(path, f"lstv is {table[LABEL][wrong].iloc[0]!r} in line {_line(wrong)}")
    said = pd.DataFrame({ID: ids, LABEL: words.map(_WORDS)}).drop_duplicates()
    if twice := sorted(said[ID][said[ID].duplicated()]):
        raise _error(path, f"studies that are called both 0 and 1: {_shown(twice)}")
    kinds = dict(zip(ids, table[KIND].str.strip(), strict=True)) if KIND in table else {}
    return Labels(
        source=path.name,
        lstv={str(i): bool(v) for i, v in zip(said[ID], said[LABEL], strict=True)},
        kind={str(i): str(kind) for i, kind in kinds.items()},
        repeated=len(table) - len(said),
        generated=set(table) >= GENERATED,
        provenance=f"{path.resolve()}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError:
        raise _error(path, "no such file") from None
    except (ValueError, OSError) as error:
        raise _error(path, f"{type(error).__name__}: {error}") from error
    return table.rename(columns=lambda name: str(name).strip().lower())


def join_labels(labels: Labels, measured: Collection[str], known: Iterable[str]) -> Join:
    """Who has a label and measures.

    Parameters
    ----------
    measured : collection of str
        Studies with measures.
    known : iterable of str
        Every study of the cohort, also those that failed.

    Raises
    ------
    AnalysisError
        When not one study has both.
    """
    cohort = set(known)
    both = tuple(sorted(s for s in measured if s in labels.lstv))
    if not both:
        raise AnalysisError(
            f"no study has both a label in {labels.source} and measures",
            got=f"labels of {_shown(sorted(labels.lstv))}; measures of {_shown(sorted(measured))}",
            expected="the study ids of tables/lstv_uncertainty_metrics.csv",
            remedy="of a pseudonymized study the labels need its pseudonyms",
        )
    lost = sorted(s for s in labels.lstv if s not in set(measured))
    return Join(
        labelled=both,
        unlabelled=tuple(sorted(s for s in measured if s not in labels.lstv)),
        failed=tuple(s for s in lost if s in cohort),
        unknown=tuple(s for s in lost if s not in cohort),
    )


def _line(mask: pd.Series) -> int:
    """Of the first true row in the file, whose first line is the heading."""
    return int(mask.to_numpy().argmax()) + 2


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def _error(path: Path, got: str) -> AnalysisError:
    return AnalysisError(
        f"{path} gives no labels",
        got=got,
        expected="a CSV with the columns study_id and lstv (0 or 1), a line a study",
    )
