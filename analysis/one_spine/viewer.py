"""How are the slices of one spine leafed through? An SVG each: the image, the heat, the levels.

Millimetres are the units of the drawing, so that pixels that are not square look right and the
coarse heatmaps of a network lie where they belong. Pictures are part of the text.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from analysis.report import svg
from analysis.report.panels import data_uri
from analysis.screening.measures import level_name
from lamstore.grid import Grid
from lamstore.overlay.heatmaps import COLOURS, SEEN
from lamstore.overlay.view import View, view

MOST_SLICES = 32
"""A series of more is shown in even steps; slices on which a level peaks are always there."""
MOST_PIXELS = 512
"""Of an image's longer edge, as it is shown."""
QUALITY = 85
GREY = (1.0, 98.5)
"""Percentiles of the series that are black and white: fat at the surface coil is brightest."""
Floats = NDArray[np.floating]
Point = tuple[float, float]


@dataclass(frozen=True)
class LevelPlace:
    """Where a level peaks in the picture.

    Attributes
    ----------
    name : str
    colour : str
    cls : str
        Its class in the style sheet.
    slice_index : int
        In the order of the view.
    at_mm : (2,) tuple of float
        To the right and down.
    """

    name: str
    colour: str
    cls: str
    slice_index: int
    at_mm: Point


@dataclass(frozen=True)
class ShownSlice:
    """One slice of the viewer: its number of the series (from 1), who peaks on it, its drawing."""

    number: int
    levels: tuple[str, ...]
    drawing: Markup


@dataclass(frozen=True)
class Viewer:
    """Slices in the order of the body, the places of the levels, which slice comes first."""

    slices: tuple[ShownSlice, ...]
    places: tuple[LevelPlace, ...]
    first: int
    total: int

    def position(self, place: LevelPlace) -> int:
        """Position among the shown slices of that on which a level peaks."""
        return next(i for i, s in enumerate(self.slices) if s.number == place.slice_index + 1)


def make_viewer(
    image: Floats,
    grid: Grid,
    heatmap: Floats,
    levels: Sequence[str],
    measures: Mapping[str, float],
    first_level: str,
) -> Viewer:
    """The viewer of one series.

    Parameters
    ----------
    image : (x, y, z) ndarray
    grid : Grid
        Of the image.
    heatmap : (level, x, y, z) ndarray in [0, 1]
        With the same axes and field of view; the same slices, fewer pixels in each.
    levels : sequence of str
    measures : mapping of column to float
        Of which ``{level}_peak_x_mm``, ``…_y_mm``, ``…_z_mm`` are looked at.
    first_level : str
        Whose slice is shown first.
    """
    seen = view(grid.matrix, "sagittal")
    grey = _grey(seen.turn(np.asarray(image)))
    heat = np.stack([seen.turn(one) for one in np.asarray(heatmap, np.float32)])
    places = _places(seen, grid, levels, measures)
    size = (grey.shape[2] * seen.spacing_mm[2], grey.shape[1] * seen.spacing_mm[1])
    shown = [
        ShownSlice(
            k + 1,
            tuple(p.name for p in places if p.slice_index == k),
            _drawing(grey[k], heat[:, k], seen, size, places, k),
        )
        for k in chosen_slices(len(grey), [p.slice_index for p in places])
    ]
    start = next((p.slice_index for p in places if p.name == level_name(first_level)), None)
    numbers = [s.number - 1 for s in shown]
    first = numbers.index(start) if start in numbers else len(shown) // 2
    return Viewer(tuple(shown), tuple(places), first, len(grey))


def chosen_slices(count: int, needed: Sequence[int], most: int = MOST_SLICES) -> list[int]:
    """At most about `most` of `count` slices, in even steps, and those that are needed."""
    step = -(-count // most)
    return sorted({*range(0, count, step), *needed})


def _grey(stack: Floats) -> NDArray[np.uint8]:
    """(slice, row, column) bytes."""
    low, high = np.percentile(stack[:, ::2, ::2], GREY)
    scaled = (np.asarray(stack, np.float32) - low) * (255 / max(high - low, 1e-6))
    grey: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return grey


def _places(
    seen: View, grid: Grid, levels: Sequence[str], measures: Mapping[str, float]
) -> list[LevelPlace]:
    """Levels that have a peak; RAS mm to the picture."""
    found = []
    for i, level in enumerate(levels):
        world = [measures[f"{level}_peak_{axis}_mm"] for axis in "xyz"]
        if not np.isfinite(world).all():
            continue
        voxel = (np.linalg.inv(grid.matrix) @ [*world, 1.0])[:3]
        across, down, right = (float(voxel[a]) for a in (seen.cut, seen.down, seen.right))
        down = grid.shape[seen.down] - 1 - down if seen.flips[0] else down
        right = grid.shape[seen.right] - 1 - right if seen.flips[1] else right
        index = int(np.clip(round(across), 0, grid.shape[seen.cut] - 1))
        at = ((right + 0.5) * seen.spacing_mm[2], (down + 0.5) * seen.spacing_mm[1])
        colour = COLOURS[i % len(COLOURS)]
        found.append(LevelPlace(level_name(level), colour, f"c{i % len(COLOURS)}", index, at))
    return found


def _drawing(
    grey: NDArray[np.uint8],
    heat: Floats,
    seen: View,
    size: tuple[float, float],
    places: Sequence[LevelPlace],
    k: int,
) -> Markup:
    width, height = size
    parts = [_image(_jpeg(grey, size), size, "scan"), _image(_png(heat), size, "heat")]
    names = (_named(place, place.slice_index == k, height) for place in places)
    parts.append(svg.tag("g", *names, cls="names"))
    top, bottom, left, right = seen.letters
    letter = height * 0.035
    for text, x, y, anchor in (
        (top, width / 2, letter * 1.3, "middle"),
        (bottom, width / 2, height - letter * 0.6, "middle"),
        (left, letter * 0.5, height / 2, "start"),
        (right, width - letter * 0.5, height / 2, "end"),
    ):
        parts.append(_text(text, x, y, letter, "edge", anchor))
    return svg.tag(
        "svg", *parts, viewBox=f"0 0 {width:.1f} {height:.1f}", role="img", cls="slice",
        aria_label=f"Sagittal slice {k + 1}" + _said([p for p in places if p.slice_index == k]),
    )  # fmt: skip


def _said(own: Sequence[LevelPlace]) -> str:
    return f", on which {', '.join(place.name for place in own)} peak" if own else ""


def _image(source: str, size: tuple[float, float], cls: str) -> Markup:
    return svg.tag(
        "image", href=source, width=round(size[0], 1), height=round(size[1], 1), cls=cls,
        preserveAspectRatio="none",
    )  # fmt: skip


def _named(place: LevelPlace, own: bool, height: float) -> Markup:
    """A cross at the peak, the level's name in front of it; fainter on other levels' slices."""
    x, y = place.at_mm
    arm, size = height * 0.014, height * 0.04
    cross = svg.tag(
        "path", cls="cross", stroke=place.colour, stroke_width=round(height * 0.005, 2),
        d=f"M{x - arm:.1f} {y:.1f}H{x + arm:.1f}M{x:.1f} {y - arm:.1f}V{y + arm:.1f}",
    )  # fmt: skip
    name = _text(place.name, x - height * 0.09, y + size * 0.35, size, "name", "end", place.colour)
    return svg.tag("g", cross, name, cls="level own" if own else "level")


def _text(
    text: str, x: float, y: float, size: float, cls: str, anchor: str, fill: str | None = None
) -> Markup:
    return svg.tag(
        "text", text, x=round(x, 1), y=round(y, 1), font_size=round(size, 1), cls=cls,
        text_anchor=anchor, fill=fill,
    )  # fmt: skip


def _jpeg(grey: NDArray[np.uint8], size: tuple[float, float]) -> str:
    picture = Image.fromarray(np.ascontiguousarray(grey))
    scale = min(1.0, MOST_PIXELS / max(grey.shape))
    if scale < 1:
        rows, columns = (max(1, round(n * scale)) for n in grey.shape)
        picture = picture.resize((columns, rows), Image.Resampling.BOX)
    return _encoded(picture, "jpeg", quality=QUALITY)


def _png(heat: Floats) -> str:
    """Of each pixel the colour of the level that claims it most, as dense as it claims it."""
    top = heat.max(axis=0)
    colours = np.array([_rgb(COLOURS[i % len(COLOURS)]) for i in range(len(heat))], np.uint8)
    painted = np.empty((*top.shape, 4), np.uint8)
    painted[..., :3] = colours[heat.argmax(axis=0)]
    painted[..., 3] = np.where(top >= SEEN, np.clip(top * 0.9, 0, 1) * 255, 0).astype(np.uint8)
    return _encoded(Image.fromarray(painted), "png")


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _encoded(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return data_uri(buffer.getvalue(), kind)
