"""How does a reader go through another tool's labels? One page: what should move, who comes first.

The pictures lie beside the page; a page of a large cohort would be too heavy with them inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.page import page_parts
from analysis.report.words import number
from analysis.screening.summary import RESEARCH

NOT_VALUES = ("rank", "study_id", "series_id", "risk", "shift", "log_odds", "moved")
"""Columns of the queue that are no measures."""


def write_relabelling_page(
    out: Path,
    title: str,
    about: str,
    table: pd.DataFrame,
    queue: pd.DataFrame,
    sentences: Sequence[str],
    measure: str,
    pictures: Mapping[str, Path],
    warnings: Sequence[str] = (),
) -> Path:
    """Write ``report.html``; the path.

    Parameters
    ----------
    title, about : str
        Name of the study; whose heatmaps, whose labels.
    table, queue : DataFrame
        ``relabelling.csv`` and ``audit_queue.csv``.
    sentences : sequence of str
        What was found, the most important first.
    measure : str
        Column by which the queue is sorted.
    pictures : mapping of study id to Path
        Below `out`.
    warnings : sequence of str
        What the page must say first, beside that it is for research only.
    """
    environment, style, script = page_parts("spine.css")
    good, failed = table[table["problem"] == ""], table[table["problem"] != ""]
    columns = [c for c in queue.columns if c not in NOT_VALUES]
    says = {str(row["study_id"]): row["moved"] or "labels stay" for row in _rows(good)}
    text = environment.get_template("relabel.html.j2").render(
        title=title,
        about=about,
        warnings=[*warnings, RESEARCH],
        sentences=sentences,
        measure=measure,
        columns=[c.replace("_", " ") for c in columns],
        moved=[_moved(row, pictures) for row in _rows(good[good["moved"] != ""])],
        queue=[_queued(row, columns) for row in _rows(queue)],
        pictures=[
            {
                "anchor": _anchor(study),
                "study": study,
                "says": says.get(study, ""),
                "source": path.relative_to(out).as_posix(),
            }
            for study, path in pictures.items()
        ],
        failed=[{"study": r["study_id"], "problem": r["problem"]} for r in _rows(failed)],
        style=style,
        script=script,
    )
    path = out / "report.html"
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _moved(row: Mapping[Any, Any], pictures: Mapping[str, Path]) -> dict[str, Any]:
    study = str(row["study_id"])
    return {
        "study": study,
        "anchor": _anchor(study),
        "picture": study in pictures,
        "log_odds": number(row["log_odds"], 1),
        "moved": row["moved"],
        "divide": bool(row["divide_sacrum"]),
    }


def _queued(row: Mapping[Any, Any], columns: Sequence[str]) -> dict[str, Any]:
    study = str(row["study_id"])
    values = [number(row[c], 2) for c in columns]
    return {
        "rank": row["rank"],
        "study": study,
        "anchor": _anchor(study),
        "risk": row["risk"],
        "moved": row["moved"],
        "values": values,
    }


def _anchor(study: str) -> str:
    return f"p-{study}"
