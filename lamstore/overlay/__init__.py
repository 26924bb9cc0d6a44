"""What does the model see in one subject? Pictures: images, masks, change, uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from lamstore.errors import MissingArrayError
from lamstore.overlay.levels import overlay_levels
from lamstore.overlay.slices import read_slices
from lamstore.overlay.view import Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["overlay", "overlay_levels"]


def overlay(
    ds: xr.Dataset,
    *,
    slices: int = 1,
    plane: Plane | None = None,
    modality: str | None = None,
    measure: str | None = None,
) -> Figure:
    """Picture of one subject: a row for each slice.

    Columns: the image at each timepoint with the outline of the model's mask and of the lesion
    truth; what is new and what vanished between the two masks (every voxel of
    ``mask t1 and not mask t0`` and the reverse, before any dilation or removal of small
    components) with the outline of the change truth; the uncertainty of the last timepoint. A
    subject of one timepoint has mask against truth in place of the change. Columns without data
    are left out.

    Of a localizer: the heatmaps of the last timepoint on the image, see
    `lamstore.overlay.heatmaps`; each level has its own slice, so `slices` and `measure` mean
    nothing there.

    Parameters
    ----------
    ds : Dataset
        ``lamstore.open(study, engine=…).sel(subject=…).lam.crop()``.
    slices : int
        How many, those with most change (else most lesion) first.
    plane : {"axial", "coronal", "sagittal"}, optional
        By default as acquired where slices are thick, else axial.
    modality : str, optional
        Image to draw on; FLAIR by default, or the first that there is.
    measure : str, optional
        Uncertainty to draw; the first stored one by default.

    Returns
    -------
    Figure

    Raises
    ------
    MissingArrayError
        Without an engine's masks, or when a named modality or measure is not stored.
    """
    if "heatmap" in ds:
        from lamstore.overlay.heatmaps import overlay_heatmaps

        if measure is not None:
            raise MissingArrayError(
                f"the measure {measure} is not stored", expected="none: these are heatmaps"
            )
        return overlay_heatmaps(ds, plane, modality)
    from lamstore.overlay.figure import draw

    return draw(read_slices(ds, slices, plane, modality, measure)[0])
