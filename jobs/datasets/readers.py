"""Who reads a source? A NIfTI file or a DICOM series: a grid and a type from headers, then voxels.

Both are opened alike, so that checking and ingesting know of neither format.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.model import ImageSource, SeriesFiles
from jobs.nifti import NiftiHeader, read_header, read_volume
from lamstore.errors import MissingInputError
from lamstore.grid import Grid

if TYPE_CHECKING:
    from jobs.dicom.series import SeriesHeader
    from jobs.dicom.storage import Storage

_PUBLIC_NAME = re.compile(r"[0-9]{1,12}\.dcm", re.IGNORECASE)


class OpenedImage(Protocol):
    """An image whose headers have been read."""

    @property
    def grid(self) -> Grid:
        """Its grid."""

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Smallest native type that holds every value exactly."""

    def voxels(self) -> NDArray[Any]:
        """(x, y, z) ndarray of `stored_dtype`, Fortran order; InputError when it cannot be read."""


def open_image(source: ImageSource, subject: str) -> OpenedImage:
    """Read the headers of a source.

    Raises
    ------
    InputError
        Missing, damaged, or not one volume; names the subject.
    """
    if source.series is None:
        return _Nifti(read_header(source.path, subject), subject)
    return _open_series(source.path, source.series, subject)


def stamps(source: ImageSource, root: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Name relative to `root`, and state, of every file; nothing is opened.

    Raises
    ------
    OSError, MissingInputError
        A file is not there.
    """
    here, series = os.fsencode(os.path.relpath(source.path, root)), source.series
    if series is None:
        yield here, source.path.stat()
    elif source.path.is_file():
        yield here + "\n".join(series.members).encode(), source.path.stat()
    else:
        for member, name in zip(series.members, _names(source.path, series), strict=True):
            yield here + b"/" + os.fsencode(member), (source.path / name).stat()


@dataclass(frozen=True)
class _Nifti:
    header: NiftiHeader
    subject: str

    @property
    def grid(self) -> Grid:
        return self.header.grid

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        return self.header.stored_dtype

    def voxels(self) -> NDArray[Any]:
        return read_volume(self.header.path, self.header, self.subject)


@dataclass(frozen=True)
class _Dicom:
    header: SeriesHeader
    storage: Storage
    where: str

    @property
    def grid(self) -> Grid:
        return self.header.grid

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        return self.header.stored_dtype

    def voxels(self) -> NDArray[Any]:
        from jobs.dicom.pixels import read_voxels

        return read_voxels(self.storage, self.header, self.where)


def _open_series(root: Path, series: SeriesFiles, subject: str) -> _Dicom:
    # pydicom takes a while to import, and only DICOM needs it.
    from jobs.dicom.series import read_series_header
    from jobs.dicom.storage import storage_at

    where = f"{subject}: {series.label}"
    names = _names(root, series)
    labels = dict(zip(names, series.members, strict=True))
    if not root.exists():
        raise MissingInputError(
            f"{where} is missing",
            expected="the folder or archive that it was found in",
            remedy="restore it, or take the study out of the dataset",
        )
    storage = storage_at(root)
    header = read_series_header(storage, names, where, lambda name: _file_label(labels[name]))
    return _Dicom(header, storage, where)


def _names(root: Path, series: SeriesFiles) -> list[str]:
    if series.key_file is None:
        return list(series.members)
    from jobs.dicom.hidden import found_names

    return found_names(root, series.members, series.key_file)


def _file_label(member: str) -> str:
    """Name of a file in messages: an instance number, or a digest: paths may name people."""
    last = member.rpartition("/")[2]
    if _PUBLIC_NAME.fullmatch(last):
        return f"file {last}"
    return f"file #{hashlib.blake2b(os.fsencode(member), digest_size=4).hexdigest()}"
