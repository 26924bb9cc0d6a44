"""Where did a localizer see each level of a spine? One picture: all levels, then each by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lamstore.errors import MissingArrayError
from lamstore.overlay.figure import FAINT, GROUND, HEAT, TEXT, Column, compose, grey
from lamstore.overlay.slices import Slices, chosen_modality, read_cut, slice_label
from lamstore.overlay.view import Frame, Plane, frame, view
from lamstore.units import NO_SHIFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
"""Okabe–Ito, in the order of the levels; further levels begin again."""
SEEN = 0.1
"""Of a map's maximum, from which on it is painted."""


@dataclass(frozen=True)
class LevelMap:
    """One level, turned to the view.

    Attributes
    ----------
    projection, on_slice : (row, column) float32 ndarray
        Maximum over all slices, and the map on the slice on which it peaks.
    at : (2,) tuple of int
        Row and column of the maximum.
    height : float
        Of the maximum; 0 for a level that was seen nowhere.
    """

    name: str
    colour: str
    projection: NDArray[np.float32]
    on_slice: NDArray[np.float32]
    slice_index: int
    at: tuple[int, int]
    height: float


def overlay_heatmaps(
    ds: xr.Dataset, plane: Plane | None = None, modality: str | None = None
) -> Figure:
    """Heatmaps of the last timepoint as acquired, on the image.

    The first column has every level: the maximum over all slices, in one colour each, on the slice
    in the middle of the peaks. Then a column a level, on the slice on which it peaks.

    Parameters
    ----------
    ds : Dataset
        ``lamstore.open(study, engine=…).sel(subject=…).lam.crop()`` of a localizer.
    plane : {"axial", "coronal", "sagittal"}, optional
        By default as acquired where slices are thick.
    modality : str, optional
        Image to draw on; the first that there is by default.

    Raises
    ------
    MissingArrayError
        When not one subject is selected, or it has no such image.
    """
    if ds.sizes.get("subject", 1) != 1 or "shift" not in ds.dims:
        raise MissingArrayError(
            "overlay needs one subject of an opened study",
            remedy='lamstore.open(study, engine="…").sel(subject="…").lam.overlay()',
        )
    seen = view(np.asarray(ds.attrs["affine"], dtype=np.float64), plane)
    drawn = chosen_modality(ds, modality)
    times = [str(t) for t in ds.timepoint.values if bool(ds.available.sel(timepoint=t).any())]
    at = ds.sel(shift=NO_SHIFT, timepoint=times[-1])
    maps = _level_maps(at, seen)
    peaks = [m.slice_index for m in maps if m.height > 0]
    middle = int(np.median(peaks)) if peaks else ds.sizes[seen.cut_dim] // 2
    slices = [middle, *(m.slice_index for m in maps)]
    image = read_cut(at.volume.sel(modality=drawn), seen, slices)
    found = Slices(
        view=seen,
        labels=(slice_label(ds, seen, middle),),
        images={times[-1]: image},
        masks={},
        lesion_truth={},
        change_truth=None,
        brainmask=np.ones(image.shape, bool),
        uncertainty=None,
        measure="",
        modality=drawn,
    )
    shown = frame(found.brainmask, seen.spacing_mm[1:])
    columns = [_all_levels(found, shown, maps)]
    columns += [_one_level(found, shown, m, i + 1) for i, m in enumerate(maps)]
    return compose(columns, found, shown)


def _level_maps(at: xr.Dataset, seen: Any) -> list[LevelMap]:
    found = []
    for i, level in enumerate(at.level.values):
        turned = seen.turn(at.heatmap.sel(level=level).values.astype(np.float32))
        index, row, column = np.unravel_index(int(turned.argmax()), turned.shape)
        name = str(level).replace("_", "/").upper()
        found.append(
            LevelMap(
                name=name,
                colour=COLOURS[i % len(COLOURS)],
                projection=turned.max(axis=0),
                on_slice=turned[index],
                slice_index=int(index),
                at=(int(row), int(column)),
                height=float(turned[index, row, column]),
            )
        )
    return found


def _all_levels(found: Slices, shown: Frame, maps: list[LevelMap]) -> Column:
    (timepoint,) = found.images

    def paint(axes: Axes, _: int) -> None:
        grey(axes, found, shown, timepoint, 0)
        for one in maps:
            if one.height > 0:
                _tint(axes, shown, one)
                _name(axes, shown, one)

    unseen = [m.name for m in maps if m.height <= 0]
    keys = ((FAINT, f"not seen: {', '.join(unseen)}"),) if unseen else ()
    return Column(f"{found.modality.capitalize()} {timepoint}, all levels", paint, keys)


def _tint(axes: Axes, shown: Frame, one: LevelMap) -> None:
    from matplotlib.colors import to_rgb

    part = shown.cut(one.projection)
    painted = np.empty((*part.shape, 4), np.float32)
    painted[..., :3] = to_rgb(one.colour)
    painted[..., 3] = np.where(part >= SEEN * one.height, np.clip(part, 0, 1) * 0.85, 0)
    axes.imshow(painted, extent=shown.extent, interpolation="bilinear")


def _name(axes: Axes, shown: Frame, one: LevelMap) -> None:
    """The level's name in front of its peak."""
    down, right = (
        (index - part.start + 0.5) * step
        for index, part, step in zip(
            one.at, (shown.rows, shown.columns), shown.spacing_mm, strict=True
        )
    )
    behind = {"boxstyle": "square,pad=0.15", "facecolor": GROUND, "edgecolor": "none", "alpha": 0.7}
    axes.plot(right, down, marker="+", color=one.colour, markersize=7)
    away = 0.09 * shown.extent[1]
    axes.text(
        right - away, down, one.name, color=one.colour, fontsize=8, ha="right", va="center",
        bbox=behind,
    )  # fmt: skip


def _one_level(found: Slices, shown: Frame, one: LevelMap, index: int) -> Column:
    (timepoint,) = found.images

    def paint(axes: Axes, _: int) -> None:
        grey(axes, found, shown, timepoint, index, dim=0.55)
        heat = np.clip(shown.cut(one.on_slice), 0, 1)
        axes.imshow(
            heat, cmap=HEAT, vmin=0, vmax=max(one.height, 1e-6), extent=shown.extent,
            alpha=np.clip(heat / max(one.height, 1e-6) * 2, 0, 0.9).astype(np.float32),
            interpolation="nearest",
        )  # fmt: skip

    keys = ((TEXT, f"maximum {one.height:.2f}, slice {one.slice_index + 1}"),)
    return Column(one.name, paint, keys)
