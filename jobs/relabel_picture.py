"""What does a reader look at to accept a suggestion? One slice: the tool's names, the localizer's.

On the left of the spine what the tool calls each vertebra, on the right what is suggested where
that differs; between them the heatmaps of the whole series, each level in its colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jobs.heatmaps import LEVELS
from jobs.heatmaps.centroids import NAMES
from jobs.heatmaps.places import Labelled
from jobs.heatmaps.sagittal import SagittalView, sagittal_view
from lamstore.grid import Grid
from lamstore.overlay.figure import FAINT, GROUND, NEW, TEXT
from lamstore.overlay.heatmaps import COLOURS, SEEN

MARGIN_MM = 45.0
"""Around the vertebrae that have a name."""
HEIGHT_IN = 5.6


def picture(
    image: NDArray[np.floating],
    grid: Grid,
    found: Labelled,
    heatmap: NDArray[np.floating],
    changed: Mapping[int, int],
    title: str,
) -> Figure:
    """One study.

    Parameters
    ----------
    image : (x, y, z) ndarray
    grid : Grid
    found : Labelled
        The tool's vertebrae.
    heatmap : (level, x, y, z) ndarray
        Of the whole series.
    changed : mapping of int to int
        New label of vertebrae that get another one.
    title : str
    """
    view = sagittal_view(grid)
    bodies = {k: view.index(v[None], grid.shape)[0] for k, v in found.voxels.items() if k in NAMES}
    gaps = np.array([view.index(v[None], grid.shape)[0] for v in found.centres.values()])
    middle = int(np.clip(np.round(np.median(gaps[:, 0])), 0, grid.shape[view.axes[0]] - 1))
    box = _box(np.array([*bodies.values(), *gaps]), view, grid)
    plane = view.stack(image)[middle][box]
    figure, axes = _canvas(plane.shape, view.spacing_mm[1:], title)
    low, high = np.percentile(plane, [1, 99.5])
    across = view.spacing_mm[1] / view.spacing_mm[2]
    axes.imshow(plane, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=across)
    maps = np.stack([view.stack(one) for one in heatmap]).max(axis=1)[(slice(None), *box)]
    for level, colour, one in zip(LEVELS, COLOURS, maps, strict=False):
        _heat(axes, one, colour, across, level)
    for label, (_, row, column) in bodies.items():
        _names(axes, label, row - box[0].start, column - box[1].start, changed, view)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=GROUND, dpi=100)


def _box(places: NDArray[np.float64], view: SagittalView, grid: Grid) -> tuple[slice, slice]:
    """Rows and columns around places (n, 3) of slice, row, column."""
    found = []
    for axis in (1, 2):
        reach = MARGIN_MM / view.spacing_mm[axis]
        last = grid.shape[view.axes[axis]]
        low, high = places[:, axis].min() - reach, places[:, axis].max() + reach
        found.append(slice(max(0, int(low)), min(last, int(np.ceil(high)) + 1)))
    return found[0], found[1]


def _canvas(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], title: str
) -> tuple[Figure, Any]:
    tall, wide = (n * mm for n, mm in zip(shape, spacing_mm, strict=True))
    figure = Figure(figsize=(max(HEIGHT_IN * wide / tall, 3.2), HEIGHT_IN + 0.5), facecolor=GROUND)
    axes = figure.add_axes((0, 0, 1, HEIGHT_IN / (HEIGHT_IN + 0.5)))
    axes.set_axis_off()
    figure.text(0.5, 0.985, title, color=TEXT, fontsize=9, ha="center", va="top")
    return figure, axes


def _heat(axes: Any, one: NDArray[np.floating], colour: str, across: float, level: str) -> None:
    top = float(one.max())
    if top <= 0:
        return
    painted = np.empty((*one.shape, 4), np.float32)
    painted[..., :3] = to_rgb(colour)
    painted[..., 3] = np.where(one >= SEEN * top, np.clip(one, 0, 1) * 0.75, 0)
    axes.imshow(painted, aspect=across, interpolation="bilinear")
    row, column = np.unravel_index(int(one.argmax()), one.shape)
    name = level.replace("_", "/").upper()
    axes.text(column, row, name, color=colour, fontsize=7, ha="center", va="center",
              bbox=_behind())  # fmt: skip


def _names(
    axes: Any, label: int, row: float, column: float, changed: Mapping[int, int], view: SagittalView
) -> None:
    """The tool's name in front of the vertebra, the suggested one behind it where it differs."""
    away = 26.0 / view.spacing_mm[2]
    axes.plot(column, row, "+", color=FAINT, markersize=5)
    axes.text(column - away, row, NAMES[label], color=TEXT, fontsize=9, ha="right", va="center",
              bbox=_behind())  # fmt: skip
    if label in changed:
        axes.text(column + away, row, f"→ {NAMES[changed[label]]}", color=NEW, fontsize=9,
                  ha="left", va="center", bbox=_behind(), weight="bold")  # fmt: skip


def _behind() -> dict[str, Any]:
    return {"boxstyle": "square,pad=0.15", "facecolor": GROUND, "edgecolor": "none", "alpha": 0.65}
