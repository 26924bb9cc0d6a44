"""How well does each measure rank transitional spines first? ROC and precision-recall as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.report import svg
from analysis.report.svg import Axis
from analysis.report.words import number
from analysis.screening.measures import Measure
from analysis.screening.plots import shown_curves
from analysis.screening.result import Evidence, Screening

WIDTH, SIDE, LEFT, TOP = 960.0, 340.0, 50.0, 12.0


@dataclass(frozen=True)
class Area:
    """A number that sums up a curve, as the table of areas has it."""

    column: str
    says: str
    chance: float


def roc_chart(one: Screening, evidence: Evidence) -> Markup:
    """ROC curves on the left, AUROC of every measure with its interval on the right."""
    curves = [_points(evidence.roc, m, "false_positive_rate", "sensitivity")
              for m in shown_curves(one)]  # fmt: skip
    parts = _axes("1 \u2212 specificity", "sensitivity", (0.0, 1.0))
    parts += _drawn(one, curves)
    parts.append(_forest(one, evidence, Area("auroc", "AUROC", 0.5)))
    return svg.drawing(WIDTH, TOP + SIDE + 42, "ROC curves and areas under them", *parts)


def precision_chart(one: Screening, evidence: Evidence) -> Markup:
    """Precision-recall curves, and average precision of every measure with its interval."""
    share = float(evidence.positive.mean())
    table = evidence.precision_recall
    curves = [_points(table, m, "recall", "precision") for m in shown_curves(one)]
    parts = _axes("recall (sensitivity)", "precision (PPV)", (share, share))
    parts += _drawn(one, curves)
    parts.append(_forest(one, evidence, Area("average_precision", "average precision", share)))
    return svg.drawing(WIDTH, TOP + SIDE + 42, "Precision-recall curves", *parts)


def _points(table: pd.DataFrame, measure: Measure, x: str, y: str) -> list[tuple[float, float]]:
    mine = table[table["measure"] == measure.column]
    return [(float(a), float(b)) for a, b in zip(mine[x], mine[y], strict=True)]


def _axes(across: str, up: str, chance: tuple[float, float]) -> list[Markup]:
    x, y = _scales()
    free = TOP + 14 if chance[0] < chance[1] else TOP + SIDE - 8  # where no curve begins
    return [
        svg.across(x, TOP, TOP + SIDE, across),
        svg.upright(y, LEFT, LEFT + SIDE),
        svg.line(x(0), y(chance[0]), x(1), y(chance[1]), cls="threshold", tip="chance"),
        svg.words(LEFT + 6, free, up, "label"),
    ]


def _scales() -> tuple[Axis, Axis]:
    return Axis(0, 1, LEFT, LEFT + SIDE), Axis(0, 1, TOP + SIDE, TOP)


def _drawn(one: Screening, curves: Sequence[list[tuple[float, float]]]) -> list[Markup]:
    x, y = _scales()
    parts = []
    for i, (measure, points) in enumerate(zip(shown_curves(one), curves, strict=True)):
        parts.append(svg.polyline([(x(a), y(b)) for a, b in points], f"curve c{i}"))
        key = TOP + SIDE - 16 - 18 * (len(curves) - 1 - i)
        parts.append(svg.line(LEFT + 150, key - 4, LEFT + 172, key - 4, cls=f"curve c{i}"))
        parts.append(svg.words(LEFT + 178, key, measure.kind.says, "tick"))
    return parts


def _forest(one: Screening, evidence: Evidence, area: Area) -> Markup:
    start, end = 620.0, WIDTH - 60
    name, low_name, high_name = area.column, f"{area.column}_low", f"{area.column}_high"
    ranked = sorted(
        one.screening_measures, key=lambda m: -np.nan_to_num(evidence.area(m)[name], nan=-1)
    )
    pitch = min(34.0, 330.0 / max(len(ranked), 1))
    rows = [evidence.area(m) for m in ranked]
    lows = [v for row in rows for v in (row[low_name], row[name])]
    low = min((float(v) for v in lows if np.isfinite(v)), default=area.chance)
    scale = Axis(max(0.0, min(area.chance - 0.05, low - 0.03)), 1.0, start, end)
    bottom = TOP + pitch * len(ranked)
    chance = scale(area.chance)
    parts = [svg.across(scale, TOP, bottom, f"{area.says}, 95 % interval")]
    parts.append(svg.line(chance, TOP, chance, bottom, cls="threshold", tip="chance"))
    for i, (measure, row) in enumerate(zip(ranked, rows, strict=True)):
        y = TOP + pitch * (i + 0.5)
        label = measure.kind.says + (" *" if row["n_undefined"] else "")
        parts.append(svg.words(start - 10, y + 4, label, "name", "end"))
        if not np.isfinite(row[name]):
            continue
        tip = _area_tip(measure, row, area)
        if np.isfinite(row[low_name]):
            a, b = scale(row[low_name]), scale(row[high_name])
            parts.append(svg.line(a, y, b, y, cls="range", tip=tip))
        kind = "flag" if measure == evidence.best else "model"
        parts.append(svg.mark(scale(row[name]), y, kind, tip, size=5))
        parts.append(svg.words(end + 12, y + 4, number(row[name]), "value"))
    return Markup("").join(parts)


def _area_tip(measure: Measure, row: pd.Series, area: Area) -> str:
    wanted = "higher" if measure.kind.higher else "lower"
    value, low, high = (number(row[f"{area.column}{end}"]) for end in ("", "_low", "_high"))
    lines = [
        measure.label,
        f"{area.says} {value} ({low} to {high})",
        f"{row['n_lstv']:.0f} transitional, {row['n_normal']:.0f} normal",
        f"{wanted} is suspicious",
    ]
    if row["n_undefined"]:
        lines.append(f"not defined in {row['n_undefined']:.0f} studies, which are left out")
    return "\n".join(lines)
