"""How do a cohort's results look in the page? Tables in, interactive SVG out.

The drawings for papers are `analysis.gallery`'s; these are for reading: every mark says what it
is when the pointer is on it, and the marks of one subject light up together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from analysis.report import svg
from analysis.report.svg import Axis
from analysis.report.words import mm3, number

WIDTH = 960.0
NAMED = 60
"""Above this many subjects rows get thin and are named only under the pointer."""
TALL = 1000.0
"""Height of all rows together when they are thin."""


@dataclass(frozen=True)
class ChangeRow:
    """ΔV of one subject, mm³: measured, its range over the shifts, the truth.

    Attributes
    ----------
    low, high : float
        Of ΔV over all shifts and the images as acquired; NaN without shifts.
    truth : float
        True ΔV, from lesion truths at both timepoints; NaN without.
    bound : float
        Volume of all that truly changed: |ΔV| cannot be larger; NaN without a change truth.
    """

    subject: str
    measured: float
    low: float
    high: float
    truth: float
    bound: float
    flagged: bool


def change_chart(rows: Sequence[ChangeRow]) -> Markup:
    """ΔV of every subject with what the shifts make of it, smallest to largest."""
    rows = sorted(rows, key=lambda r: r.measured)
    named = len(rows) <= NAMED
    pitch = 24.0 if named else min(7.0, TALL / len(rows))
    left, top = (150.0 if named else 24.0), 10.0
    every = [v for r in rows for v in (r.measured, r.low, r.high, r.truth, r.bound, -r.bound)]
    scale = svg.axis([0.0, *(v / 1000 for v in every)], left, WIDTH - 16)
    bottom = top + pitch * len(rows)
    parts = [svg.across(scale, top, bottom, "ΔV (ml)")]
    for i, row in enumerate(rows):
        parts.append(_change_row(row, scale, top + pitch * (i + 0.5), pitch, named=named))
    title = "Measured volume change of every subject, and its range under simulated shifts"
    return svg.drawing(WIDTH, bottom + 40, title, *parts)


def _change_row(row: ChangeRow, scale: Axis, y: float, pitch: float, *, named: bool) -> Markup:
    size = 4.5 if named else 2.2
    tip = _change_tip(row)
    parts = []
    if named:
        parts.append(svg.words(scale.start - 12, y + 4, row.subject, "name", "end"))
    if np.isfinite(row.bound):
        a, b = scale(-row.bound / 1000), scale(row.bound / 1000)
        parts.append(svg.box(a, y - pitch * 0.36, b - a, pitch * 0.72, cls="possible"))
    if np.isfinite(row.low):
        a, b = scale(row.low / 1000), scale(row.high / 1000)
        parts.append(svg.line(a, y, b, y, cls="range" if named else "range thin", tip=tip))
    if np.isfinite(row.truth):
        x = scale(row.truth / 1000)
        parts.append(svg.mark(x, y, "truth", tip, subject=row.subject, shape="tick", size=size))
    x, shape = scale(row.measured / 1000), "diamond" if row.flagged else "dot"
    kind = "flag" if row.flagged else "model"
    parts.append(svg.mark(x, y, kind, tip, subject=row.subject, shape=shape, size=size))
    return Markup("").join(parts)


def _change_tip(row: ChangeRow) -> str:
    lines = [row.subject, f"measured ΔV {mm3(row.measured, signed=True)} mm³"]
    if np.isfinite(row.low):
        low, high = mm3(row.low, signed=True), mm3(row.high, signed=True)
        lines.append(f"under shifts {low} to {high} mm³")
    if np.isfinite(row.truth):
        lines.append(f"true ΔV {mm3(row.truth, signed=True)} mm³")
    if np.isfinite(row.bound):
        lines.append(f"all that truly changed: {mm3(row.bound)} mm³")
    return "\n".join([*lines, *(["flagged by QC"] if row.flagged else [])])


@dataclass(frozen=True)
class Strip:
    """One row of a strip chart: a value for each subject."""

    label: str
    detail: str
    values: Mapping[str, float]


def strip_chart(
    strips: Sequence[Strip], label: str, *, flagged: frozenset[str], poor: float | None = None
) -> Markup:
    """Values between 0 and 1 as dots, the median as a bar; below `poor` the ground is shaded."""
    left, top, pitch = 250.0, 10.0, 46.0
    scale = Axis(-0.015, 1.0, left, WIDTH - 70)
    bottom = top + pitch * len(strips)
    parts = []
    if poor is not None:
        parts.append(svg.box(scale(0), top, scale(poor) - scale(0), bottom - top, cls="poor"))
    parts.append(svg.across(scale, top, bottom, label))
    for i, strip in enumerate(strips):
        parts.append(_strip(strip, scale, top + pitch * (i + 0.5), flagged))
    return svg.drawing(WIDTH, bottom + 40, f"{label} of every subject", *parts)


def _strip(strip: Strip, scale: Axis, y: float, flagged: frozenset[str]) -> Markup:
    values = {s: v for s, v in strip.values.items() if np.isfinite(v)}
    parts = [
        svg.words(scale.start - 16, y - 2, strip.label, "name", "end"),
        svg.words(scale.start - 16, y + 12, strip.detail, "tick", "end"),
    ]
    # Neighbours in rank are set apart in turn: every dot is seen, nothing is random.
    for rank, (subject, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        shift = ((rank % 5) - 2) * 4.0
        tip = f"{subject}\n{strip.label} {number(value)}"
        kind, shape = ("flag", "diamond") if subject in flagged else ("model", "dot")
        parts.append(
            svg.mark(scale(value), y + shift, kind, tip, subject=subject, shape=shape, size=4)
        )
    if values:
        middle = float(np.median([*values.values()]))
        x = scale(middle)
        parts.append(svg.line(x, y - 17, x, y + 17, cls="median", tip=f"median {number(middle)}"))
        parts.append(svg.words(scale.end + 12, y + 4, number(middle), "value"))
    return Markup("").join(parts)
