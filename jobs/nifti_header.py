"""What does a NIfTI file say about itself, and can that be trusted?

Read from the first bytes only (about 0.1 ms a file). Strict: whatever cannot be used raises an
error that names the subject and the file.

Understood: NIfTI-1 and NIfTI-2, single files and .hdr/.img pairs, gzipped or not (told by the
first bytes, not the name), either endianness, scl_slope/scl_inter, trailing axes of length 1.

Refused on purpose: a file whose sform and qform codes are both 0. Nobody knows then which side is
left, and the usual guess (pixdim, x flipped) is silently wrong for some of these files.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from jobs.nifti_dtype import DTYPES, datatype_name, stored_dtype
from lamstore.errors import GridError, MissingInputError, UnreadableInputError
from lamstore.grid import Grid

GZIP_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 4096
_HEADER_SIZE = {348: 1, 540: 2}
_GZIP_RATIO = 1100
"""Deflate shrinks by at most 1032; a header that claims more than this cannot be true."""
_MIN_DETERMINANT = 1e-9
_READ_ERRORS = (EOFError, OSError, zlib.error, cast(type[Exception], isal_zlib.error))


@dataclass(frozen=True)
class NiftiHeader:
    """What one file holds.

    Attributes
    ----------
    path : Path
        The file as it was asked for (the .hdr of a pair).
    data_path : Path
        Where the voxels lie: `path` itself, or the .img of a pair.
    grid : Grid
    dtype : np.dtype
        On disk, with its byte order.
    stored_dtype : np.dtype
        Smallest native type that holds every value exactly, after scaling. One of uint8, int8,
        uint16, int16, uint32, int32, float32, float64. 64-bit integers become float64, and
        `read_volume` refuses values beyond 2**53. Scaled values are float64 unless slope and
        intercept prove that a smaller type holds all of them.
    slope, inter : float
        1 and 0 where the file does not scale.
    offset : int
        Bytes before the first voxel in `data_path`, after decompression.
    """

    path: Path
    data_path: Path
    grid: Grid
    dtype: np.dtype[Any]
    stored_dtype: np.dtype[Any]
    slope: float
    inter: float
    offset: int

    @property
    def scaled(self) -> bool:
        """Whether values on disk are scaled to give voxel values."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def nbytes_on_disk(self) -> int:
        """Bytes of all voxels before gzip."""
        x, y, z = self.grid.shape
        return x * y * z * self.dtype.itemsize


def shown(path: Path) -> str:
    """Path as text that can be printed and logged, even where its bytes are no valid UTF-8."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_header(path: Path, subject: str) -> NiftiHeader:
    """Header of one file, from its first bytes.

    Parameters
    ----------
    path : Path
    subject : str
        Named in every error.

    Raises
    ------
    MissingInputError
        No such file.
    UnreadableInputError
        Not a NIfTI file, truncated, or of a type that is not one number a voxel.
    GridError
        Not three axes, an axis of length 0, no orientation, or an affine without inverse.
    """
    where = f"{subject}: {shown(path)}"
    file = _head(path, where)
    header, version, single = _parse(file.first_bytes, where)
    shape = _shape(header, where)
    dtype = _dtype(header, where)
    slope, inter = _scaling(header, where)
    data_path = path if single else _image_of_pair(path, where)
    found = NiftiHeader(
        path=path,
        data_path=data_path,
        grid=Grid.of(shape, _affine(header, where)),
        dtype=dtype,
        stored_dtype=stored_dtype(dtype, slope, inter),
        slope=slope,
        inter=inter,
        offset=_offset(header, version, single, where),
    )
    _check_size(found, file if single else _head(data_path, where), where)
    return found


@contextmanager
def reading(path: Path, where: str) -> Iterator[None]:
    """Turn whatever reading `path` raises into the error that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingInputError(
            f"{where} is missing",
            got=f"no file {shown(path)}",
            expected="a NIfTI file",
            remedy="restore it, or take the subject out of the dataset",
        ) from error
    except _READ_ERRORS as error:
        truncated = isinstance(error, EOFError)
        raise UnreadableInputError(
            f"{where} {'is truncated' if truncated else 'cannot be read'}",
            got=f"{type(error).__name__}: {error}",
            expected="a complete NIfTI file, gzipped or not",
            remedy=f"test it with: gzip -t '{shown(path)}'; then copy or convert it again",
        ) from error


@dataclass(frozen=True)
class _Head:
    first_bytes: bytes
    size: int
    gzipped: bool


def _head(path: Path, where: str) -> _Head:
    """First 540 bytes after decompression, and the size of the file as it is."""
    with reading(path, where), path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        raw = file.read(_HEAD_BYTES)
        if not raw.startswith(GZIP_MAGIC):
            return _Head(raw[:540], size, gzipped=False)
        inflated = bytes(isal_zlib.decompressobj(31).decompress(raw, 540))
        if len(inflated) < 540:
            # Shorter than its own header, or the gzip member starts with a long comment.
            file.seek(0)
            with igzip.open(file) as whole:  # type: ignore[no-untyped-call]
                inflated = bytes(whole.read(540))
        return _Head(inflated, size, gzipped=True)


def _parse(head: bytes, where: str) -> tuple[Any, int, bool]:
    """nibabel's header, NIfTI version, and whether the voxels follow in the same file."""
    for endianness in "<>" if len(head) >= 4 else "":
        (size,) = struct.unpack(f"{endianness}i", head[:4])
        version = _HEADER_SIZE.get(size)
        if version is None or len(head) < size:
            continue
        magic = head[344:347] if version == 1 else head[4:7]
        if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
            continue
        kind = nib.nifti1.Nifti1Header if version == 1 else nib.nifti2.Nifti2Header
        make = cast(Any, kind)
        return make(head[:size], endianness=endianness, check=False), version, magic[1:2] == b"+"
    raise UnreadableInputError(
        f"{where} is not a NIfTI file",
        got=f"{len(head)} bytes, starting {head[:8].hex(' ')}" if head else "an empty file",
        expected="a NIfTI-1 or NIfTI-2 header",
        remedy="convert the image to NIfTI, for instance with dcm2niix",
    )


def _shape(header: Any, where: str) -> tuple[int, int, int]:
    ndim = int(header["dim"][0])
    dims = [int(n) for n in header["dim"][1 : 1 + max(0, ndim)]]
    spatial, rest = dims[:3], dims[3:]
    if not 3 <= ndim <= 7 or any(n != 1 for n in rest):
        raise GridError(
            f"{where} is not one three-dimensional volume",
            got=f"{ndim} axes, shape {tuple(dims)}",
            expected="three axes (further axes of length 1 are accepted)",
            remedy="extract one volume of the series into a file of its own",
        )
    if any(n < 1 for n in spatial):
        raise GridError(
            f"{where} has no voxels",
            got=f"shape {tuple(spatial)}",
            expected="at least one voxel along each axis",
            remedy="convert the image again",
        )
    x, y, z = spatial
    return x, y, z


def _dtype(header: Any, where: str) -> np.dtype[Any]:
    code = int(header["datatype"])
    name = DTYPES.get(code)
    if name is None:
        raise UnreadableInputError(
            f"{where} does not hold one number a voxel",
            got=f"NIfTI datatype {code} ({datatype_name(code)})",
            expected="8- to 64-bit integers, float32 or float64",
            remedy="convert it to a scalar type (one channel, magnitude)",
        )
    return np.dtype(f"{header.endianness}{name}")


def _scaling(header: Any, where: str) -> tuple[float, float]:
    # NIfTI: a slope of 0 (or, by custom, NaN) means that values are as they are on disk.
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise UnreadableInputError(
            f"{where} has a scaling that cannot be applied",
            got=f"scl_slope {slope}, scl_inter {inter}",
            expected="finite numbers, or a slope of 0 for none",
            remedy="convert the image again",
        )
    return slope, inter


def _affine(header: Any, where: str) -> NDArray[np.float64]:
    if not (int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0):
        raise GridError(
            f"{where} does not say how it is oriented",
            got="sform_code 0 and qform_code 0",
            expected="a code above 0: the affine from voxels to world is known",
            remedy="convert it again with dcm2niix, or, where its affine is known to be right: "
            "image.set_sform(affine, code=1) in nibabel, and save",
        )
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError):  # a qform that is no rotation
        affine = np.full((4, 4), np.nan)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    usable = np.isfinite(affine).all() and (spacing > 0).all()
    if not usable or abs(np.linalg.det(affine[:3, :3] / spacing)) < _MIN_DETERMINANT:
        raise GridError(
            f"{where} has an affine without inverse",
            got=f"\n{affine}",
            expected="three independent axes with finite, nonzero spacing",
            remedy="convert the image again",
        )
    return affine


def _offset(header: Any, version: int, single: bool, where: str) -> int:
    first = {1: 352, 2: 544}[version] if single else 0
    offset = float(header["vox_offset"])
    if offset == 0:
        return first
    if not np.isfinite(offset) or offset < first:
        raise UnreadableInputError(
            f"{where} says that its voxels begin inside the header",
            got=f"vox_offset {offset}",
            expected=f"at least {first}",
            remedy="convert the image again",
        )
    return int(offset)


def _image_of_pair(path: Path, where: str) -> Path:
    stem = path.name.removesuffix(".gz").removesuffix(".hdr").removesuffix(".img")
    for name in (f"{stem}.img", f"{stem}.img.gz"):
        if (candidate := path.with_name(name)).is_file():
            return candidate
    raise MissingInputError(
        f"{where} is the header of a pair, and the image is missing",
        got=f"no {stem}.img or {stem}.img.gz beside it",
        expected="both files of the pair",
        remedy="restore it, or save the pair as one .nii.gz",
    )


def _check_size(header: NiftiHeader, file: _Head, where: str) -> None:
    wanted = header.offset + header.nbytes_on_disk
    if wanted > file.size * (_GZIP_RATIO if file.gzipped else 1):
        raise UnreadableInputError(
            f"{where} is truncated",
            got=f"{file.size} bytes{' (gzip)' if file.gzipped else ''}",
            expected=f"{wanted} bytes of header and voxels for shape {header.grid.shape} "
            f"of {header.dtype}",
            remedy="copy or convert the file again",
        )
