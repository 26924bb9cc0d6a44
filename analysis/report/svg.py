"""How is a small interactive plot put into a page that loads nothing? Inline SVG, a mark at a time.

Every mark may carry a ``<title>``: browsers show it as a tooltip, and the page's script shows it
faster. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from analysis.report.words import THIN


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a value; outside values are kept outside."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within the scale."""
        found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(t) + 0.0 for t in found if self.low - slack <= t <= self.high + slack]


def axis(values: Iterable[float], start: float, end: float, margin: float = 0.04) -> Axis:
    """Scale that holds all finite values, with a margin; 0 to 1 without any."""
    found = np.array([v for v in values if np.isfinite(v)], dtype=float)
    if not found.size:
        return Axis(0.0, 1.0, start, end)
    low, high = float(found.min()), float(found.max())
    room = (high - low or abs(high) or 1.0) * margin
    # A scale that begins at 0 stays there: there is nothing below.
    return Axis(low if low == 0 else low - room, high + room, start, end)


def tag(name: str, *inside: str | Markup, **attributes: Any) -> Markup:
    """An element; ``text_anchor`` becomes ``text-anchor``, ``cls`` ``class``; None is left out."""
    written = Markup("").join(
        Markup(' {}="{}"').format("class" if key == "cls" else key.replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(inside))


def words(x: float, y: float, text: str, cls: str, anchor: str = "start") -> Markup:
    """Text at a point."""
    return tag("text", text, x=x, y=y, cls=cls, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, *, cls: str, tip: str | None = None) -> Markup:
    """A stroke."""
    return tag("line", *_tip(tip), x1=x1, y1=y1, x2=x2, y2=y2, cls=cls)


def box(x: float, y: float, width: float, height: float, *, cls: str) -> Markup:
    """A rectangle; negative sizes are turned round."""
    left, top = min(x, x + width), min(y, y + height)
    size = {"width": round(abs(width), 1), "height": round(abs(height), 1)}
    return tag("rect", x=round(left, 1), y=round(top, 1), cls=cls, **size)


def mark(
    x: float, y: float, cls: str, tip: str, *, subject: str | None = None, shape: str = "dot",
    size: float = 4.5,
) -> Markup:  # fmt: skip
    """A point: ``dot``, ``diamond`` or ``tick``; `subject` links equal subjects across plots."""
    about: dict[str, Any] = {"cls": f"mark {cls}", "data_s": subject}
    if shape == "dot":
        return tag("circle", *_tip(tip), cx=x, cy=y, r=size, **about)
    half = size * 1.25 if shape == "diamond" else size * 1.6
    path = f"M{x} {y - half}L{x + half} {y}L{x} {y + half}L{x - half} {y}Z"
    if shape == "tick":
        path = f"M{x} {y - half}V{y + half}"
    return tag("path", *_tip(tip), d=path, **about)


def _tip(tip: str | None) -> list[Markup]:
    return [] if tip is None else [tag("title", tip)]


def polyline(points: Iterable[tuple[float, float]], cls: str) -> Markup:
    """A line through points."""
    return tag("polyline", points=" ".join(f"{x},{y}" for x, y in points), cls=cls)


def area(
    low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]], cls: str
) -> Markup:
    """The band between two lines."""
    points = [*low, *reversed(high)]
    return tag("polygon", points=" ".join(f"{x},{y}" for x, y in points), cls=cls)


def across(scale: Axis, top: float, bottom: float, label: str = "") -> Markup:
    """Grid and labels of a horizontal scale."""
    ticks = scale.ticks()
    parts = [line(scale(t), top, scale(t), bottom, cls=_grid(t)) for t in ticks]
    parts += [words(scale(t), bottom + 15, tick(t, ticks), "tick", "middle") for t in ticks]
    if label:
        parts.append(words(scale.end, bottom + 33, label, "label", "end"))
    return Markup("").join(parts)


def _grid(value: float) -> str:
    return "zero" if value == 0 else "grid"


def upright(scale: Axis, left: float, right: float, *, labelled: bool = True) -> Markup:
    """Grid and labels of a vertical scale."""
    ticks = scale.ticks(5)
    parts = [line(left, scale(t), right, scale(t), cls=_grid(t)) for t in ticks]
    if labelled:
        parts += [words(left - 6, scale(t) + 3.5, tick(t, ticks), "tick", "end") for t in ticks]
    return Markup("").join(parts)


def tick(value: float, ticks: list[float]) -> str:
    """A tick's label, with as many decimals as the ticks need."""
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    if step < 1e-3:
        return f"{value:.3g}".replace("e-0", "e−").replace("-", "−")
    digits = max(0, int(np.ceil(-np.log10(step) - 1e-9))) if step < 1 else 0
    digits += 0.2 < step * 10**digits % 1 < 0.8  # steps of 0.25 or 2.5
    return f"{value:,.{digits}f}".replace(",", THIN).replace("-", "−")


def drawing(width: float, height: float, title: str, *parts: Markup) -> Markup:
    """A whole plot, as wide as its column; `title` is read out by screen readers."""
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        cls="plot",
        style=f"max-width:{width:g}px",
    )
