"""May one look into what somebody dropped? The place of its files, or why it is refused.

What comes from outside may be made to hurt. A ZIP is read in place and never extracted
(`jobs.dicom.storage`); before even its directory is parsed, its entries are counted, and before any
entry is read, what they claim to hold is summed. Nothing here quotes a name: names may be a
person's, or anything else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lamstore.errors import InputError, UnreadableInputError

GROWTH = 4
"""A ZIP may hold this many times the bytes that may be sent: slices shrink to a half at best."""
_ENTRY = b"PK\x01\x02"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_CHUNK = 1 << 20
REMEDY = "drop one ZIP of the study, or the study's .dcm files themselves"


@dataclass(frozen=True)
class Limits:
    """What is looked at, at most.

    Attributes
    ----------
    most_bytes : int
        Of what is sent; a ZIP may hold `GROWTH` times as many.
    most_files : int
        Also of the entries of a ZIP.
    most_voxels : int
        Of the series that is chosen; a compressed file may claim any size.
    """

    most_bytes: int = 1000 << 20
    most_files: int = 20_000
    most_voxels: int = 1 << 27


def dropped_root(folder: Path, limits: Limits) -> Path:
    """What to read: the ZIP archive where the folder holds one and nothing else, else the folder.

    Parameters
    ----------
    folder : Path
        Of the files, under names that whoever wrote them has chosen.
    limits : Limits

    Raises
    ------
    InputError
        No file; archives beside other files.
    UnreadableInputError
        An archive that is damaged, or holds more than the limits.
    """
    files = sorted(folder.iterdir())
    if not files:
        raise InputError("nothing was dropped", expected="one DICOM study", remedy=REMEDY)
    zips = sum(map(_is_zip, files))
    if zips and len(files) > 1:
        raise InputError(
            "ZIP archives were dropped together with other files",
            got=f"{zips} archives among {len(files)} files",
            expected="one archive, or no archive",
            remedy=REMEDY,
        )
    if not zips:
        return folder
    _refuse_archive(files[0], limits)
    return files[0]


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _ZIP


def _refuse_archive(path: Path, limits: Limits) -> None:
    # Each entry of the directory begins so: at least as many as there are entries.
    entries = sum(chunk.count(_ENTRY) for chunk in _chunks(path))
    if entries > limits.most_files:
        raise _too_much("entries", entries, limits.most_files)
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        raise UnreadableInputError(
            "the ZIP archive cannot be read",
            got="no whole directory of its entries: it is truncated or damaged",
            expected="a complete ZIP file",
            remedy="pack or copy it again; unzip -t FILE tests it",
        ) from None
    if claimed > GROWTH * limits.most_bytes:
        raise _too_much("MB", claimed >> 20, GROWTH * limits.most_bytes >> 20)


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, each chunk with the last three of the one before."""
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield tail + chunk
            tail = chunk[-3:]


def _too_much(unit: str, got: int, most: int) -> UnreadableInputError:
    return UnreadableInputError(
        "the ZIP archive holds more than is looked at",
        got=f"{got} {unit}",
        expected=f"at most {most} {unit}",
        remedy="pack only the series of the spine, or raise --max-mb",
    )
