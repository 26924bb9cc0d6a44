"""How do the chosen slices of one subject become a picture?

Only drawing: `lamstore.overlay.slices` chooses and reads. Colours are of the Okabe–Ito set, which
colour-blind readers can tell apart: the model is warm, the truth is cool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lamstore.overlay.slices import Slices
from lamstore.overlay.view import Bools, Frame, frame, outline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL, TRUTH = "#E69F00", "#56B4E9"
NEW, VANISHED, AGREED = "#E69F00", "#CC79A7", "#009E73"
GROUND, TEXT, FAINT = "#0E1116", "#E8EAED", "#9AA0A6"
HEAT = "magma"

CEILING = {
    "ens_var": 0.25,
    "prob_p1mp": 0.25,
    "prob_entropy": log(2),
    "mutual_information": log(2),
}
"""Largest value that a measure can have: one scale for every subject. Others: the picture's own."""

WIDTH_IN, TITLE_IN, LEGEND_IN, GAP_IN = 2.55, 0.3, 0.36, 0.06


@dataclass(frozen=True)
class Column:
    """One column of the picture: a title, how to draw slice `k`, and its legend."""

    title: str
    draw: Callable[[Axes, int], Any]
    keys: tuple[tuple[str, str], ...] = ()
    """Colour and meaning."""
    scale: tuple[str, float] | None = None
    """Name and upper end of a colour scale."""


def draw(found: Slices) -> Figure:
    """The picture; see `lamstore.overlay.overlay`."""
    shown = frame(found.brainmask, found.view.spacing_mm[1:])
    return compose(_columns(found, shown), found, shown)


def draw_levels(found: Slices, masks: dict[str, Bools]) -> Figure:
    """The picture of one timepoint's mask under each level of a shift; see `overlay_levels`."""
    shown = frame(found.brainmask, found.view.spacing_mm[1:])
    (t,) = found.images
    columns = [_level_column(found, shown, t, title, masks[title]) for title in masks]
    return compose(columns, found, shown)


def compose(columns: list[Column], found: Slices, shown: Frame) -> Figure:
    """Columns side by side, a row for each slice."""
    from matplotlib.figure import Figure

    _, width, height, _ = shown.extent
    tall = WIDTH_IN * height / width
    total = (
        len(columns) * (WIDTH_IN + GAP_IN) + GAP_IN,
        TITLE_IN + LEGEND_IN + len(found.labels) * (tall + GAP_IN),
    )
    figure = Figure(figsize=total, facecolor=GROUND, dpi=110)
    for i, column in enumerate(columns):
        left = (GAP_IN + i * (WIDTH_IN + GAP_IN)) / total[0]
        for k in range(len(found.labels)):
            bottom = (LEGEND_IN + (len(found.labels) - 1 - k) * (tall + GAP_IN)) / total[1]
            box = (left, bottom, WIDTH_IN / total[0], tall / total[1])
            axes = figure.add_axes(box, facecolor="black")
            column.draw(axes, k)
            _finish(axes, shown)
            if i == 0:
                _letters(axes, found, k)
        style: dict[str, Any] = {"color": TEXT, "fontsize": 10, "va": "top", "fontweight": "bold"}
        figure.text(left, 1 - 0.08 / total[1], column.title, **style)
        _legend(figure, column, left, WIDTH_IN / total[0], LEGEND_IN / total[1])
    return figure


def _columns(found: Slices, shown: Frame) -> list[Column]:
    name = found.modality.upper() if found.modality == "flair" else found.modality.capitalize()
    columns = [_image_column(found, shown, t, f"{name} {t}") for t in found.images]
    if len(found.masks) > 1:
        columns.append(_change_column(found, shown))
    else:
        columns += [_error_column(found, shown, t) for t in found.masks if t in found.lesion_truth]
    if found.uncertainty is not None:
        columns.append(_uncertainty_column(found, shown, found.uncertainty))
    return columns


def _image_column(found: Slices, shown: Frame, t: str, title: str) -> Column:
    keys = []
    if t in found.masks:
        keys.append((MODEL, "model" if found.masks[t].any() else "model: nothing here"))
    else:
        keys.append((FAINT, "not segmented"))
    if t in found.lesion_truth:
        keys.append((TRUTH, "lesion truth"))

    def paint(axes: Axes, k: int) -> None:
        grey(axes, found, shown, t, k)
        if t in found.lesion_truth:
            _contour(axes, found.lesion_truth[t][k], shown, TRUTH)
        if t in found.masks:
            _contour(axes, found.masks[t][k], shown, MODEL)

    return Column(title, paint, tuple(keys))


def _level_column(found: Slices, shown: Frame, t: str, title: str, mask: Bools) -> Column:
    keys = [(MODEL, "model" if mask.any() else "model: nothing here")]
    if t in found.lesion_truth:
        keys.append((TRUTH, "lesion truth"))

    def paint(axes: Axes, k: int) -> None:
        grey(axes, found, shown, t, k)
        if t in found.lesion_truth:
            _contour(axes, found.lesion_truth[t][k], shown, TRUTH)
        _contour(axes, mask[k], shown, MODEL)

    return Column(title, paint, tuple(keys))


def _change_column(found: Slices, shown: Frame) -> Column:
    first, *_, last = found.masks
    m0, m1, truth = found.masks[first], found.masks[last], found.change_truth
    keys = [(NEW, f"new at {last}"), (VANISHED, "vanished")]
    keys.append((TRUTH, "change truth") if truth is not None else (FAINT, "no change truth"))

    def paint(axes: Axes, k: int) -> None:
        grey(axes, found, shown, last, k, dim=0.55)
        _fill(axes, m1[k] & ~m0[k], shown, NEW)
        _fill(axes, m0[k] & ~m1[k], shown, VANISHED)
        if truth is not None:
            _contour(axes, truth[k], shown, TRUTH)

    return Column(
        "Change: model against truth" if truth is not None else "Change", paint, tuple(keys)
    )


def _error_column(found: Slices, shown: Frame, t: str) -> Column:
    mask, truth = found.masks[t], found.lesion_truth[t]

    def paint(axes: Axes, k: int) -> None:
        grey(axes, found, shown, t, k, dim=0.55)
        _fill(axes, mask[k] & truth[k], shown, AGREED)
        _fill(axes, mask[k] & ~truth[k], shown, MODEL)
        _fill(axes, truth[k] & ~mask[k], shown, TRUTH)

    keys = ((AGREED, "both"), (MODEL, "model only"), (TRUTH, "truth only"))
    return Column("Model against truth", paint, keys)


def _uncertainty_column(found: Slices, shown: Frame, values: NDArray[np.float32]) -> Column:
    top = CEILING.get(found.measure) or max(float(values.max()), 1e-6)
    last = list(found.masks)[-1]

    def paint(axes: Axes, k: int) -> None:
        # The square root shows small variances beside the largest possible one.
        heat = np.sqrt(np.clip(np.nan_to_num(shown.cut(values[k])) / top, 0, 1))
        grey(axes, found, shown, last, k, dim=0.3)
        axes.imshow(
            heat, cmap=HEAT, vmin=0, vmax=1, extent=shown.extent, interpolation="nearest",
            alpha=np.clip(heat * 8, 0, 1).astype(np.float32),
        )  # fmt: skip

    return Column(f"Uncertainty {last}", paint, scale=(found.measure, top))


def grey(axes: Axes, found: Slices, shown: Frame, t: str, k: int, *, dim: float = 1.0) -> None:
    """An image between its own 1st and 99.5th percentile in the brain of the shown slices."""
    if t not in found.images:
        return
    values = found.images[t]
    inside = values[found.brainmask] if found.brainmask.any() else values
    low, high = np.percentile(inside, (1, 99.5))
    scaled = np.clip((shown.cut(values[k]) - low) / max(high - low, 1e-6), 0, 1) * dim
    axes.imshow(scaled, cmap="gray", vmin=0, vmax=1, extent=shown.extent, interpolation="bilinear")


def _contour(axes: Axes, mask: Bools, shown: Frame, colour: str, width: float = 1.0) -> None:
    from matplotlib.collections import LineCollection

    edges = outline(shown.cut(mask), shown.spacing_mm)
    axes.add_collection(
        LineCollection(list(edges), colors=colour, linewidths=width, capstyle="projecting")
    )


def _fill(axes: Axes, mask: Bools, shown: Frame, colour: str) -> None:
    from matplotlib.colors import to_rgb

    part = shown.cut(mask)
    painted = np.zeros((*part.shape, 4), np.float32)
    painted[part] = (*to_rgb(colour), 0.9)
    axes.imshow(painted, extent=shown.extent, interpolation="nearest")


def _finish(axes: Axes, shown: Frame) -> None:
    left, right, bottom, top = shown.extent
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _letters(axes: Axes, found: Slices, k: int) -> None:
    """Directions at the edges, and where the slice lies."""
    style: dict[str, Any] = {"transform": axes.transAxes, "color": TEXT, "fontsize": 8}
    top, _, left, right = found.view.letters
    axes.text(0.5, 0.985, top, ha="center", va="top", **style)
    axes.text(0.015, 0.5, left, ha="left", va="center", **style)
    axes.text(0.985, 0.5, right, ha="right", va="center", **style)
    behind = {"boxstyle": "square,pad=0.2", "facecolor": GROUND, "edgecolor": "none", "alpha": 0.75}
    axes.text(0.015, 0.014, found.labels[k], ha="left", va="bottom", bbox=behind,
              **style | {"fontsize": 7})  # fmt: skip


def _legend(figure: Figure, column: Column, left: float, width: float, height: float) -> None:
    y = height * 0.45
    x = left
    total = float(figure.get_size_inches()[0])
    for colour, words in column.keys:
        figure.text(x, y, "■", color=colour, fontsize=9, va="center")
        figure.text(x + 0.14 / total, y, words, color=TEXT, fontsize=8, va="center")
        x += (0.28 + 0.062 * len(words)) / total
    if column.scale is not None:
        name, top = column.scale
        axes = figure.add_axes((x, y - height * 0.13, width * 0.38, height * 0.26))
        axes.imshow(np.linspace(0, 1, 128)[None], cmap=HEAT, aspect="auto")
        axes.set_axis_off()
        words = f"0 to {top:.2g} (√ scale)  {name}"
        figure.text(x + width * 0.41, y, words, color=TEXT, fontsize=8, va="center")
