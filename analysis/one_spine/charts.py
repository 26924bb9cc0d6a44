"""Where does this spine lie among the known normals? A hill of normals a level, and a mark.

Plots are narrow, so that they can be read on a phone as they are; on a desk they stand side by
side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from analysis.report import svg
from analysis.report.svg import Axis
from analysis.report.words import number
from analysis.screening.groups import RISKS
from analysis.screening.measures import OF_A_LEVEL, Kind, Measure, level_name
from lamstore.config import ScreeningConfig

WIDTH = 340.0
LEFT, RIGHT, ROW = 50.0, 262.0, 40.0
BINS = 28
HALF = 15.0
"""Height of a hill above its line."""
Measures = Mapping[str, float]
Normals = Mapping[str, NDArray[np.float64]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """A plot, its title and which way is suspicious."""

    title: str
    towards: str
    drawing: Markup


def panels(measures: Measures, normals: Normals, levels: Sequence[str]) -> list[Panel]:
    """A panel for all that is combined, then one for each measure of which normals are known."""
    known = [k for k in OF_A_LEVEL if any(f"{level}_{k.name}" in normals for level in levels)]
    found = [_surprise(measures, normals, levels)] if f"{levels[0]}_surprise" in measures else []
    return [*found, *(_lanes(kind, measures, normals, levels) for kind in known)]


def _lanes(kind: Kind, measures: Measures, normals: Normals, levels: Sequence[str]) -> Panel:
    shown = [Measure(level, kind) for level in levels]
    every = [measures[m.column] for m in shown]
    every += [float(v) for m in shown for v in normals.get(m.column, ())]
    scale = svg.axis(every, LEFT, RIGHT)
    bottom = 22 + ROW * len(shown)
    parts = [_head(), svg.across(scale, 18, bottom)]
    for i, measure in enumerate(shown):
        y = 22 + ROW * (i + 0.5)
        parts += _lane(measure, measures[measure.column], normals.get(measure.column), scale, y)
    unit = f", {kind.unit}" if kind.unit else ""
    title = f"{kind.says[:1].upper()}{kind.says[1:]}{unit}"
    towards = f"{'Right' if kind.higher else 'Left'} is suspicious."
    return Panel(title, towards, _drawn(bottom + 22, f"{title}, level by level", parts))


def _head() -> Markup:
    return svg.words(WIDTH, 10, "passes", "tick", "end")


def _lane(
    measure: Measure, value: float, known: Floats | None, scale: Axis, y: float
) -> list[Markup]:
    name = level_name(measure.level)
    parts = [svg.words(0, y + 4, name, "name strong")]
    if known is not None:
        parts.append(_hill(known, scale, y))
    if not np.isfinite(value):
        return [*parts, svg.words(WIDTH, y + 4, "none", "label", "end")]
    digits = measure.kind.digits
    tip = f"{measure.label}: {number(value, digits)}"
    if known is not None:
        passed = passes(value, known, measure.kind.higher)
        tip += f"\nmore suspicious than {passed} of {len(known)} known normals"
        parts.append(svg.words(WIDTH, y + 4, f"{passed} of {len(known)}", "label", "end"))
    parts.append(svg.line(scale(value), y - HALF, scale(value), y + HALF, cls="here"))
    parts.append(svg.mark(scale(value), y, "here", tip, shape="diamond", size=5))
    return parts


def passes(value: float, known: Floats, higher: bool) -> int:
    """How many known normals are less suspicious than a value."""
    return int((known < value).sum() if higher else (known > value).sum())


def _hill(known: Floats, scale: Axis, y: float) -> Markup:
    """A histogram mirrored about its line; its tip says what it is."""
    counts, edges = np.histogram(known, bins=BINS, range=(scale.low, scale.high))
    # Smoothed over neighbours: 150 values leave teeth that mean nothing.
    tall = np.convolve(np.pad(counts, 1), (0.25, 0.5, 0.25), "valid")
    reach = HALF * tall / max(tall.max(), 1e-9)
    middles = [scale(float(v)) for v in (edges[:-1] + edges[1:]) / 2]
    low = [(x, round(y - r, 1)) for x, r in zip(middles, reach, strict=True)]
    high = [(x, round(y + r, 1)) for x, r in zip(middles, reach, strict=True)]
    return svg.area(low, high, "band known")


def _surprise(measures: Measures, normals: Normals, levels: Sequence[str]) -> Panel:
    kind = next(k for k in OF_A_LEVEL if k.name == "surprise")
    most = float(np.log(1 + max(len(v) for v in normals.values())))
    scale = Axis(0.0, most, LEFT, RIGHT)
    bottom = 22 + ROW * len(levels)
    parts = [svg.across(scale, 18, bottom)]
    parts.append(svg.line(scale(1), 14, scale(1), bottom, cls="ordinary", tip="ordinary normal"))
    parts.append(svg.words(scale(1), 10, "ordinary", "tick", "middle"))
    parts.append(svg.words(scale(most), 10, "beyond all", "tick", "end"))
    for i, level in enumerate(levels):
        y, value = 22 + ROW * (i + 0.5), measures[f"{level}_{kind.name}"]
        tip = f"{Measure(level, kind).label}: {number(value)}"
        parts.append(svg.words(0, y + 4, level_name(level), "name strong"))
        parts.append(svg.box(scale(0), y - 7, scale(value) - scale(0), 14, cls="here soft"))
        parts.append(svg.mark(scale(value), y, "here", tip, shape="diamond", size=5))
        parts.append(svg.words(WIDTH, y + 4, number(value), "label", "end"))
    title = "Surprise: all of it together"
    towards = "Right is suspicious. About 1 is ordinary."
    return Panel(title, towards, _drawn(bottom + 22, f"{title}, level by level", parts))


def risk_chart(value: float, known: Floats | None, config: ScreeningConfig) -> Markup:
    """The bounds of the risk groups, the known normals, and this spine."""
    bounds = [config.medium_entropy, config.high_entropy]
    every = [*bounds, value, *(() if known is None else known.tolist())]
    scale = svg.axis(every, 4, WIDTH - 4, 0.1)
    edges = [scale.low, *bounds, scale.high]
    parts = []
    for name, low, high in zip(reversed(RISKS[:3]), edges, edges[1:], strict=False):
        parts.append(svg.box(scale(low), 18, scale(high) - scale(low), 52, cls=f"zone {name}"))
        parts.append(svg.words((scale(low) + scale(high)) / 2, 12, name, "tick", "middle"))
    if known is not None:
        parts.append(_hill(known, scale, 44))
    if np.isfinite(value):
        parts.append(svg.line(scale(value), 18, scale(value), 70, cls="here"))
        tip = f"this spine: {number(value)}"
        parts.append(svg.mark(scale(value), 44, "here", tip, shape="diamond", size=6))
    parts.append(svg.across(scale, 18, 70))
    title = f"Entropy at {level_name(config.score_level)} among the risk groups"
    return _drawn(92, title, parts)


def _drawn(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    """As `svg.drawing`, without a style of its own."""
    return svg.tag(
        "svg", *parts, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=title,
        cls="plot narrow",
    )  # fmt: skip
