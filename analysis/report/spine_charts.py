"""How does a screening look in the page? Distributions, calibration, levels as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from analysis.report import svg
from analysis.report.svg import Axis
from analysis.report.words import number
from analysis.screening.measures import CONFIDENCE, ENTROPY, Measure, level_name
from analysis.screening.result import Evidence, Screening

WIDTH = 960.0
COLUMNS = 2
DOTS = 150
"""Above this many studies of a group it is drawn as a shape and not study by study."""
LSTV, NORMAL, EVERY = "transitional", "normal", "all"
Floats = NDArray[np.float64]


def strips(one: Screening) -> Markup:
    """Every measure that screens: normals and transitional spines, a panel a measure."""
    shown = [(m, [m]) for m in one.screening_measures]
    return _panels(one, shown, "Distribution of every measure, normal against transitional")


def level_strips(one: Screening) -> Markup:
    """Entropy and confidence at every level, each on one scale for all levels: labels or not."""
    of_kind = {k: [m for m in one.measures if m.kind is k] for k in (ENTROPY, CONFIDENCE)}
    shown = [
        (Measure(level, kind), alike) for level in one.levels for kind, alike in of_kind.items()
    ]
    return _panels(one, shown, "Entropy and confidence at every level")


def _panels(one: Screening, shown: Sequence[tuple[Measure, list[Measure]]], title: str) -> Markup:
    """Panels side by side; each measure with those that it shares a scale with."""
    parts = []
    groups = _groups(one)
    width, height = (WIDTH - 40) / COLUMNS, 46.0 * len(groups) + 62
    for i, (measure, alike) in enumerate(shown):
        left, top = (i % COLUMNS) * (width + 40), (i // COLUMNS) * (height + 10)
        values = one.table[[m.column for m in alike]].to_numpy(float).ravel()
        scale = svg.axis(values, left + 104, left + width - 8)
        parts.append(_panel(one, measure, groups, scale, (left, top, width, height - 40)))
    rows = -(-len(shown) // COLUMNS)
    return svg.drawing(WIDTH, rows * (height + 10), title, *parts)


def _groups(one: Screening) -> list[tuple[str, list[str]]]:
    if one.evidence is None:
        return [(EVERY, [str(s) for s in one.table.index])]
    truth = one.evidence.positive
    return [
        (name, [str(s) for s in truth.index[truth == word]])
        for name, word in ((NORMAL, False), (LSTV, True))
    ]


def _panel(
    one: Screening,
    measure: Measure,
    groups: Sequence[tuple[str, list[str]]],
    scale: Axis,
    box: tuple[float, float, float, float],
) -> Markup:
    left, top, width, height = box
    values = one.table[measure.column]
    bottom = top + height
    parts = [svg.words(left, top + 12, measure.label, "name strong")]
    if one.evidence is not None:
        area = number(one.evidence.area(measure)["auroc"])
        parts.append(svg.words(left + width - 8, top + 12, f"AUROC {area}", "label", "end"))
    parts.append(svg.across(scale, top + 20, bottom))
    if measure.kind is ENTROPY and measure.level == one.config.score_level:
        parts += _bounds(one, scale, top + 20, bottom)
    for i, (name, studies) in enumerate(groups):
        y = top + 20 + (height - 20) * (i + 0.5) / len(groups)
        parts.append(svg.words(left + 96, y + 4, f"{name} ({len(studies)})", "tick", "end"))
        parts.append(_group(measure, values[studies], name, scale, y))
    return Markup("").join(parts)


def _bounds(one: Screening, scale: Axis, top: float, bottom: float) -> list[Markup]:
    config = one.config
    return [
        svg.line(scale(v), top, scale(v), bottom, cls="threshold", tip=f"{name} from {v:g}")
        for name, v in (("medium risk", config.medium_entropy), ("high risk", config.high_entropy))
        if scale.low <= v <= scale.high
    ]


def _group(measure: Measure, values: pd.Series, name: str, scale: Axis, y: float) -> Markup:
    known = values.dropna().astype(float).sort_values(kind="stable")
    if known.empty:
        return svg.words(scale.start + 4, y + 4, "none", "tick")
    kind, shape = ("flag", "diamond") if name == LSTV else ("model", "dot")
    parts = []
    if len(known) > DOTS:
        parts.append(_shape(np.asarray(known, np.float64), scale, y, f"band {kind}"))
    else:
        # Neighbours in rank are set apart in turn: every dot is seen, nothing is random.
        for rank, (study, value) in enumerate(known.items()):
            tip = f"{study} ({name})\n{measure.label}: {number(value, measure.kind.digits)}"
            away = y + ((rank % 5) - 2) * 4.0
            parts.append(
                svg.mark(scale(value), away, kind, tip, subject=str(study), shape=shape, size=3.6)
            )
    middle = float(known.median())
    x, tip = scale(middle), f"median, {name}: {number(middle, measure.kind.digits)}"
    parts.append(svg.line(x, y - 16, x, y + 16, cls="median", tip=tip))
    return Markup("").join(parts)


def _shape(values: Floats, scale: Axis, y: float, cls: str) -> Markup:
    """A histogram mirrored about its line."""
    counts, edges = np.histogram(values, bins=40, range=(scale.low, scale.high))
    middles = (edges[:-1] + edges[1:]) / 2
    reach = 17.0 * counts / counts.max()
    low = [(scale(float(v)), round(y - r, 1)) for v, r in zip(middles, reach, strict=True)]
    high = [(scale(float(v)), round(y + r, 1)) for v, r in zip(middles, reach, strict=True)]
    return svg.area(low, high, cls)


def calibration_chart(rows: pd.DataFrame) -> Markup:
    """Share of transitional spines against the probability, with Wilson intervals.

    Parameters
    ----------
    rows : DataFrame
        Bins of one measure and method.
    """
    side, left, top = 300.0, 50.0, 10.0
    across, up = Axis(0, 1, left, left + side), Axis(0, 1, top + side, top)
    parts = [
        svg.across(across, top, top + side, "probability"),
        svg.upright(up, left, left + side),
        svg.line(across(0), up(0), across(1), up(1), cls="threshold"),
        svg.words(left + 6, top + 14, "share transitional", "label"),
    ]
    for row in rows[rows["n"] > 0].to_dict("records"):
        x = across(row["mean_probability"])
        tip = (
            f"probability {row['probability_from']:.1f} to {row['probability_to']:.1f}\n"
            f"{number(row['share_lstv'])} of {row['n']} are transitional "
            f"({number(row['share_low'])} to {number(row['share_high'])})"
        )
        parts.append(
            svg.line(x, up(row["share_low"]), x, up(row["share_high"]), cls="range", tip=tip)
        )
        parts.append(svg.mark(x, up(row["share_lstv"]), "model", tip, size=5))
        parts.append(svg.words(x + 9, up(row["share_lstv"]) + 4, str(row["n"]), "tick"))
    return svg.drawing(left + side + 30, top + side + 42, "Calibration", *parts)


def level_cells(one: Screening, evidence: Evidence) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Rows of the panel of levels: kind, then of each level the AUROC, its shade, its hint."""
    table = evidence.areas[evidence.areas["level"].isin(one.levels)]
    says = {m.kind.name: m.kind.says for m in one.measures}
    by_cell = {(r["kind"], r["level"]): r for r in table.to_dict("records")}
    found = []
    for kind in dict.fromkeys(table["kind"]):
        cells = [_cell(by_cell.get((kind, level)), level) for level in one.levels]
        found.append((says[kind], cells))
    return found


def _cell(row: Mapping[Any, Any] | None, level: str) -> tuple[str, str, str]:
    if row is None or not np.isfinite(row["auroc"]):
        return "–", "none", ""
    value = float(row["auroc"])
    colour = "0,114,178" if value >= 0.5 else "213,94,0"
    shade = f"rgba({colour},{min(abs(value - 0.5) * 1.5, 0.75):.2f})"
    hint = (
        f"{level_name(level)}: AUROC {number(row['auroc_low'])} to {number(row['auroc_high'])}; "
        f"median {number(row['normal_q50'])} in normal, {number(row['lstv_q50'])} in transitional"
    )
    return number(value), shade, hint
