"""How does the report come to disk? Gather, analyse, write tables and figures, render the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.report.facts import EngineFacts, Facts, gather
from analysis.report.page import EnginePage, Figure, Figures, render
from analysis.report.panels import data_uri, draw_panels, worst_case
from analysis.report.subjects import SubjectRow, subject_rows
from analysis.tables import ShiftLabel
from analysis.voxels import VoxelAudit
from lamstore.study import Study


def write_report(study: Study, voxels: VoxelAudit | None = None) -> Path:
    """Write ``report.html`` and everything that it was made from.

    Also written: ``tables/*.csv`` of the audit (every table with a column ``engine``),
    ``tables/qc_thresholds.json`` (``qc_thresholds_<engine>.json`` with several engines),
    ``figures/*.png`` and the pictures of subjects that the page itself does not hold
    (``figures/<engine>/…`` with several engines).

    `voxels`, where it is given, adds calibration and error retention.

    A study in which everything failed gets a report that says so.

    Returns
    -------
    Path
        Of the page.
    """
    facts = gather(study, voxels)
    _write_tables(study, facts.engines)
    pages = [_engine_page(study, facts, engine, i) for i, engine in enumerate(facts.engines)]
    part = study.report_path.with_name(f".{study.report_path.name}.part")
    part.write_text(render(facts, pages), encoding="utf-8")
    return part.replace(study.report_path)


def _engine_page(study: Study, facts: Facts, engine: EngineFacts, index: int) -> EnginePage:
    several = len(facts.engines) > 1
    folder = study.figures / engine.name if several else study.figures
    rows = subject_rows(engine, facts.subjects, index)
    drawable = [row.subject for row in rows if row.state in ("ok", "partial")]
    panels = draw_panels(study, engine.name, drawable, folder / "subjects")
    figures = _worst_case(study, engine, rows, folder) | _write_figures(engine, folder)
    return EnginePage(engine, index, rows, panels, figures)


def _worst_case(
    study: Study, engine: EngineFacts, rows: Sequence[SubjectRow], folder: Path
) -> Figures:
    """Picture of the subject that a shift moves most, level by level."""
    moved = [row for row in rows if np.isfinite(row.number("deltav_abs_max"))]
    if not moved:
        return {}
    row = max(moved, key=lambda r: r.number("deltav_abs_max"))
    shift = ShiftLabel.parse(str(row.values["worst_shift"])).name
    panel = worst_case(study, engine.name, row.subject, shift, folder)
    return {
        "worst_case": Figure(
            f"The worst case in pictures: {row.subject} under {shift}",
            "Lesions that lose their orange outline. The image is that as acquired; only the mask "
            "is that of the shifted image.",
            panel.source,
            panel.why,
        )
    }


def _write_figures(engine: EngineFacts, folder: Path) -> Figures:
    """Draw the audit's gallery."""
    found: Figures = {}
    if engine.audit is None:
        return found
    # Only a study with comparisons pays for these imports.
    from analysis.gallery import gallery
    from analysis.style import save

    folder.mkdir(parents=True, exist_ok=True)
    for picture in gallery(engine.audit):
        path = folder / f"{picture.name}.png"
        save(picture.figure, path)
        source = data_uri(path.read_bytes(), "png")
        found[picture.name] = Figure(picture.title, picture.look_for, source)
    return found


def _write_tables(study: Study, engines: Sequence[EngineFacts]) -> None:
    study.tables.mkdir(parents=True, exist_ok=True)
    collected: dict[str, list[pd.DataFrame]] = {}
    for engine in engines:
        if engine.audit is None:
            continue
        for name, table in engine.audit.written_tables().items():
            named = table.copy()
            named.insert(0, "engine", engine.name)
            collected.setdefault(name, []).append(named)
        if engine.audit.thresholds is not None:
            tail = f"_{engine.name}" if len(engines) > 1 else ""
            path = study.tables / f"qc_thresholds{tail}.json"
            path.write_text(engine.audit.thresholds.to_json(), encoding="utf-8")
    _write_csv(collected, study.tables)


def _write_csv(tables: Mapping[str, Sequence[pd.DataFrame]], folder: Path) -> None:
    for name, parts in tables.items():
        # Written beside and moved into place: a reader never sees half a table.
        part = folder / f".{name}.csv.part"
        pd.concat(parts, ignore_index=True).to_csv(part, index=False)
        part.replace(folder / f"{name}.csv")


__all__ = ["write_report"]
