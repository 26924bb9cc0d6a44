"""How does screening come to disk? Measures of the study, labels beside; tables, figures, page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pandas as pd

from analysis.heatmap_tables import TABLE, heatmap_tables
from analysis.screening.labels import Labels, read_labels
from analysis.screening.result import Screening, analyse
from analysis.screening.summary import GENERATED, GENERATED_LABELS, RESEARCH, Summary, summarize
from analysis.store_tables import put_table
from lamstore.config import variant_name
from lamstore.errors import AnalysisError
from lamstore.study import Study

if TYPE_CHECKING:
    from analysis.report.facts import Facts

OWN_WEIGHTS = "vertebra-heatmap"
"""Engine that comes with weights."""
TABLES = (
    "risk_groups",
    "audit_queue",
    "auroc",
    "roc",
    "precision_recall",
    "comparison",
    "thresholds",
    "selection",
    "calibration",
)


def screen(
    study: Path,
    labels: Path | None,
    out: Path | None = None,
    warnings: Sequence[str] = (),
) -> Summary:
    """Screening statistics of a study of a localizer.

    Writes ``tables/`` (risk_groups, audit_queue; with labels also auroc, roc, precision_recall,
    comparison, thresholds, selection, calibration), ``figures/``, ``summary.md`` and
    ``report.html``. Nothing is validated without labels, and everything written says so.

    Parameters
    ----------
    study : Path
        The study directory.
    labels : Path or None
        CSV with study_id and lstv (0 or 1); None: that of study.yaml, if it names one.
    out : Path or None
        Where to write; None: the study itself.
    warnings : sequence of str
        What the first page must say beside the usual (the leakage guard's words).

    Returns
    -------
    Summary
        Its text is that of ``summary.md``.

    Raises
    ------
    AnalysisError
        Labels that cannot be used, or a study without measures of a localizer.
    """
    opened = Study.at(study)
    read = _labels(opened, labels)
    found = _screenings(opened, read)
    if not found:
        raise AnalysisError(
            f"{opened.path} has no measures of a localizer",
            expected="a study of an engine that locates levels, run to its end",
            remedy=f"lam run {opened.path}",
        )
    return _write(opened, found, out or opened.path, _said(opened, read, warnings))


def write_spine_report(study: Study, warnings: Sequence[str] = ()) -> Path:
    """The report of a localizer's study as it stands; the page's path.

    With labels where study.yaml names them. A study in which everything failed gets a report that
    says so.

    Raises
    ------
    AnalysisError
        Labels that cannot be used.
    """
    labels = _labels(study, None)
    found = _screenings(study, labels) if study.store_path.exists() else []
    _write(study, found, study.path, _said(study, labels, warnings))
    return study.report_path


def _labels(study: Study, given: Path | None) -> Labels | None:
    path = given or study.config.screening.labels
    return read_labels(path) if path is not None else None


def _said(study: Study, labels: Labels | None, warnings: Sequence[str]) -> tuple[str, ...]:
    """Warnings of the first page, those of the leakage guard first."""
    own = any(
        e.engine == OWN_WEIGHTS and not e.options.get("weights") for e in study.config.engines
    )
    said = [*warnings, RESEARCH]
    said += [GENERATED] if own else []
    return (*said, *([GENERATED_LABELS] if labels is not None and labels.generated else []))


def _screenings(study: Study, labels: Labels | None) -> list[Screening]:
    table = heatmap_tables(study).get(TABLE)
    if table is None or table.empty:
        return []
    known = _cohort(study)
    names = [variant.name for variant in study.config.variants]
    engines = [
        variant_name(label, h)
        for label, h in zip(table["engine"], table["harmonization"], strict=True)
    ]
    rows = table.groupby(pd.Series(engines, index=table.index), sort=False)
    groups = {str(name): part for name, part in rows}
    return [
        analyse(name, groups[name], labels, known, study.config.screening)
        for name in names
        if name in groups
    ]


def _cohort(study: Study) -> list[str]:
    """Every study that the dataset lists."""
    path = study.path / "cohort.json"
    if not path.is_file():
        return []
    return [str(entry["subject"]) for entry in orjson.loads(path.read_bytes())["entries"]]


def _write(
    study: Study, found: Sequence[Screening], out: Path, warnings: tuple[str, ...]
) -> Summary:
    from analysis.report.facts import gather
    from analysis.report.spine import write_page

    summary = summarize("Screening for transitional vertebrae", warnings, found)
    out.mkdir(parents=True, exist_ok=True)
    _write_tables(found, out / "tables")
    facts: Facts = gather(study)
    _write_figures(found, out / "figures")
    write_page(study, facts, found, warnings, out)
    _put_text(str(summary), out / "summary.md")
    return summary


def _write_tables(found: Sequence[Screening], folder: Path) -> None:
    """Tables of all engines together; those of an earlier screening that are no more, go."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [(one.engine, one.tables()) for one in found]
    for name in TABLES:
        parts = [made[name].assign(engine=engine) for engine, made in tables if name in made]
        if parts:
            table = pd.concat(parts, ignore_index=True)
            table.insert(0, "engine", table.pop("engine"))
            put_table(table, folder / f"{name}.csv")
        else:
            (folder / f"{name}.csv").unlink(missing_ok=True)


def _write_figures(found: Sequence[Screening], folder: Path) -> None:
    if not found:
        return
    # Only a study with results pays for this import.
    from analysis.screening.plots import pictures

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("screening_*.png"):
        old.unlink()
    for one in found:
        tail = f"_{one.engine}" if len(found) > 1 else ""
        for name, figure in pictures(one).items():
            figure.savefig(folder / f"screening_{name}{tail}.png")


def _put_text(text: str, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
