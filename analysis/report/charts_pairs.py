"""How do two measures of the same subjects go together?"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from analysis.report import svg
from analysis.report.svg import Axis
from analysis.report.words import compact

NAMED = 24
"""Up to so many points are named."""


@dataclass(frozen=True)
class Points:
    """A scatter plot: a point for each subject, and the lines that judge it.

    Attributes
    ----------
    table : DataFrame
        ``subject``, `x`, `y`; incomplete rows are left out.
    x_line, y_line : float or None
        Threshold of QC; limit of failure.
    quarter : str
        What it means to lie left of `x_line` and above `y_line`; shaded when both are there.
    """

    table: pd.DataFrame
    x: str
    y: str
    labels: tuple[str, str]
    flagged: frozenset[str]
    x_line: float | None = None
    y_line: float | None = None
    quarter: str = ""


def scatter_chart(points: Points) -> Markup:
    """Two columns against each other."""
    rows = points.table[["subject", points.x, points.y]].dropna()
    left, top, right, bottom = 76.0, 12.0, 456.0, 312.0
    across = svg.axis([0.0, *rows[points.x], points.x_line or 0.0], left, right)
    up = svg.axis([0.0, *rows[points.y], points.y_line or 0.0], bottom, top)
    name, middle = points.labels[1], (top + bottom) / 2
    turned = Markup('<text class="label" transform="translate(13 {}) rotate(-90)" {}>{}</text>')
    parts = [
        _lines(points, across, up),
        svg.across(across, top, bottom, points.labels[0]),
        svg.upright(up, left, right),
        turned.format(middle, Markup('text-anchor="middle"'), name),
    ]
    for subject, a, b in rows.itertuples(index=False):
        parts.append(_point(points, (across(a), up(b)), str(subject), (a, b)))
        if len(rows) <= NAMED:
            beside, anchor = (-8, "end") if across(a) > (left + right) / 2 else (8, "start")
            x, y = across(a) + beside, up(b) - 6
            parts.append(svg.words(x, y, str(subject), "tick small", anchor))
    return svg.drawing(470, bottom + 42, f"{name} against {points.labels[0]}", *parts)


def _point(
    points: Points, at: tuple[float, float], subject: str, values: tuple[float, float]
) -> Markup:
    kind, shape = ("flag", "diamond") if subject in points.flagged else ("model", "dot")
    said = (f"{label}: {compact(v)}" for label, v in zip(points.labels, values, strict=True))
    tip = "\n".join([subject, *said])
    return svg.mark(*at, kind, tip, subject=subject, shape=shape, size=5)


def _lines(points: Points, across: Axis, up: Axis) -> Markup:
    """Threshold and limit, and the quarter where both go wrong."""
    left, right, bottom, top = across.start, across.end, up.start, up.end
    x, y = (None if v is None else scale(v)
            for v, scale in ((points.x_line, across), (points.y_line, up)))  # fmt: skip
    parts = []
    if x is not None and y is not None:
        parts.append(svg.box(left, top, x - left, y - top, cls="blind"))
        parts.append(svg.words(left + 8, y - 6, points.quarter, "tick small"))
    if x is not None:
        tip = f"QC threshold {compact(points.x_line)}"
        parts.append(svg.line(x, top, x, bottom, cls="threshold", tip=tip))
    if y is not None:
        parts.append(svg.line(left, y, right, y, cls="threshold"))
    return Markup("").join(parts)
