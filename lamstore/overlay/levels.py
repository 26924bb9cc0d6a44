"""How does one subject's mask fall apart under a shift? One picture: a column for each level."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import xarray as xr

from lamstore.errors import MissingArrayError
from lamstore.overlay.slices import read_cut, read_slices
from lamstore.overlay.view import Bools
from lamstore.units import NO_SHIFT, parse_shift_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overlay_levels(
    ds: xr.Dataset,
    shift: str,
    *,
    mode: str = "t1_only",
    slices: int = 1,
    titled: Callable[[str, int], str] | None = None,
) -> Figure:
    """Masks of the last timepoint as acquired and under each level of a shift.

    All are drawn on the image as acquired: what differs is the mask alone. Slices are those of
    most change, as in `lamstore.overlay.overlay`.

    Parameters
    ----------
    ds : Dataset
        ``lamstore.open(study, engine=…).sel(subject=…).lam.crop()``.
    shift : str
        Name: ``gamma``, ``noise``, ``blur``, ``resolution``.
    mode : {"t1_only", "both"}
    slices : int
    titled : callable, optional
        Maps shift and level to a column's title; ``gamma 1`` by default.

    Raises
    ------
    MissingArrayError
        When the store has no such shift.
    """
    from lamstore.overlay.figure import draw_levels

    labels = [str(label) for label in ds["shift"].values]
    levels = [s for s in labels if (*parse_shift_label(s)[::2],) == (shift, mode)]
    if not levels:
        raise MissingArrayError(
            f"the study has no shift {shift} in mode {mode}", expected=", ".join(labels)
        )
    name = titled or (lambda shift, level: f"{shift} {level}" if level else "as acquired")
    found, chosen = read_slices(ds, slices, None, None, None)
    last = list(found.images)[-1]
    masks: dict[str, Bools] = {}
    for label in [NO_SHIFT, *levels]:
        title = name(*parse_shift_label(label)[:2])
        masks[title] = read_cut(ds.mask.sel(shift=label, timepoint=last), found.view, chosen) > 0
    return draw_levels(found.only(last), masks)
