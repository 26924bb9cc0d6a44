"""Which slices of a subject are shown, and what lies on them?

Slices are chosen from the masks; of the images only the chosen slices are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lamstore.errors import MissingArrayError
from lamstore.overlay.view import AXES, Bools, Plane, View, fullest, view
from lamstore.schema import SPATIAL
from lamstore.units import NO_SHIFT

APART_MM = 8.0
"""Least distance of two slices of one picture, where the lesions allow it."""


@dataclass(frozen=True)
class Slices:
    """The chosen slices of one subject, turned to the view: (slice, row, column) each.

    What the subject lacks is absent from the mappings, or None; an empty mask is not absence.
    """

    view: View
    labels: tuple[str, ...]
    images: dict[str, NDArray[np.float32]]
    masks: dict[str, Bools]
    lesion_truth: dict[str, Bools]
    change_truth: Bools | None
    brainmask: Bools
    uncertainty: NDArray[np.float32] | None
    measure: str
    modality: str

    def only(self, timepoint: str) -> Slices:
        """The same of one timepoint."""
        return replace(
            self,
            images={t: v for t, v in self.images.items() if t == timepoint},
            masks={t: v for t, v in self.masks.items() if t == timepoint},
            lesion_truth={t: v for t, v in self.lesion_truth.items() if t == timepoint},
        )


def read_slices(
    ds: xr.Dataset, n: int, plane: Plane | None, modality: str | None, measure: str | None
) -> tuple[Slices, list[int]]:
    """Choose `n` slices by the masks and read them; parameters as of `overlay`.

    Returns
    -------
    Slices
    list of int
        Stored indices of the slices along the cut axis, from below, behind or left onwards.
    """
    if "mask" not in ds or ds.sizes.get("subject", 1) != 1 or "shift" not in ds.dims:
        raise MissingArrayError(
            "overlay needs one subject with an engine's masks",
            remedy='lamstore.open(study, engine="…").sel(subject="…").lam.overlay()',
        )
    seen = view(np.asarray(ds.attrs["affine"], dtype=np.float64), plane)
    at = ds.sel(shift=NO_SHIFT)
    drawn = chosen_modality(at, modality)
    times = [str(t) for t in at.timepoint.values if bool(at.available.sel(timepoint=t).any())]
    masks, truths, change = _masks(at, times)
    chosen = _choose(seen, masks, truths, change, n)
    name, unsure = "", None
    if times[-1] in masks and "uncertainty" in at:
        name = _measure(at, measure)
        unsure = read_cut(at.uncertainty.sel(timepoint=times[-1], measure=name), seen, chosen)
    imaged = [t for t in times if bool(at.available.sel(timepoint=t, modality=drawn))]
    volume = at.volume.sel(modality=drawn)
    found = Slices(
        view=seen,
        labels=tuple(slice_label(at, seen, k) for k in chosen),
        images={t: read_cut(volume.sel(timepoint=t), seen, chosen) for t in imaged},
        masks={t: seen.turn(m)[chosen] for t, m in masks.items()},
        lesion_truth={t: seen.turn(m)[chosen] for t, m in truths.items()},
        change_truth=None if change is None else seen.turn(change)[chosen],
        brainmask=read_cut(at.brainmask, seen, chosen) > 0,
        uncertainty=unsure,
        measure=name,
        modality=drawn,
    )
    return found, chosen


def chosen_modality(ds: xr.Dataset, wanted: str | None) -> str:
    """The modality to draw on: the wanted one, FLAIR, or the first that the subject has.

    Raises
    ------
    MissingArrayError
        When it has no such image.
    """
    has = ds.available.any("timepoint")
    stored = [str(m) for m in ds.modality.values if bool(has.sel(modality=m))]
    if wanted is not None and wanted not in stored:
        raise MissingArrayError(
            f"the subject has no {wanted} image", expected=", ".join(stored) or None
        )
    if not stored:
        raise MissingArrayError("the subject has no image")
    return wanted or ("flair" if "flair" in stored else stored[0])


def _masks(
    ds: xr.Dataset, times: list[str]
) -> tuple[dict[str, Bools], dict[str, Bools], Bools | None]:
    """Whole masks and truths that the subject really has, by timepoint; change truth."""
    masks = {t: ds.mask.sel(timepoint=t).values.astype(bool) for t in times
             if _recorded(ds, "lesion_volume_mm3", t) is not False}  # fmt: skip
    truths = _truths(ds, "lesion_truth", "volume_truth_mm3", times)
    change = _truths(ds, "change_truth", "change_gt_vol_mm3", [""]).get("")
    return masks, truths, change if len(times) > 1 else None


def _truths(ds: xr.Dataset, name: str, metric: str, times: list[str]) -> dict[str, Bools]:
    found = {}
    for t in times if name in ds else ():
        values = (ds[name].sel(timepoint=t) if t else ds[name]).values.astype(bool)
        recorded = _recorded(ds, metric, t)
        # The store keeps no zeros, so that an empty truth and none look alike: the metrics know.
        if recorded or (recorded is None and values.any()):
            found[t] = values
    return found


def _recorded(ds: xr.Dataset, metric: str, timepoint: str) -> bool | None:
    """Whether a metric has a value; None where no metrics have been gathered."""
    if metric not in ds:
        return None
    cell = ds[metric].sel(timepoint=timepoint) if timepoint else ds[metric]
    return bool(np.isfinite(cell.values))


def _choose(
    seen: View, masks: dict[str, Bools], truths: dict[str, Bools], change: Bools | None, n: int
) -> list[int]:
    everything = [*masks.values(), *truths.values()]
    lesion = np.logical_or.reduce(everything) if everything else None
    moved = np.zeros(1, bool) if change is None else change
    if len(masks) > 1:
        first, *_, last = masks.values()
        moved = moved | (first ^ last)
    shape = next((m.shape for m in (change, lesion) if m is not None), None)
    if shape is None:
        raise MissingArrayError("nothing has been segmented for this subject", remedy="lam run")
    others = tuple(axis for axis in range(3) if axis != seen.cut)
    counts = [np.broadcast_to(m, shape).sum(axis=others) for m in (moved, lesion)
              if m is not None]  # fmt: skip
    gap = max(1, round(APART_MM / seen.spacing_mm[0]))
    if seen.upwards:
        return fullest(counts[0], counts[-1], n, gap)
    # Chosen in the order of the body, so that storage decides nothing that is seen.
    found = fullest(counts[0][::-1], counts[-1][::-1], n, gap)
    return [shape[seen.cut] - 1 - k for k in found]


def _measure(ds: xr.Dataset, wanted: str | None) -> str:
    stored = [str(m) for m in ds.measure.values]
    if wanted is not None and wanted not in stored:
        raise MissingArrayError(f"the measure {wanted} is not stored", expected=", ".join(stored))
    return wanted or stored[0]


def read_cut(volume: xr.DataArray, seen: View, chosen: list[int]) -> NDArray[np.float32]:
    """The chosen slices of a lazy (x, y, z) array, turned; nothing else is read."""
    # One window a slice: a list of indices would make dask read the whole volume first.
    parts = [volume.isel({seen.cut_dim: slice(k, k + 1)}).values for k in chosen]
    return np.concatenate([seen.turn(part.astype(np.float32)) for part in parts])


def slice_label(ds: xr.Dataset, seen: View, k: int) -> str:
    """``slice 24 of 49, 31 mm S``: where the middle of a slice lies in world space."""
    affine = np.asarray(ds.attrs["affine"])
    sizes = np.array([ds.sizes[dim] for dim in SPATIAL])
    middle = (sizes - 1) / 2
    middle[seen.cut] = k
    world = AXES[seen.plane][0]
    mm = float((affine[:3, :3] @ middle + affine[:3, 3])[world])
    letter = ("RAS" if mm >= 0 else "LPI")[world]
    return f"slice {k + 1} of {sizes[seen.cut]}, {abs(mm):.0f} mm {letter}"
