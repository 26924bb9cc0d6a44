"""What does the model see in one subject? One picture: images, masks, change, uncertainty.

Every subject is turned to the radiological view (the patient's right on the left of the picture)
by its affine, whatever the order of its stored axes, and drawn with the true shape of its voxels.
Slices are chosen from the masks; of the images only the chosen slices are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import nibabel as nib
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lamstore.errors import MissingArrayError
from lamstore.schema import SPATIAL
from lamstore.units import NO_SHIFT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plane = Literal["axial", "coronal", "sagittal"]
Bools = NDArray[np.bool_]

AXES: dict[Plane, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
"""World axis (0 left-right, 1 back-front, 2 down-up) that is cut, runs down, runs to the right."""
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
"""What lies at the start and the end of each world axis in the picture."""
THICK = 1.5
"""From this ratio of spacings on, slices are shown as acquired, else axially."""
APART_MM = 8.0
"""Least distance of two slices of one picture, where the lesions allow it."""
MARGIN_MM = 6.0
"""Left around the brain."""


@dataclass(frozen=True)
class View:
    """How the stored axes of a subject lie in a picture.

    Attributes
    ----------
    plane : {"axial", "coronal", "sagittal"}
    cut, down, right : int
        Stored axis that is cut, that runs down and that runs to the right.
    flips : (2,) tuple of bool
        Whether the down and the right axis are stored the other way round.
    spacing_mm : (3,) tuple of float
        Along cut, down, right.
    """

    plane: Plane
    cut: int
    down: int
    right: int
    flips: tuple[bool, bool]
    spacing_mm: tuple[float, float, float]

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """What lies at the top, bottom, left and right edge: ``("A", "P", "R", "L")`` if axial."""
        _, down, right = AXES[self.plane]
        return (*LETTERS[down], *LETTERS[right])

    def turn(self, values: NDArray[Any]) -> NDArray[Any]:
        """(x, y, z) stored array to (slice, row, column), rows downwards."""
        turned = values.transpose(self.cut, self.down, self.right)
        return turned[:, :: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]


def view(affine: NDArray[np.float64], plane: Plane | None = None) -> View:
    """Radiological view of a grid.

    Parameters
    ----------
    affine : (4, 4) ndarray
        Voxel indices to RAS mm. Oblique grids get the nearest anatomical plane.
    plane : {"axial", "coronal", "sagittal"}, optional
        By default that of thick slices, and axial for voxels that are nearly cubes.
    """
    orientation = nib.io_orientation(affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    stored = {int(world): axis for axis, (world, _) in enumerate(orientation)}
    if plane is None:
        thick = int(spacing.argmax())
        uneven = spacing[thick] > THICK * np.delete(spacing, thick).max()
        chosen = int(orientation[thick, 0]) if uneven else 2
        plane = {cut: name for name, (cut, _, _) in AXES.items()}[chosen]
    cut, down, right = (stored[world] for world in AXES[plane])
    # Indices that grow towards right, front or up run against the picture.
    flips = (bool(orientation[down, 1] > 0), bool(orientation[right, 1] > 0))
    x, y, z = (float(spacing[axis]) for axis in (cut, down, right))
    return View(plane, cut, down, right, flips, (x, y, z))


def fullest(score: NDArray[np.int64], fallback: NDArray[np.int64], n: int, gap: int) -> list[int]:
    """The `n` slices of largest score, at least `gap` apart where that is possible.

    Parameters
    ----------
    score, fallback : (slice,) int ndarray
        Voxels of change, and of lesion: the second decides where the first is 0, and the middle of
        the array where both are.

    Returns
    -------
    list of int
        In the order of the axis; fewer than `n` when nothing is left to show.
    """
    ranked = [k for values in (score, fallback) for k in np.argsort(-values, kind="stable")
              if values[k] > 0]  # fmt: skip
    chosen: list[int] = []
    for k in dict.fromkeys(int(k) for k in ranked):
        if len(chosen) < n and all(abs(k - other) >= gap for other in chosen):
            chosen.append(k)
    return sorted(chosen) or [len(score) // 2]


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
    from lamstore.overlay_figure import draw

    return draw(read_slices(ds, slices, plane, modality, measure))


def read_slices(
    ds: xr.Dataset, n: int, plane: Plane | None, modality: str | None, measure: str | None
) -> Slices:
    """Choose `n` slices by the masks and read them; parameters as of `overlay`."""
    if "mask" not in ds or ds.sizes.get("subject", 1) != 1 or "shift" not in ds.dims:
        raise MissingArrayError(
            "overlay needs one subject with an engine's masks",
            remedy='lamstore.open(study, engine="…").sel(subject="…").lam.overlay()',
        )
    seen = view(np.asarray(ds.attrs["affine"], dtype=np.float64), plane)
    at = ds.sel(shift=NO_SHIFT)
    drawn = _modality(at, modality)
    times = [str(t) for t in at.timepoint.values if bool(at.available.sel(timepoint=t).any())]
    masks, truths, change = _masks(at, times)
    chosen = _choose(seen, masks, truths, change, n)
    cut = at.isel({SPATIAL[seen.cut]: chosen})
    name, unsure = _uncertainty(cut, times[-1], measure if times[-1] in masks else "", seen)
    imaged = [t for t in times if bool(at.available.sel(timepoint=t, modality=drawn))]
    volume = cut.volume.sel(modality=drawn, timepoint=imaged).astype(np.float32).values
    pick = {t: seen.turn(v) for t, v in zip(imaged, volume, strict=True)}
    return Slices(
        view=seen,
        labels=tuple(_label(at, seen, k) for k in chosen),
        images=pick,
        masks={t: seen.turn(m)[chosen] for t, m in masks.items()},
        lesion_truth={t: seen.turn(m)[chosen] for t, m in truths.items()},
        change_truth=None if change is None else seen.turn(change)[chosen],
        brainmask=seen.turn(cut.brainmask.values.astype(bool)),
        uncertainty=unsure,
        measure=name,
        modality=drawn,
    )


def _modality(ds: xr.Dataset, wanted: str | None) -> str:
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
    return fullest(counts[0], counts[-1], n, gap)


def _uncertainty(
    ds: xr.Dataset, timepoint: str, wanted: str | None, seen: View
) -> tuple[str, NDArray[np.float32] | None]:
    if "uncertainty" not in ds or wanted == "":
        return "", None
    stored = [str(m) for m in ds.measure.values]
    name = wanted or stored[0]
    if name not in stored:
        raise MissingArrayError(f"the measure {name} is not stored", expected=", ".join(stored))
    values = ds.uncertainty.sel(timepoint=timepoint, measure=name).values
    return name, seen.turn(values.astype(np.float32))


def _label(ds: xr.Dataset, seen: View, k: int) -> str:
    """``slice 24 of 49, 31 mm S``: where the middle of a slice lies in world space."""
    affine = np.asarray(ds.attrs["affine"])
    sizes = np.array([ds.sizes[dim] for dim in SPATIAL])
    middle = (sizes - 1) / 2
    middle[seen.cut] = k
    world = AXES[seen.plane][0]
    mm = float((affine[:3, :3] @ middle + affine[:3, 3])[world])
    letter = ("RAS" if mm >= 0 else "LPI")[world]
    return f"slice {k + 1} of {sizes[seen.cut]}, {abs(mm):.0f} mm {letter}"
