"""How does a screening become a page? Warnings first, then what was found, then who to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.facts import Facts, Failure
from analysis.report.page import page_parts
from analysis.report.panels import INLINE, draw_panels
from analysis.report.plots import Chart
from analysis.report.provenance import provenance
from analysis.report.spine_charts import calibration_chart, level_cells, level_strips, strips
from analysis.report.spine_curves import precision_chart, roc_chart
from analysis.report.spine_words import definitions, tiles, verdict
from analysis.report.words import number
from analysis.screening import summary as said
from analysis.screening.measures import level_name, queue_measure
from analysis.screening.result import Evidence, Screening
from analysis.screening.thresholds import BOTH
from lamstore.study import Study

SHORT = {BOTH: "the other half"}
KEYS = (("model", "normal"), ("flag", "transitional"))


@dataclass(frozen=True)
class Place:
    """A place of the queue, for the table and the picture."""

    anchor: str
    study: str
    series: str
    risk: str
    truth: str
    values: tuple[tuple[str, str], ...]
    """Text and sort key of each measure."""


def write_page(
    study: Study, facts: Facts, found: Sequence[Screening], warnings: Sequence[str], out: Path
) -> Path:
    """Write ``report.html`` into a folder; the path.

    Parameters
    ----------
    facts : Facts
        Of the study: failures, jobs, provenance.
    found : sequence of Screening
        One an engine; empty where nothing could be measured.
    """
    environment, style, script = page_parts("spine.css")
    text = environment.get_template("spine.html.j2").render(
        facts=facts,
        warnings=warnings,
        engines=[_context(study, one, i, out) for i, one in enumerate(found)],
        verdict=verdict(facts, found),
        failures=_failures(facts),
        style=style,
        script=script,
        definitions=definitions(facts.config),
        provenance=[*provenance(facts), *_labels(found)],
    )
    path = out / study.report_path.name
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)


def _context(study: Study, one: Screening, index: int, out: Path) -> dict[str, Any]:
    evidence = one.evidence
    drawn = [str(s) for s in one.queue["study_id"].head(INLINE)]
    panels = draw_panels(study, one.engine, drawn, out / "figures" / "subjects")
    return {
        "id": f"e{index}",
        "name": one.engine,
        "level": level_name(one.config.score_level),
        "queue_by": _queue_by(one),
        "verdict": verdict(None, [one]),
        "because": _because(one),
        "tiles": tiles(one),
        "measures": one.screening_measures,
        "queue": _places(one, index),
        "panels": panels,
        "groups": _groups(one),
        "labelled": evidence is not None,
        "missing": one.missing,
        "distributions": [_distributions(one)],
        "level_distributions": [_level_distributions(one)],
        **(_shown(one, evidence) if evidence is not None else {}),
    }


def _labels(found: Sequence[Screening]) -> list[tuple[str, str]]:
    evidence = next((one.evidence for one in found if one.evidence is not None), None)
    return [("Labels", evidence.labels.provenance)] if evidence is not None else []


def _because(one: Screening) -> list[str]:
    sized = [s for s, n in zip(said.group_sentences(one), one.groups["n"], strict=True) if n]
    return [*said.cohort_sentences(one), *sized]


def _distributions(one: Screening) -> Chart:
    return Chart(
        "Every measure of the level that screens, and of the whole spine",
        "Groups that lie apart, not single studies. A click on a dot leads to its picture where "
        "there is one. Dashed: risk groups of study.yaml.",
        strips(one),
        KEYS if one.evidence is not None else (),
    )


def _level_distributions(one: Screening) -> Chart:
    return Chart(
        "Entropy and confidence, level by level",
        "A level that stands out from the others of the cohort. One scale for all levels. Dashed: "
        f"risk groups of study.yaml, which are those of {level_name(one.config.score_level)}.",
        level_strips(one),
        KEYS if one.evidence is not None else (),
    )


def _queue_by(one: Screening) -> str:
    """``highest entropy, L5/S1``."""
    measure = queue_measure(one.table.columns, one.config.queue_measure)
    most = "highest" if measure.kind.higher else "lowest"
    return f"{most} {measure.kind.says}, {level_name(measure.level)}"


def _shown(one: Screening, evidence: Evidence) -> dict[str, Any]:
    """What needs labels."""
    return {
        "discrimination": [*said.discrimination_sentences(evidence)],
        "roc": [_roc(one, evidence), _precision(one, evidence)] if len(evidence.roc) else [],
        "levels": [level_name(level) for level in one.levels],
        "level_rows": level_cells(one, evidence),
        "thresholds": _thresholds(evidence),
        "threshold_words": [*said.threshold_sentences(evidence)],
        "comparison": _comparison(evidence),
        "comparison_words": [*said.comparison_sentences(evidence)],
        "calibration": _calibration(evidence),
        "calibration_words": [*said.calibration_sentences(evidence)],
    }


def _roc(one: Screening, evidence: Evidence) -> Chart:
    star = evidence.areas[evidence.areas["n_undefined"] > 0]["measure"]
    some = any(m.column in set(star) for m in one.screening_measures)
    return Chart(
        "ROC curves, and AUROC of every measure",
        "Intervals that stay right of 0.5, and how far they overlap. The orange one is the best: "
        "chosen here, so its number flatters; what it is worth where it was not chosen stands "
        "above." + (" * not defined in every study." if some else ""),
        roc_chart(one, evidence),
    )


def _precision(one: Screening, evidence: Evidence) -> Chart:
    share = number(evidence.positive.mean())
    return Chart(
        "Precision-recall curves, and average precision of every measure",
        "How many of those called are transitional, from the most suspicious down. Dashed: chance, "
        f"this cohort's share of {share}; in a clinic it is far lower, and so is precision.",
        precision_chart(one, evidence),
    )


def _thresholds(evidence: Evidence) -> list[dict[str, str]]:
    if evidence.best is None or evidence.thresholds.empty:
        return []
    table = evidence.thresholds
    rows = table[(table["measure"] == evidence.best.column) | (table["chosen_on"] == "study.yaml")]
    return [_threshold(row) for row in rows.to_dict("records")]


def _threshold(row: dict[Any, Any]) -> dict[str, str]:
    rule = "risk group high" if row["rule"] == "high_entropy" else str(row["rule"])
    found = {
        "measure": str(row["measure"]),
        "rule": rule,
        "threshold": f"{row['suspicious']} {number(row['threshold'], 3)}"
        if np.isfinite(row["threshold"])
        else "each its own",
        "halves": f"{SHORT.get(row['chosen_on'], row['chosen_on'])} → {row['judged_on']}",
        "n": str(row["n"]),
    }
    return found | {name: _rate(row, name) for name in ("sensitivity", "specificity", "ppv", "npv")}


def _rate(row: dict[Any, Any], name: str) -> str:
    value, low, high = (number(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} ({low} to {high})" if np.isfinite(row[name]) else "–"


def _comparison(evidence: Evidence) -> list[dict[str, str]]:
    """The best measure against each other one."""
    best, table = evidence.best, evidence.comparison
    if best is None or table.empty or table["p_value"].isna().all():
        return []
    mine = table[(table["a"] == best.column) | (table["b"] == best.column)]
    rows = []
    for row in mine.to_dict("records"):
        turned = row["b"] == best.column
        rows.append(
            {
                "other": str(row["a"] if turned else row["b"]),
                "n": str(row["n"]),
                "best": number(row["auroc_b" if turned else "auroc_a"]),
                "area": number(row["auroc_a" if turned else "auroc_b"]),
                "difference": number(-row["difference"] if turned else row["difference"]),
                "p": _p(row["p_value"]),
                "p_holm": _p(row["p_holm"]),
            }
        )
    return sorted(rows, key=lambda r: r["area"], reverse=True)


def _p(value: float) -> str:
    return "–" if not np.isfinite(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _calibration(evidence: Evidence) -> list[Chart]:
    best, table = evidence.best, evidence.calibration
    if best is None or table.empty:
        return []
    mine = table[table["measure"] == best.column]
    return [
        Chart(
            f"{best.kind.says.capitalize()} as a probability, {method}",
            "Dots on the diagonal: the probability means what it says. Numbers: studies in a bin.",
            calibration_chart(rows),
        )
        for method, rows in mine.groupby("method", sort=False)
    ]


def _groups(one: Screening) -> list[dict[str, Any]]:
    rows = []
    for row in one.groups.to_dict("records"):
        rows.append(
            {
                "risk": row["risk"],
                "entropy": row["entropy"],
                "n": row["n"],
                "share": _rate(row, "share"),
                "width": round(100 * row["share"], 1) if row["n"] else 0,
                "labelled": row["n_labelled"],
                "rate": _rate(row, "lstv_rate"),
                "filled": round(100 * row["lstv_rate"], 1) if row["n_labelled"] else 0,
            }
        )
    return rows


def _places(one: Screening, index: int) -> list[Place]:
    return [_place(one, row, f"e{index}-q{row['rank']}") for row in one.queue.to_dict("records")]


def _place(one: Screening, row: dict[Any, Any], anchor: str) -> Place:
    truth = ""
    if row["lstv"] is not pd.NA and row["lstv"] is not None:
        truth = (
            str(row.get("kind") or "transitional").replace("_", " ") if row["lstv"] else "normal"
        )
    values = tuple(
        (number(row[m.column], m.kind.digits), f"{row[m.column]:.9g}" if _known(row, m) else "")
        for m in one.screening_measures
    )
    series = "" if pd.isna(row["series_id"]) else str(row["series_id"])
    return Place(anchor, str(row["study_id"]), series, str(row["risk"]), truth, values)


def _known(row: dict[Any, Any], measure: Any) -> bool:
    return bool(np.isfinite(row[measure.column]))


def _failures(facts: Facts) -> list[Failure]:
    return [f for f in facts.failures if f.decisive]


__all__ = ["write_page"]
