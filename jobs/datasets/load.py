"""How do one subject's arrays get from its files onto its grid?

File by file, with one thread that reads ahead: while the caller packs one volume, the next is
inflated. Two volumes are alive at a time: the caller's and the one being read (and, while that is
resampled, its source).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.check import SubjectCheck
from jobs.datasets.files import natural_key
from jobs.datasets.grids import grid_error, needs_resampling
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.datasets.readers import open_image
from jobs.datasets.resample import Interpolation, read_transforms, resample
from lamstore.errors import GridError, VoxelError
from lamstore.grid import Grid

NamedArray = tuple[str, str | None, str | None, NDArray[Any]]
"""Array of the store, timepoint, modality, (x, y, z) voxels."""


@dataclass(frozen=True)
class _Wanted:
    array: str
    timepoint: str | None
    modality: str | None
    source: ImageSource


@dataclass(frozen=True)
class _Target:
    grid: Grid
    resample: bool
    interpolation: Interpolation


def iter_arrays(
    sources: SubjectSources,
    check: SubjectCheck,
    timepoints: Collection[str] | None = None,
    modalities: Collection[str] | None = None,
    *,
    resample: bool = False,
    interpolation: Interpolation = "linear",
) -> Iterator[NamedArray]:
    """Arrays of one subject on its grid: brain mask, images, truths.

    A file that serves twice (an image whose nonzero voxels are the brain mask) is read once.

    Parameters
    ----------
    sources : SubjectSources
    check : SubjectCheck
        Of the same subject; its grid is what every file is held against once more.
    timepoints, modalities : collection of str, optional
        What to read; None for all. Masks of the whole subject are always read.
    resample : bool
        Whether files on another grid are resampled. Files with transforms always are.
    interpolation : {"linear", "bspline"}, optional
        Of images that are resampled; masks take the nearest neighbour.

    Yields
    ------
    array : {"brainmask", "volume", "change_truth", "lesion_truth"}
    timepoint, modality : str or None
        None where the array has no such axis.
    voxels : (x, y, z) ndarray, Fortran order
        Images in the smallest type that holds them exactly (float32 or float64 where resampled);
        masks as uint8 with values 0 and 1.

    Raises
    ------
    InputError
        Any file cannot be used: missing, truncated, on another grid, NaN, a mask with other
        values than 0 and 1, an empty brain mask.
    """
    grid = check.grid
    if grid is None:
        raise GridError(
            f"{sources.subject} has no grid", got="; ".join(check.problems), remedy="lam check"
        )
    target = _Target(grid, resample, interpolation)
    jobs = [
        partial(_read, sources, wanted, target)
        for wanted in _by_file(_wanted(sources, timepoints, modalities))
    ]
    for arrays in _read_ahead(jobs):
        while arrays:
            yield arrays.pop(0)


def _wanted(
    sources: SubjectSources, timepoints: Collection[str] | None, modalities: Collection[str] | None
) -> list[_Wanted]:
    found = []
    if sources.brainmask:
        found.append(_Wanted("brainmask", None, None, sources.brainmask))
    for timepoint, modality in sorted(sources.images, key=lambda key: natural_key(key[0])):
        if _in(timepoint, timepoints) and _in(modality, modalities):
            image = sources.images[timepoint, modality]
            found.append(_Wanted("volume", timepoint, modality, image))
    if sources.change_truth:
        found.append(_Wanted("change_truth", None, None, sources.change_truth))
    for timepoint, truth in sources.lesion_truth.items():
        if _in(timepoint, timepoints):
            found.append(_Wanted("lesion_truth", timepoint, None, truth))
    return found


def _in(label: str, chosen: Collection[str] | None) -> bool:
    return chosen is None or label in chosen


def _by_file(wanted: list[_Wanted]) -> list[list[_Wanted]]:
    groups: dict[object, list[_Wanted]] = {}
    for one in wanted:
        groups.setdefault((one.source.path, one.source.transforms, one.source.series), []).append(
            one
        )
    return list(groups.values())


def _read_ahead(jobs: Sequence[Callable[[], list[NamedArray]]]) -> Iterator[list[NamedArray]]:
    """Results of the jobs in order, each started when the one before it is handed out."""
    reading: deque[Future[list[NamedArray]]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for job in jobs:
            reading.append(pool.submit(job))
            if len(reading) > 1:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def _read(sources: SubjectSources, wanted: list[_Wanted], target: _Target) -> list[NamedArray]:
    subject, source, grid = sources.subject, wanted[0].source, target.grid
    image = open_image(source, subject)
    moves = needs_resampling(source, image.grid, grid, target.resample)
    if not moves and grid.mismatch(image.grid) is not None:
        raise grid_error(subject, source, image.grid, sources.reference, grid)
    transforms = read_transforms(source.transforms, subject)
    voxels = image.voxels()
    found: list[NamedArray] = []
    for one in wanted:
        is_mask = one.array != "volume"
        array = as_mask(voxels, one.source, subject) if is_mask else voxels
        if moves:
            array = resample(
                array, image.grid, grid, transforms, "nearest" if is_mask else target.interpolation
            )
        if one.array in ("brainmask", "volume"):
            _refuse_empty(array, one, subject, moves)
        found.append((one.array, one.timepoint, one.modality, array))
    return found


def as_mask(voxels: NDArray[Any], source: ImageSource, subject: str) -> NDArray[np.uint8]:
    """Mask of uint8 zeros and ones.

    Parameters
    ----------
    voxels : (x, y, z) ndarray
        Finite values.
    source : ImageSource
        Its `binarize` says whether values other than 0 and 1 are refused.
    subject : str
        Named in the error.

    Raises
    ------
    VoxelError
        Other values than 0 and 1.
    """
    if source.binarize == "nonzero":
        nonzero: NDArray[np.uint8] = (voxels != 0).view(np.uint8)
        return nonzero
    low, high = voxels.min(), voxels.max()
    whole = voxels.dtype.kind != "f" or bool(((voxels == 0) | (voxels == 1)).all())
    if low < 0 or high > 1 or not whole:
        values = np.unique(voxels)
        listed = ", ".join(f"{v:g}" for v in values[:8]) + (", …" if len(values) > 8 else "")
        raise VoxelError(
            f"{subject}: {source.shown} is not a mask",
            got=f"values {listed}",
            expected="0 and 1 only",
            remedy="threshold it, or keep the one label that is meant, and save it as uint8",
        )
    return voxels.astype(np.uint8, copy=False)


def _refuse_empty(array: NDArray[Any], one: _Wanted, subject: str, moved: bool) -> None:
    if (moved or one.array == "brainmask") and not array.any():
        why = "lies outside the reference grid" if moved else "is empty"
        raise VoxelError(
            f"{subject}: {one.source.shown} {why}",
            got=f"{one.array} of zeros only",
            expected="at least one voxel",
            remedy="check its transforms and affine" if moved else "segment the brain again",
        )
