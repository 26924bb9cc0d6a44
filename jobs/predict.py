"""What does an engine say of images that belong to no study? NIfTI in, NIfTI out.

Scans come from image files, from a dataset adapter or from a study's store; results lie on the
grid of the scan, with the affine and header of its reference image where that is a NIfTI file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jobs.datasets.check import SubjectCheck, check_cohort
from jobs.datasets.files import natural_key
from jobs.datasets.load import iter_arrays
from jobs.datasets.model import MODALITIES, ImageSource, SubjectSources
from jobs.engines import Engine, EngineInput, Localizer, Segmenter
from jobs.locate import image_heatmap
from lamstore.errors import EngineError, InputError, MissingInputError
from lamstore.grid import Grid
from lamstore.store import Store
from lamstore.study import Study
from lamstore.units import NO_SHIFT

LARGEST_BRAIN_MM3 = 2.2e6
"""A head with its background set to zero has four million and more; a brain up to two."""

LEAST_BACKGROUND = 0.25
"""Share of voxels that are exactly zero around a brain that was cut out."""


@dataclass(frozen=True)
class Scan:
    """One timepoint of one subject that waits to be read.

    Attributes
    ----------
    subject, timepoint : str
    source : tuple of (SubjectSources, SubjectCheck), or Store
    """

    subject: str
    timepoint: str
    source: tuple[SubjectSources, SubjectCheck] | Store

    @property
    def reference(self) -> Path | None:
        """The NIfTI file on whose grid the scan lies; None for a study and for DICOM."""
        if isinstance(self.source, Store):
            return None
        reference = self.source[0].reference
        return None if reference.series else reference.path


def one_subject(label: str, images: Mapping[str, Path], brainmask: Path | None) -> SubjectSources:
    """A subject of one timepoint from image files by modality; the first is the reference."""
    sources = {("t0", modality): ImageSource(path) for modality, path in images.items()}
    mask = ImageSource(brainmask) if brainmask else None
    return SubjectSources(label, sources, next(iter(sources.values())), mask)


def scans_of(
    subjects: list[SubjectSources], engine: Engine, *, resample: bool
) -> tuple[list[Scan], list[str]]:
    """What can be predicted on, and what is wrong with the others, from headers alone."""
    found = check_cohort(
        subjects,
        engine.required_modalities,
        # What an engine of outputs computed elsewhere lies beside is any image.
        _wanted(engine) or MODALITIES,
        resample,
        need_brainmask=False,
    )
    by_label = {subject.subject: subject for subject in reversed(subjects)}
    scans = [
        Scan(check.subject, timepoint, (by_label[check.subject], check))
        for check in found.usable
        for timepoint in sorted({t for t, _ in check.available}, key=natural_key)
    ]
    return scans, [problem for check in found.subjects for problem in check.problems]


def scans_in_study(study: Study, subjects: tuple[str, ...]) -> list[Scan]:
    """Scans that a study has taken in; MissingArrayError for a subject that it has not."""
    store = Store(study.store_path)
    return [
        Scan(subject, timepoint, store)
        for subject in subjects or store.labels("subject")
        for timepoint in sorted({t for t, _ in store.available(subject)}, key=natural_key)
    ]


def _wanted(engine: Engine) -> tuple[str, ...]:
    return (*engine.required_modalities, *engine.optional_modalities)


def read_scan(scan: Scan, engine: Engine, *, resample: bool) -> EngineInput:
    """Images, brain mask and grid of one scan.

    Raises
    ------
    InputError
        A file cannot be used; or there is no brain mask, and the reference is not skull-stripped.
    """
    wanted = set(_wanted(engine))
    if isinstance(scan.source, Store):
        return _from_store(scan, scan.source, wanted)
    sources, check = scan.source
    found = iter_arrays(
        sources, check, {scan.timepoint}, wanted, resample=resample, interpolation="bspline"
    )
    images, brain = {}, None
    for array, _, modality, voxels in found:
        if array == "brainmask":
            brain = voxels.astype(bool)
        elif array == "volume" and modality is not None:
            images[modality] = np.ascontiguousarray(voxels, np.float32)
    assert check.grid is not None
    if brain is None:
        brain = _brain(engine, sources, scan, images, check.grid)
    return EngineInput(scan.subject, scan.timepoint, NO_SHIFT, images, brain, check.grid)


def _from_store(scan: Scan, store: Store, wanted: set[str]) -> EngineInput:
    at = {"subject": scan.subject, "timepoint": scan.timepoint}
    has = store.available(scan.subject)
    images = {
        m: np.ascontiguousarray(store.read("volume", **at, modality=m)[0, 0, 0], np.float32)
        for m in store.labels("modality")
        if m in wanted and (scan.timepoint, m) in has
    }
    grid = store.grid(scan.subject)
    brain = np.ones(grid.shape, bool)
    # A study of spines has no such array; a brain whose mask is empty is not taken in.
    if "brainmask" in store:
        mask = store.read("brainmask", subject=scan.subject)[0].astype(bool)
        brain = mask if mask.any() else brain
    return EngineInput(scan.subject, scan.timepoint, NO_SHIFT, images, brain, grid)


def _brain(
    engine: Engine,
    sources: SubjectSources,
    scan: Scan,
    images: Mapping[str, NDArray[np.float32]],
    grid: Grid,
) -> NDArray[np.bool_]:
    """What a skull-stripped image leaves; the whole field of view where no brain is asked for."""
    if isinstance(engine, Localizer) or not _wanted(engine):
        return np.ones(grid.shape, bool)
    modality = next((m for (t, m), s in sources.images.items() if s == sources.reference), None)
    image = images.get(modality or "")
    if image is None and images:
        image = next(iter(images.values()))
    if image is None:
        raise MissingInputError(f"{scan.subject}: there is no brain mask", remedy="--brainmask")
    brain: NDArray[np.bool_] = image != 0
    if not is_skull_stripped(brain, grid):
        raise MissingInputError(
            f"{scan.subject}: there is no brain mask, and the image is not skull-stripped",
            got=f"{np.count_nonzero(brain) * grid.voxel_volume_mm3 / 1e3:.0f} cm³ of voxels other "
            f"than 0, {100 * (1 - brain.mean()):.0f} % of background",
            expected=f"at most {LARGEST_BRAIN_MM3 / 1e3:.0f} cm³ of brain, and zeros around it",
            remedy="--brainmask FILE (from SynthStrip, HD-BET, BET, …)",
        )
    return brain


def is_skull_stripped(nonzero: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether the voxels other than 0 can be a brain that was cut out.

    Parameters
    ----------
    nonzero : (x, y, z) bool ndarray
        False for an image of zeros.
    grid : Grid
    """
    count = int(np.count_nonzero(nonzero))
    background = 1 - count / nonzero.size
    volume_mm3 = count * grid.voxel_volume_mm3
    return 0 < volume_mm3 <= LARGEST_BRAIN_MM3 and background >= LEAST_BACKGROUND


def predicted(
    engine: Engine, inputs: EngineInput, *, members: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and (x, y, z) volumes of what an engine says of one scan.

    Yields ``mask`` and ``probability`` (the mean of the members) of a segmenter, with `members`
    also ``probability_<member>``; ``heatmap_<level>`` of a localizer.
    """
    if isinstance(engine, Localizer):
        heatmaps = image_heatmap(engine.locate(inputs), inputs.grid)
        for level, heatmap in zip(engine.levels, heatmaps, strict=True):
            yield f"heatmap_{level}", heatmap
        return
    if not isinstance(engine, Segmenter):
        raise EngineError(f"Engine '{engine.name}' neither segments nor locates.")
    found = engine.segment(inputs)
    yield "mask", found.mask.astype(np.uint8)
    if engine.members:
        yield "probability", found.probability.mean(axis=0)
        if members:
            for name, one in zip(engine.members, found.probability, strict=True):
                yield f"probability_{name}", one


def write_volume(path: Path, voxels: NDArray[Any], grid: Grid, reference: Path | None) -> None:
    """Write one volume, with the affine and header of `reference` where there is one.

    Raises
    ------
    InputError
        The reference no longer lies on `grid`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asfortranarray(voxels)
    if reference is None:
        image = nib.Nifti1Image(values, grid.matrix)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    else:
        image = _like(reference, values, grid)
    nib.save(image, path)


def _like(reference: Path, values: NDArray[Any], grid: Grid) -> Any:
    source: Any = nib.load(reference)
    if grid.mismatch(Grid.of(source.shape[:3], source.affine)) is not None:
        raise InputError(f"{reference} has changed while it was worked on", remedy="run it again")
    header = source.header.copy()
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    kind: Any = nib.Nifti2Image if isinstance(source, nib.Nifti2Image) else nib.Nifti1Image
    return kind(values, source.affine, header)
