"""How does the effect of each shift look, level by level?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from markupsafe import Markup

from analysis.report import svg
from analysis.report.charts import WIDTH
from analysis.report.svg import Axis
from analysis.robustness import UNORDERED, level_name

Kind = Literal["median", "mean"]
LEFT, TOP, HEIGHT, GAP, BETWEEN = 78.0, 26.0, 190.0, 44.0, 18.0

DOTS, FARTHEST = 200, 10
"""Above this many subjects only the farthest of each level are drawn."""


@dataclass(frozen=True)
class ShiftPlot:
    """Which column is drawn, what to call it, and how a value is written."""

    column: str
    label: str
    shown: Callable[[float], str]


@dataclass(frozen=True)
class Panel:
    """One shift in one row of the plot, and its scales."""

    shift: str
    kind: Kind
    across: Axis
    up: Axis

    def x(self, level: int) -> float:
        """Where a level stands: by severity, or around the identity when it has no order."""
        order = {1: 0, 0: 1, 2: 2} if self.shift in UNORDERED else {}
        return self.across(order.get(level, level))


def shift_chart(rows: pd.DataFrame, summary: pd.DataFrame, plot: ShiftPlot) -> Markup:
    """Effect of each shift by level: median with IQR above, mean ± SD below, subjects as dots.

    Parameters
    ----------
    rows : DataFrame
        ``subject``, ``shift``, ``level`` and the plot's column; one mode and harmonization.
    summary : DataFrame
        Of the same rows, by shift and level: ``{column}_median``, ``_q25``, ``_q75``, ``_mean``,
        ``_std``, ``_n``.
    """
    shifts = [str(s) for s in dict.fromkeys(rows["shift"])]
    width = (WIDTH - LEFT) / max(len(shifts), 3)
    kinds: tuple[Kind, Kind] = ("median", "mean")
    ends = [v for kind in kinds for part in _spread(summary, plot.column, kind) for v in part]
    parts = []
    for half, kind in enumerate(kinds):
        top = TOP + half * (HEIGHT + GAP)
        up = svg.axis([0.0, *rows[plot.column], *ends], top + HEIGHT, top)
        said = "median, IQR" if kind == "median" else "mean ± SD"
        parts.append(svg.words(0, top - 9, f"{plot.label} – {said}", "label"))
        for i, shift in enumerate(shifts):
            left = LEFT + i * width
            across = Axis(-0.45, 2.45, left, left + width - BETWEEN)
            panel = Panel(shift, kind, across, up)
            parts.append(svg.upright(up, left, left + width - BETWEEN, labelled=i == 0))
            parts += [_dots(rows, plot, panel), _centres(summary, plot, panel)]
            if half:
                parts.append(_level_names(summary, panel, top + HEIGHT))
    bottom = TOP + 2 * HEIGHT + GAP + 58
    return svg.drawing(WIDTH, bottom, f"{plot.label} by shift and level", *parts)


def _spread(
    part: pd.DataFrame, column: str, kind: Kind
) -> tuple[list[float], list[float], list[float]]:
    """Lower end, centre and upper end of what is drawn as a band."""
    centre = part[f"{column}_{kind}"].astype(float)
    if kind == "median":
        low, high = part[f"{column}_q25"].astype(float), part[f"{column}_q75"].astype(float)
    else:
        half = part[f"{column}_std"].astype(float).fillna(0)
        low, high = centre - half, centre + half
    return low.tolist(), centre.tolist(), high.tolist()


def _dots(rows: pd.DataFrame, plot: ShiftPlot, panel: Panel) -> Markup:
    part = rows[(rows["shift"] == panel.shift) & rows[plot.column].notna()]
    if part["subject"].nunique() > DOTS:
        rank = part.groupby("level")[plot.column].transform(lambda v: v.abs().rank(ascending=False))
        part = part[rank <= FARTHEST]
    marks = []
    for subject, level, value in part[["subject", "level", plot.column]].itertuples(index=False):
        what = f"{panel.shift}: {level_name(panel.shift, int(level))}"
        tip = f"{subject}\n{what}\n{plot.shown(float(value))}"
        x, y = panel.x(int(level)), panel.up(float(value))
        marks.append(svg.mark(x, y, "subject", tip, subject=str(subject), size=3.2))
    return Markup("").join(marks)


def _centres(summary: pd.DataFrame, plot: ShiftPlot, panel: Panel) -> Markup:
    """Centre and spread of every level, joined where levels have an order."""
    part = summary[summary["shift"] == panel.shift].sort_values("level")
    part = part[part[f"{plot.column}_median"].notna()]
    levels = [int(level) for level in part["level"]]
    x = [panel.x(level) for level in levels]
    low, centre, high = _spread(part, plot.column, panel.kind)
    below, middle, above = ([panel.up(v) for v in values] for values in (low, centre, high))
    if panel.shift in UNORDERED:
        ends = zip(x, below, above, strict=True)
        body = [svg.line(at, a, at, b, cls=f"whisker {panel.kind}") for at, a, b in ends]
    else:
        lower, upper, curve = ([*zip(x, y, strict=True)] for y in (below, above, middle))
        body = [svg.area(lower, upper, f"band {panel.kind}")]
        body.append(svg.polyline(curve, f"curve {panel.kind}"))
    counts = part[f"{plot.column}_n"]
    for at, y, level, value, n in zip(x, middle, levels, centre, counts, strict=True):
        what = f"{panel.shift}: {level_name(panel.shift, level)}"
        tip = f"{panel.kind} {plot.shown(value)}, n = {int(n)}\n{what}"
        body.append(svg.mark(at, y, f"centre {panel.kind}", tip, shape="diamond", size=4))
    return Markup("").join(body)


def _level_names(summary: pd.DataFrame, panel: Panel, y: float) -> Markup:
    levels = sorted({int(v) for v in summary.loc[summary["shift"] == panel.shift, "level"]})
    parts = []
    for level in levels:
        for i, part in enumerate(_folded(level_name(panel.shift, level))):
            parts.append(svg.words(panel.x(level), y + 15 + 12 * i, part, "tick", "middle"))
    ordered = panel.shift not in UNORDERED
    name = panel.shift if ordered else f"{panel.shift}: opposite directions"
    middle = (panel.across.start + panel.across.end) / 2
    return Markup("").join([*parts, svg.words(middle, y + 48, name, "name", "middle")])


def _folded(text: str, longest: int = 10) -> list[str]:
    """`text`; when it is long in two lines, before a bracket or of similar length."""
    spaces = [i for i, letter in enumerate(text) if letter == " "]
    if len(text) <= longest or not spaces:
        return [text]
    balanced = min(spaces, key=lambda i: (max(i, len(text) - i - 1), i))
    cut = text.find(" (") if " (" in text else balanced
    return [text[:cut], text[cut + 1 :]]
