"""How do the voxels of a series come out of its files?

Voxels that lie in a file as they are go from its bytes straight into the volume, with no second
look at the header; compressed ones through the decoders of pydicom and GDCM. Files are read in
threads. One copy of the volume is alive, and the files in hand.
"""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from jobs.dicom.elements import BIG_ENDIAN, no_library_text
from jobs.dicom.header import FileHeader
from jobs.dicom.series import NATIVE, SeriesHeader, Slice
from jobs.dicom.storage import LARGEST_FILE, Storage
from lamstore.errors import UnreadableInputError, VoxelError

_THREADS = 4
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
_OPEN_ENDED = 0xFFFFFFFF


def read_voxels(storage: Storage, series: SeriesHeader, where: str) -> NDArray[Any]:
    """Voxels of a series.

    Parameters
    ----------
    storage : Storage
    series : SeriesHeader
        Of these files, from `jobs.dicom.series.read_series_header`.
    where : str
        Names the series in errors.

    Returns
    -------
    (column, row, slice) ndarray of `series.stored_dtype`, Fortran order
        Rescaled by each slice's own RescaleSlope and RescaleIntercept. MONOCHROME1 (the smallest
        value is white) is inverted before that: v becomes lowest + highest − v of all values that
        its BitsStored can hold, so every slice and every series alike, and twice gives v again.

    Raises
    ------
    MissingInputError, UnreadableInputError
        A file vanished, is truncated or cannot be decoded.
    VoxelError
        Every voxel has one value.
    """
    refuse_undecodable(series.files, where)
    columns, rows, count = series.grid.shape
    volume = np.empty((count, rows, columns), dtype=series.stored_dtype)
    by_file: dict[int, list[tuple[int, Slice]]] = {}
    for z, one in enumerate(series.slices):
        by_file.setdefault(one.file, []).append((z, one))

    def fill(file: int) -> None:
        header = series.files[file]
        found = _frames(storage, series.names[file], header, f"{where}, one of its files")
        for z, one in by_file[file]:
            _scale_into(volume[z], found[one.frame], header, one)

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(fill, by_file):
            pass
    if not any((plane != volume[0, 0, 0]).any() for plane in volume):
        raise VoxelError(
            f"{where} is blank",
            got=f"every voxel is {volume.flat[0]}",
            expected="an image",
            remedy="choose another series of the study, or leave the study out",
        )
    return volume.transpose(2, 1, 0)


def refuse_undecodable(files: tuple[FileHeader, ...], where: str) -> None:
    """UnreadableInputError for a transfer syntax that no decoder here reads."""
    for syntax in {header.transfer_syntax for header in files} - set(NATIVE):
        if not _decodable(syntax):
            raise UnreadableInputError(
                f"{where} is compressed in a way that is not read",
                got=f"transfer syntax {syntax}",
                expected="uncompressed, RLE, JPEG, JPEG lossless, JPEG-LS or JPEG 2000",
                remedy="convert it: gdcmconv --raw IN OUT",
            )


@lru_cache(maxsize=64)
def _decodable(syntax: str) -> bool:
    try:
        return bool(get_decoder(UID(syntax)).is_available)
    except NotImplementedError:
        return False


def _frames(storage: Storage, name: str, header: FileHeader, where: str) -> NDArray[Any]:
    """(frame, row, column) stored values of one file."""
    place = header.pixels
    assert place is not None
    shape = (len(header.frames), header.rows, header.columns)
    size = header.frame_bytes * len(header.frames)
    native = header.transfer_syntax in NATIVE
    with no_library_text(where):
        data = storage.head(name, place.offset + size if native else LARGEST_FILE)
        if len(data) < place.offset + (size if native else 0):
            raise UnreadableInputError(
                f"{where} is truncated",
                got=f"{max(0, len(data) - place.offset)} bytes of voxels",
                expected=f"{size}",
                remedy="copy the series again",
            )
        order = ">" if header.transfer_syntax == BIG_ENDIAN else "<"
        if native and not (order == ">" and header.bits_allocated == 8):
            dtype = np.dtype(f"{order}{'i' if header.signed else 'u'}{header.bits_allocated // 8}")
            return np.frombuffer(data, dtype, size // dtype.itemsize, place.offset).reshape(shape)
        pixels = memoryview(data)[place.offset :]
        if not native:
            _refuse_open_end(pixels, where)
        return _decoded(bytes(pixels), header).reshape(shape)


def _decoded(pixels: bytes, header: FileHeader) -> NDArray[Any]:
    options: dict[str, Any] = {
        "transfer_syntax_uid": UID(header.transfer_syntax),
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": 1,
        "number_of_frames": len(header.frames),
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "pixel_representation": int(header.signed),
        "photometric_interpretation": header.photometric,
        "pixel_keyword": "PixelData",
        "pixel_vr": header.pixels.vr if header.pixels else "OW",
        "allow_excess_frames": False,
    }
    values, _ = get_decoder(UID(header.transfer_syntax)).as_array(pixels, raw=True, **options)
    decoded: NDArray[Any] = values
    return decoded


def _refuse_open_end(pixels: memoryview, where: str) -> None:
    """Refuse compressed voxels whose last item is not there: some decoders fill in the rest."""
    at, size = 0, len(pixels)
    while at + 8 <= size:
        group, element, length = struct.unpack("<HHI", pixels[at : at + 8])
        tag = group << 16 | element
        if tag == _END:
            return
        if tag != _ITEM or length == _OPEN_ENDED:
            break
        at += 8 + length
    raise UnreadableInputError(
        f"{where} is truncated",
        got=f"{size} bytes of compressed voxels, without their end",
        expected="the item that ends them",
        remedy="copy the series again",
    )


def _scale_into(target: NDArray[Any], stored: NDArray[Any], header: FileHeader, one: Slice) -> None:
    values = _used_bits(stored, header)
    if header.photometric == "MONOCHROME1":
        # lowest + highest: 0 + (2^bits - 1), or -2^(bits-1) + (2^(bits-1) - 1) = -1.
        values = (-1 - values) if header.signed else ((1 << header.bits_stored) - 1) - values
    if (one.slope, one.intercept) != (1.0, 0.0):
        values = values.astype(np.float64)
        values *= one.slope
        values += one.intercept
    target[...] = values


def _used_bits(stored: NDArray[Any], header: FileHeader) -> NDArray[Any]:
    """Values of the stored bits only: the others may hold anything (overlays, once)."""
    spare = header.bits_allocated - header.bits_stored
    if spare == 0:
        return stored
    if not header.signed:
        return stored & ((1 << header.bits_stored) - 1)
    return (stored << spare) >> spare
