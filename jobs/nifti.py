"""How do the voxels of a NIfTI file get here fastest, and can they be used?

The bytes are inflated once (ISA-L, two to three times as fast as zlib), straight into the array
that is returned, and looked at once for values that would spoil every later number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from jobs.nifti_header import GZIP_MAGIC, NiftiHeader, read_header, reading, shown
from lamstore.errors import UnreadableInputError, VoxelError

__all__ = ["NiftiHeader", "read_header", "read_volume", "shown"]

_LARGEST_EXACT = 2**53
"""Above this, float64 skips integers."""
_CHUNK_BYTES = 1 << 19


def read_volume(path: Path, header: NiftiHeader, subject: str) -> NDArray[Any]:
    """Voxels of one file.

    Parameters
    ----------
    path : Path
    header : NiftiHeader
        Of this file, from `read_header`.
    subject : str
        Named in every error.

    Returns
    -------
    (x, y, z) ndarray of `header.stored_dtype`
        Native byte order, writeable, **Fortran order** (x fastest, as on disk): the inflated
        bytes themselves, never copied unless they are scaled or change type.

    Raises
    ------
    MissingInputError, UnreadableInputError
        The file vanished, is truncated or damaged.
    VoxelError
        NaN, infinity, or a 64-bit integer beyond 2**53.
    """
    where = f"{subject}: {shown(path)}"
    buffer = np.empty(header.nbytes_on_disk, dtype=np.uint8)
    with reading(header.data_path, where):
        got = _inflate(header, buffer)
    if got < buffer.size:
        raise UnreadableInputError(
            f"{where} is truncated",
            got=f"{got} bytes of voxels",
            expected=f"{buffer.size} for shape {header.grid.shape} of {header.dtype}",
            remedy="copy or convert the file again",
        )
    flat = buffer.view(header.dtype)
    if not header.dtype.isnative:
        flat = flat.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    return _checked_values(flat, header, where).reshape(header.grid.shape, order="F")


def _inflate(header: NiftiHeader, buffer: NDArray[np.uint8]) -> int:
    """Fill `buffer` with the voxels on disk; how many bytes there were."""
    with header.data_path.open("rb", buffering=0) as file:
        gzipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not gzipped:
            file.seek(header.offset)
            return _fill(file, buffer)
        with igzip.open(file) as stream:  # type: ignore[no-untyped-call]
            stream.read(header.offset)
            got = _fill(stream, buffer)
            # The checksum is compared only when the end is reached.
            while stream.read(_CHUNK_BYTES):
                pass
            return got


def _fill(stream: Any, buffer: NDArray[np.uint8]) -> int:
    view, got = buffer.data, 0
    while got < len(view):
        # A gzip stream goes through a bytes object as long as what it is asked for.
        count = stream.readinto(view[got : got + _CHUNK_BYTES])
        if not count:
            break
        got += count
    return got


def _checked_values(flat: NDArray[Any], header: NiftiHeader, where: str) -> NDArray[Any]:
    if flat.dtype.kind in "iu" and flat.dtype.itemsize == 8:
        _refuse(max(int(flat.max()), -int(flat.min())) > _LARGEST_EXACT, flat, where)
    if header.scaled:
        flat = flat.astype(np.float64)
        flat *= header.slope
        flat += header.inter
    if flat.dtype.kind == "f":
        # min and max carry NaN and infinity through, with no array of flags.
        _refuse(not (np.isfinite(flat.min()) and np.isfinite(flat.max())), flat, where)
    return flat.astype(header.stored_dtype, copy=False)


def _refuse(bad: bool, flat: NDArray[Any], where: str) -> None:
    if not bad:
        return
    if flat.dtype.kind != "f":
        got = f"values from {flat.min()} to {flat.max()}"
        raise VoxelError(
            f"{where} has values that float64 cannot hold",
            got=got,
            expected="64-bit integers within ±2**53",
            remedy="save the image as int32 or float64",
        )
    nan, inf = int(np.isnan(flat).sum()), int(np.isinf(flat).sum())
    raise VoxelError(
        f"{where} has voxels that are not numbers",
        got=f"{nan} NaN and {inf} infinite of {flat.size}",
        expected="finite values everywhere",
        remedy="set them to 0 where they lie outside the body, or convert the image again",
    )
