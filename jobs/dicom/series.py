"""Is a set of DICOM files one volume, and on which grid?

Only headers are read. Whatever is not one clean stack of slices is refused with its reason;
nothing is guessed, dropped or repaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.dicom.elements import BIG_ENDIAN, IMPLICIT
from jobs.dicom.geometry import along_normal, stack_slices
from jobs.dicom.header import FileHeader, Frame, read_file_header, read_start
from jobs.dicom.storage import Storage
from jobs.nifti_dtype import smallest_dtype
from lamstore.errors import GridError, InputError, UnreadableInputError
from lamstore.grid import Grid

LARGEST_VOLUME = 8 << 30
"""Decoded bytes; a header may claim any size."""
PIXEL_DATA = 0x7FE00010
NATIVE = (IMPLICIT, "1.2.840.10008.1.2.1", BIG_ENDIAN)
"""Transfer syntaxes whose voxels lie in the file as they are."""
_NO_IMAGE = {"SR", "PR", "KO", "DOC", "PLAN", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG"}
_NO_IMAGE |= {"FID", "SEG", "RWV", "AU", "ECG", "HD", "STAIN"}
_SAME_PLACE_MM = 0.01
_THREADS = 4


@dataclass(frozen=True)
class Slice:
    """Where one slice of a volume comes from: file and frame, and how its values are scaled."""

    file: int
    frame: int
    slope: float
    intercept: float


@dataclass(frozen=True)
class SeriesHeader:
    """One volume.

    Attributes
    ----------
    names : tuple of str
        Files, as asked for; `Slice.file` counts them.
    files : tuple of FileHeader
        In the order of `names`.
    slices : tuple of Slice
        In order along the normal.
    grid : Grid
        Axes (column, row, slice).
    stored_dtype : np.dtype
        Smallest type that provably holds every value of every slice exactly.
    """

    names: tuple[str, ...]
    files: tuple[FileHeader, ...]
    slices: tuple[Slice, ...]
    grid: Grid
    stored_dtype: np.dtype[Any]


def read_series_header(
    storage: Storage, names: Sequence[str], where: str, file_label: Callable[[str], str]
) -> SeriesHeader:
    """Headers of a series' files, and the volume that they make.

    Parameters
    ----------
    storage : Storage
    names : sequence of str
        Every file of the series, in any order.
    where : str
        Names the series in errors.
    file_label : callable
        Name of a file in errors, from its name in `storage`.

    Raises
    ------
    InputError
        A file cannot be read, or they are not one volume: see `assemble`.
    """

    labels = [f"{where}: {file_label(name)}" for name in names]
    # Threads wait for the storage; to look into what came, one is as fast and takes no turns.
    with ThreadPoolExecutor(_THREADS) as pool:
        starts = list(pool.map(read_start, repeat(storage), names, labels))
    asked = zip(names, labels, starts, strict=True)
    files = tuple(read_file_header(storage, *one) for one in asked)
    return assemble(tuple(names), files, where)


def assemble(names: tuple[str, ...], files: tuple[FileHeader, ...], where: str) -> SeriesHeader:
    """The volume that files make, from their headers.

    Raises
    ------
    UnreadableInputError
        Not images, without voxels, truncated, colours, a localizer, a table in place of a slope.
    GridError
        Files of several series, sizes or stacks; and as `jobs.dicom.geometry.stack_slices`.
    """
    if not files:
        raise UnreadableInputError(f"{where} has no files", expected="one DICOM file a slice")
    for header in files:
        refuse_no_image(header, where)
    _refuse_mixed(files, where)
    if (size := sum(f.frame_bytes * len(f.frames) for f in files)) > LARGEST_VOLUME:
        raise _unreadable(f"{where} is too large", f"{size:.3g} bytes", f"up to {LARGEST_VOLUME}")
    for header in files:
        _refuse_pixels(header, where)
    frames = [(i, j, f) for i, header in enumerate(files) for j, f in enumerate(header.frames)]
    _refuse_no_place([frame for _, _, frame in frames], where)
    positions = np.array([frame.position for _, _, frame in frames])
    orientations = np.array([frame.orientation for _, _, frame in frames])
    spacings = np.array([frame.spacing_mm for _, _, frame in frames])
    _refuse_several([frame for _, _, frame in frames], files, positions, orientations, where)
    stack = stack_slices(positions, orientations, spacings, where)
    slices = [Slice(i, j, f.slope, f.intercept) for i, j, f in (frames[k] for k in stack.order)]
    shape = (files[0].columns, files[0].rows, len(frames))
    return SeriesHeader(
        names=names,
        files=files,
        slices=tuple(slices),
        grid=Grid.of(shape, stack.affine),
        stored_dtype=np.result_type(*{_slice_dtype(files[s.file], s, where) for s in slices}),
    )


def refuse_no_image(header: FileHeader, where: str) -> None:
    """UnreadableInputError for what is no image of a patient's inside that could be a volume."""
    if header.modality in _NO_IMAGE:
        raise _unreadable(
            f"{where} is not an image", f"modality {header.modality}", "an image series"
        )
    if "LOCALIZER" in header.image_type or "scout" in header.words:
        raise _unreadable(f"{where} is a localizer", "a scout image", "a diagnostic series")
    if "MOSAIC" in header.image_type:
        raise _unreadable(
            f"{where} packs its slices into one mosaic", "image type MOSAIC", "one image a slice"
        )
    if header.pixels is None or not (header.rows and header.columns):
        raise _unreadable(
            f"{where} has no pixel data",
            f"{header.rows} rows, {header.columns} columns, "
            f"{'no pixel data' if header.pixels is None else 'pixel data'}",
            "images",
        )


def _refuse_mixed(files: Sequence[FileHeader], where: str) -> None:
    """Refuse files that do not belong into one volume."""
    alike: dict[str, list[str]] = {
        "series": [f.series_uid for f in files],
        "sizes": [f"{f.columns} × {f.rows}" for f in files],
        "frames of reference": [f.frame_of_reference for f in files],
        "modalities": [f.modality for f in files],
        "photometric interpretations": [f.photometric for f in files],
    }
    for what, values in alike.items():
        if len(kinds := Counter(values)) > 1:
            counts = ", ".join(f"{kind} ({n})" for kind, n in kinds.items())
            raise GridError(
                f"{where} holds files of several {what}",
                got=counts if what == "sizes" else f"{len(kinds)} among {len(files)} files",
                expected=f"one of the {what}",
                remedy="put each into a folder of its own, or export the series again",
            )


def _refuse_pixels(header: FileHeader, where: str) -> None:
    place = header.pixels
    assert place is not None
    wrong = {
        "is in colour": header.samples != 1 and f"{header.samples} samples a pixel",
        "is no plain grey image": header.photometric not in ("MONOCHROME1", "MONOCHROME2")
        and "another photometric interpretation",
        "has values that are not whole numbers": place.tag != PIXEL_DATA and "float pixel data",
        "maps values through a table": header.has_lut and "a modality lookup table",
        "has an unusual number of bits": (
            header.bits_allocated not in (8, 16, 32)
            or not 1 <= header.bits_stored <= header.bits_allocated
            or header.high_bit != header.bits_stored - 1
        )
        and f"{header.bits_allocated} allocated, {header.bits_stored} stored, "
        f"high bit {header.high_bit}",
    }
    for what, got in wrong.items():
        if got:
            raise _unreadable(f"{where} {what}", str(got), "grey images of 8, 16 or 32 bits")
    expected = header.frame_bytes * len(header.frames)
    there = max(0, header.file_size - place.offset)
    native = header.transfer_syntax in NATIVE
    if native and place.length is not None and place.length < expected:
        raise _truncated(where, f"{place.length} bytes of voxels", f"{expected} bytes")
    if there < (expected if native else place.length or 1):
        raise _truncated(where, f"{there} bytes of voxels", f"{place.length or expected} bytes")


def _refuse_no_place(frames: Sequence[Frame], where: str) -> None:
    parts = {
        "position (ImagePositionPatient)": [len(f.position) == 3 for f in frames],
        "orientation (ImageOrientationPatient)": [len(f.orientation) == 6 for f in frames],
        "pixel spacing (PixelSpacing)": [len(f.spacing_mm) == 2 for f in frames],
    }
    for what, there in parts.items():
        if not all(there):
            raise GridError(
                f"{where} does not say where its slices lie",
                got=f"{there.count(False)} of {len(frames)} slices without {what}",
                expected="position, orientation and spacing of every slice",
                remedy="it is a secondary capture or was stripped: export the original series",
            )


def _refuse_several(
    frames: Sequence[Frame],
    files: Sequence[FileHeader],
    positions: NDArray[np.float64],
    orientations: NDArray[np.float64],
    where: str,
) -> None:
    """Refuse several stacks, echoes or acquisitions at the same places, by name."""
    uids = Counter(header.sop_uid for header in files)
    if copies := sum(n - 1 for uid, n in uids.items() if uid and n > 1):
        raise GridError(
            f"{where} has duplicate slices",
            got=f"{copies} files are copies of others (the same SOPInstanceUID)",
            expected="each slice once",
            remedy="remove the copies",
        )
    order = np.argsort(along_normal(positions, orientations[0]))
    gaps = np.diff(along_normal(positions, orientations[0])[order])
    several = len(positions) > 1 and bool((gaps < _SAME_PLACE_MM).any())
    named = [dict(frame.belongs) for frame in frames]
    kinds = {name: len({one.get(name, "") for one in named}) for name in named[0]}
    apart = [f"{n} {name}s" for name, n in kinds.items() if n > 1]
    if apart and (several or kinds.get("stack", 1) > 1):
        raise GridError(
            f"{where} holds several volumes",
            got=", ".join(apart),
            expected="one volume: one stack, echo and acquisition",
            remedy="split it into one series each, for instance with dcm2niix or by echo time",
        )


def _slice_dtype(header: FileHeader, one: Slice, where: str) -> np.dtype[Any]:
    bits = header.bits_stored
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if header.signed else (0, (1 << bits) - 1)
    if not (np.isfinite(one.slope) and np.isfinite(one.intercept)) or one.slope == 0:
        raise _unreadable(
            f"{where} has a rescaling that cannot be applied",
            f"slope {one.slope:g}, intercept {one.intercept:g}",
            "finite numbers, and a slope other than 0",
        )
    return smallest_dtype(low, high, one.slope, one.intercept)


def _unreadable(what: str, got: str, expected: str) -> InputError:
    remedy = "choose another series of the study, or leave the study out"
    return UnreadableInputError(what, got=got, expected=expected, remedy=remedy)


def _truncated(where: str, got: str, expected: str) -> InputError:
    return UnreadableInputError(
        f"{where} has a truncated file", got=got, expected=expected, remedy="copy the series again"
    )
