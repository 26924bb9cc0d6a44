"""How does what was found become one page? Sections with their plots, words and tables.

The template only lays out; every string that comes from data is escaped on its way in (jinja2's
autoescape here, markupsafe in the plots).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.report import cells, plots, words
from analysis.report.definitions import definitions
from analysis.report.facts import EngineFacts, Facts
from analysis.report.headline import Headline, headline
from analysis.report.panels import DRAWN, INLINE, Panel
from analysis.report.provenance import provenance
from analysis.report.segmentation import METRICS, segmentation_table
from analysis.report.subjects import SubjectRow
from analysis.summary import sections


@dataclass(frozen=True)
class Figure:
    """A picture of the page: its title, what to look for, a data URI or why there is none."""

    title: str
    look_for: str
    source: str
    why: str = ""


Figures = dict[str, Figure]
"""By name, in reading order."""

SECTION_OF = {
    "Measured change against the truth": "truth",
    "What moves ΔV": "change",
    "Quality control": "qc",
    "Simulated scanner shifts": "robustness",
    "What protects": "protection",
    "Uncertainty and shift sensitivity": "correlations",
    "Groups of subjects": "groups",
}
"""Where the sentences of `analysis.summary` go; others stand under further findings."""
ELSEWHERE = {"Read this first", "Cohort", "What could not be computed"}
"""Sentences that the headline and the list of what is missing say."""
FIGURE_OF = {
    "intensity_against_change": "change",
    "qc_roc": "qc",
    "relative_risk": "robustness",
    "worst_case": "robustness",
    "protection": "protection",
    "pca": "groups",
    "coassignment": "groups",
}
"""By the beginning of a figure's name; the rest stands under further findings."""
PLACES: dict[str, Any] = dict.fromkeys(
    (
        "change",
        "truth",
        "robustness",
        "protection",
        "qc",
        "segmentation",
        "groups",
        "correlations",
        "further",
    ),
    (),
)
REDRAWN = ("change_per_subject", "dice", "robustness_", "uncertainty_against_", "worst_subjects")
"""Figures that the page draws itself, so that they can be pointed at."""
FEATURE_SETS = ("qc", "eval", "robust")
"""Groups by other than the base features are told in words; their figures lie in figures/."""


@dataclass(frozen=True)
class EnginePage:
    """One engine's part of the page before rendering."""

    engine: EngineFacts
    index: int
    rows: Sequence[SubjectRow]
    panels: Mapping[str, Panel]
    figures: Figures

    @property
    def headline(self) -> Headline:
        """The verdict on this engine."""
        return headline(self.engine, self.rows)

    @property
    def flagged(self) -> frozenset[str]:
        """Subjects that QC flags."""
        return frozenset(row.subject for row in self.rows if row.flagged)


def render(facts: Facts, pages: Sequence[EnginePage]) -> str:
    """The whole page as text."""
    environment, style, script = page_parts()
    return environment.get_template("report.html.j2").render(
        facts=facts,
        engines=[_context(facts, page) for page in pages],
        tiles=[*dict.fromkeys(tile.name for page in pages for tile in page.headline.tiles)],
        style=style,
        script=script,
        definitions=definitions(facts.config, next((p.engine.audit for p in pages), None)),
        provenance=provenance(facts),
        inline=INLINE,
        drawn=DRAWN,
    )


def page_parts(*styles: str) -> tuple[Environment, Markup, Markup]:
    """Where templates come from, the style sheet (`styles` after the common one), the script."""
    loader = PackageLoader("analysis", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "mm3": words.mm3,
        "number": words.number,
        "prose": words.prose,
        "status": cells.status,
        "why": cells.why,
        "shift_name": cells.shift_name,
    }
    texts = [
        loader.get_source(environment, name)[0] for name in ("report.js", "report.css", *styles)
    ]
    return environment, Markup("\n".join(texts[1:])), Markup(texts[0])


def _context(facts: Facts, page: EnginePage) -> dict[str, object]:
    return {
        "id": f"e{page.index}",
        "name": page.engine.name,
        "headline": page.headline,
        "columns": cells.columns(page.rows),
        "table": cells.table_rows(page.rows),
        "rows": page.rows,
        "panels": page.panels,
        "said": PLACES | _said(page),
        "figures": PLACES | _figures(page),
        "charts": PLACES | plots.charts(page.engine, page.rows, page.flagged),
        "segmentation": _segmentation(page.engine),
        "missing": _missing(facts, page.engine),
    }


def _said(page: EnginePage) -> dict[str, list[str]]:
    """Sentences of the audit's summary by section of the page."""
    found: dict[str, list[str]] = {}
    if page.engine.audit is not None:
        for title, sentences in sections(page.engine.audit):
            if title not in ELSEWHERE:
                found.setdefault(SECTION_OF.get(title, "further"), []).extend(sentences)
    return found


def _figures(page: EnginePage) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure]] = {}
    for name, figure in page.figures.items():
        elsewhere = name.startswith(("pca_", "coassignment_")) and name.endswith(FEATURE_SETS)
        if not name.startswith(REDRAWN) and not elsewhere:
            places = (place for start, place in FIGURE_OF.items() if name.startswith(start))
            found.setdefault(next(places, "further"), []).append(figure)
    return found


def _segmentation(engine: EngineFacts) -> list[tuple[str, dict[str, str]]]:
    """Metric's name, and ``median [q25, q75]`` by timepoint."""
    if engine.segmentation.empty:
        return []
    found: dict[str, dict[str, str]] = {}
    for row in segmentation_table(engine.segmentation).itertuples():
        name, digits = METRICS[str(row.metric)]
        low, middle, high = (words.number(v, digits) for v in (row.q25, row.median, row.q75))
        found.setdefault(name, {})[str(row.timepoint)] = f"{middle} [{low}, {high}], n = {row.n}"
    return [*found.items()]


def _missing(facts: Facts, engine: EngineFacts) -> list[str]:
    """What the page does not show, and why."""
    said = [*facts.missing]
    if engine.audit is None:
        said.append(f"change, shifts' effect on ΔV, and QC: {engine.why}")
    else:
        said += engine.audit.missing
    if engine.segmentation.empty:
        said.append(
            "segmentation metrics: the dataset has no lesion truth (or nothing was compared)"
        )
    said += [f"{subject}: left out by the dataset, {why}" for subject, why in facts.left_out]
    return said
