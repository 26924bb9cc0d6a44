"""How are another tool's labels of a whole study held against its heatmaps? One after the other.

A study that fails is said, recorded in the table, and stops no other. Nothing of the study itself
is changed: everything goes below one folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import Progress

from analysis.heatmap_tables import series_ids
from analysis.report.relabelling import write_relabelling_page
from analysis.screening.groups import audit_queue, risk_of
from analysis.screening.measures import ENTROPY, Measure, level_measures, levels_of, queue_measure
from analysis.screening.result import one_row_a_study
from analysis.store_tables import put_table
from hpc.registry import leakage_warnings
from jobs.engines.vertebra_heatmap import VertebraHeatmap
from jobs.predict import Scan
from jobs.relabel import Relabelled, Tool, draw, relabel, whole_series
from jobs.relabel_picture import save
from jobs.tool_files import CENTROIDS, MASKS, ToolFiles
from jobs.workbench import audited_engines
from lamstore.config import ScreeningConfig
from lamstore.errors import ConfigError, InputError, LamstoreError
from lamstore.store import Store
from lamstore.study import Study
from lamstore.units import NO_SHIFT

PICTURES = 60
"""Of studies whose labels should move, beside those of the queue; about 0.3 s each."""


@dataclass(frozen=True)
class Request:
    """What the user asked for; None: as study.yaml or the study says."""

    centroids: Path
    masks: Path | None = None
    out: Path | None = None
    top: int | None = None
    engine: str | None = None
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One scan: what came of it, or why nothing did."""

    scan: Scan
    series: str
    found: Relabelled | None
    problem: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """Its line of the table."""
        if self.found is not None:
            return {**self.found.row, "problem": ""}
        head = {"study_id": self.scan.subject, "series_id": self.series}
        problem = "; ".join(line.strip() for line in self.problem.splitlines())
        return head | {"timepoint": self.scan.timepoint, "problem": problem}


def relabel_study(study: Study, request: Request, console: Console) -> int:
    """Relabel every study that has heatmaps; how many failed.

    Raises
    ------
    ConfigError, InputError, AnalysisError
        Nothing can be done at all: no such engine, no heatmaps, no files.
    """
    name, engine = _engine(study, request.engine)
    out = (request.out or study.path / "relabel").resolve()
    tool = Tool(
        ToolFiles(request.centroids.resolve(), CENTROIDS, out),
        ToolFiles(request.masks.resolve(), MASKS, out) if request.masks else None,
        out,
    )
    scans = _scans(study, name, request.subjects)
    engine.load()
    tool.out.mkdir(parents=True, exist_ok=True)
    outcomes = list(_go(study, name, engine, scans, tool, console))
    config = study.config.screening
    if request.top is not None:
        config = config.model_copy(update={"queue_length": request.top})
    table = pd.DataFrame([one.row for one in outcomes])
    table["problem"] = table.pop("problem")  # last, and nothing else has text of that length
    if (table["problem"] != "").all():
        raise InputError(
            f"none of {len(outcomes)} scans could be relabelled", remedy="see what is said above"
        )
    table = table.astype({"shift": "Int64", "divide_sacrum": "boolean"})
    queue = _queue(table, config)
    drawn = _draw(study, name, engine, outcomes, queue, tool, console)
    put_table(table, tool.out / "relabelling.csv")
    put_table(queue, tool.out / "audit_queue.csv")
    said = [*_sentences(outcomes, queue, table, config)]
    about = f"engine {name} ({', '.join(engine.members)}), labels of {tool.centroids.folder}"
    text = "\n".join(["# Labels of another tool", "", about, "", *(f"- {s}" for s in said), ""])
    (tool.out / "summary.md").write_text(text, encoding="utf-8")
    page = write_relabelling_page(
        tool.out,
        study.path.name,
        about,
        table,
        queue,
        said,
        config.queue_measure,
        drawn,
        leakage_warnings(study.config),
    )
    for sentence in said:
        console.print(sentence, highlight=False, markup=False)
    console.print(f"Written: {tool.out}", highlight=False, soft_wrap=True)
    console.print(f"Look at: {page}", highlight=False, soft_wrap=True)
    return sum(one.found is None for one in outcomes)


def _engine(study: Study, wanted: str | None) -> tuple[str, VertebraHeatmap]:
    """Name of the group whose heatmaps judge, and its networks for patches."""
    found = {
        name: engine
        for name, engine in audited_engines(study).items()
        if isinstance(engine, VertebraHeatmap) and "+" not in name
    }
    whole = {name: e for name, e in found.items() if e.options.centroids is None}
    name = wanted or next(iter(whole), None)
    if name not in whole:
        raise ConfigError(
            f"{study.path} has no localizer whose heatmaps could judge labels",
            got=", ".join(f"{n} (looks at centroids only)" for n in found) or "none"
            if wanted is None
            else wanted,
            expected=", ".join(whole) or "an engine vertebra-heatmap without `centroids`",
            remedy="add it to study.yaml, then `lam run`" if not whole else "correct --engine",
        )
    # A patch shows a level at the size that the network knows: no zoom, and no middle slice.
    views = tuple(v for v in whole[name].options.views if v not in ("larger", "smaller"))
    update = {"slices": "all", "views": views or ("plain",)}
    return name, VertebraHeatmap(whole[name].options.model_copy(update=update))


def _scans(study: Study, engine: str, subjects: Sequence[str]) -> list[tuple[Scan, str]]:
    """Scans that have heatmaps as acquired, with the name of their series."""
    series, store = series_ids(study), Store(study.store_path)
    done = sorted(
        {
            (record.unit.subject, record.unit.timepoint)
            for record in study.ledger.records("infer", "done")
            if record.unit.engine == engine and record.unit.shift == NO_SHIFT
        }
    )
    if unknown := sorted(set(subjects) - {subject for subject, _ in done}):
        raise ConfigError(
            f"there are no heatmaps of {', '.join(unknown)}", remedy=f"lam status {study.path}"
        )
    found = [
        (Scan(subject, timepoint, store), series.get((subject, timepoint), ""))
        for subject, timepoint in done
        if not subjects or subject in subjects
    ]
    if not found:
        raise ConfigError(
            f"{study.path} has no heatmaps yet",
            expected=f"results of {engine}",
            remedy=f"lam run {study.path}",
        )
    return found


def _go(
    study: Study,
    name: str,
    engine: VertebraHeatmap,
    scans: Sequence[tuple[Scan, str]],
    tool: Tool,
    console: Console,
) -> Iterator[Outcome]:
    store, config = Store(study.store_path), study.config.heatmaps
    with Progress(console=console, transient=True) as progress:
        for scan, series in progress.track(scans, description="relabelling"):
            try:
                heatmap = whole_series(store, name, scan)
                found = relabel(scan, series, engine, heatmap, tool, config)
            except LamstoreError as error:
                console.print(f"[red]✗[/red] {scan.subject}", highlight=False)
                console.print(str(error), highlight=False, markup=False, soft_wrap=True)
                yield Outcome(scan, series, None, str(error))
            else:
                if found.row["moved"]:
                    moved = found.row["moved"]
                    console.print(f"[yellow]→[/yellow] {scan.subject}: {moved}", highlight=False)
                yield Outcome(scan, series, found)


def _queue(table: pd.DataFrame, config: ScreeningConfig) -> pd.DataFrame:
    """The audit queue, by the measure of study.yaml, around the tool's levels."""
    studies = one_row_a_study(table[table["problem"] == ""])
    queue_measure(studies.columns, config.queue_measure)
    wanted = [
        m
        for m in level_measures(studies, levels_of(studies.columns))
        if m.level == config.score_level or m.column == config.queue_measure
    ]
    risk = risk_of(studies[Measure(config.score_level, ENTROPY).column], config)
    queue = audit_queue(studies, risk, wanted, {}, {}, config).drop(columns="lstv")
    more = studies[["shift", "log_odds", "moved"]].reset_index(names="study_id")
    return queue.merge(more, on="study_id", how="left", sort=False)


def _draw(
    study: Study,
    name: str,
    engine: VertebraHeatmap,
    outcomes: Sequence[Outcome],
    queue: pd.DataFrame,
    tool: Tool,
    console: Console,
) -> dict[str, Path]:
    """Pictures of studies whose labels should move, then of the queue, by study."""
    folder, store = tool.out / "pictures", Store(study.store_path)
    for old in folder.glob("*.png"):
        old.unlink()
    last = {one.scan.subject: one for one in outcomes if one.found is not None}
    moved = [subject for subject, one in last.items() if one.found and one.found.changed]
    chosen = dict.fromkeys([*moved[:PICTURES], *queue["study_id"]])
    drawn = {}
    with Progress(console=console, transient=True) as progress:
        for subject in progress.track(chosen, description="drawing"):
            one = last[subject]
            assert one.found is not None
            heatmap = whole_series(store, name, one.scan)
            figure = draw(one.scan, one.series, engine, heatmap, tool, one.found)
            drawn[subject] = folder / f"{subject}_{one.scan.timepoint}.png"
            save(figure, drawn[subject])
    return drawn


def _sentences(
    outcomes: Sequence[Outcome], queue: pd.DataFrame, table: pd.DataFrame, config: ScreeningConfig
) -> Iterator[str]:
    good = [one.found for one in outcomes if one.found is not None]
    moved = [one for one in good if one.changed]
    yield (
        f"{len(outcomes)} scans: the labels of {len(good) - len(moved)} agree with the heatmaps, "
        f"those of {len(moved)} should move by one vertebra, {len(outcomes) - len(good)} failed."
    )
    if moved:
        yield "A move is a suggestion: look at the pictures; nothing of yours was overwritten."
    if divided := [str(one.row["study_id"]) for one in moved if one.suggestion.sacrum_holds_l5]:
        yield f"The sacrum's label holds what is now L5, to be divided by hand: {_some(divided)}."
    if good:
        yield (f"Audit queue: {len(queue)} by {config.queue_measure}, around the tool's levels.")
        lost = table[(table["problem"] == "") & table[config.queue_measure].isna()]["study_id"]
        if len(lost):
            yield f"Not ranked, for the tool names no such level: {_some(list(map(str, lost)))}."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
