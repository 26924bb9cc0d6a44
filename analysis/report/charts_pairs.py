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
LETTER = 5.6
"""Width of a letter of a name, about."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Points:
    """A scatter plot: a point for each subject, and the lines that judge it.

    Attributes
    ----------
    table : DataFrame
        ``subject``, `x`, `y`; incomplete rows are left out.
    x_line, y_line : float or None
        Threshold of QC; limit of failure.
        Left of the first and above the second is confident but wrong; shaded when both are there.
    """

    table: pd.DataFrame
    x: str
    y: str
    labels: tuple[str, str]
    flagged: frozenset[str]
    x_line: float | None = None
    y_line: float | None = None


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
    places = [(across(a), up(b)) for a, b in zip(rows[points.x], rows[points.y], strict=True)]
    if len(rows) <= NAMED:
        parts.append(_names(places, [str(s) for s in rows["subject"]], right))
    for place, (subject, a, b) in zip(places, rows.itertuples(index=False), strict=True):
        parts.append(_point(points, place, str(subject), (a, b)))
    return svg.drawing(470, bottom + 42, f"{name} against {points.labels[0]}", *parts)


def _names(places: list[tuple[float, float]], names: list[str], right: float) -> Markup:
    """Names beside their points, each where it covers the fewest points and names."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    parts = []
    for (x, y), name in zip(places, names, strict=True):
        width = LETTER * len(name)
        tries = [
            (x + dx if anchor == "start" else x - dx, y + dy, anchor)
            for dy in (-5.0, 13.0, 4.0, -17.0, 25.0)
            for dx, anchor in ((8.0, "start"), (8.0, "end"))
        ]
        boxes = [
            (a, b - 9, a + width, b + 2) if anchor == "start" else (a - width, b - 9, a, b + 2)
            for a, b, anchor in tries
        ]
        costs = [_overlaps(found, taken) + 9 * (found[2] > right) for found in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        a, b, anchor = tries[best]
        parts.append(svg.words(a, b, name, "tick small", anchor))
    return Markup("").join(parts)


def _overlaps(found: Box, others: list[Box]) -> int:
    return sum(
        found[0] < o[2] and o[0] < found[2] and found[1] < o[3] and o[1] < found[3] for o in others
    )


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
        parts.append(svg.words(left + 8, y - 6, "confident but wrong", "tick small"))
    if x is not None:
        tip = f"QC threshold {compact(points.x_line)}"
        parts.append(svg.line(x, top, x, bottom, cls="threshold", tip=tip))
    if y is not None:
        parts.append(svg.line(left, y, right, y, cls="threshold"))
    return Markup("").join(parts)
