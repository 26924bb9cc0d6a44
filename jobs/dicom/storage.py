"""Where do the bytes of DICOM files come from? A folder, or a ZIP archive that is never extracted.

A ZIP may be hostile. Its names are keys and nothing else: no path is ever made of them, so ``../``
and absolute names reach nothing. Entries that claim to grow more than deflate can, links, other
compressions and encrypted entries are refused; no entry gives more bytes than its limit.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

from lamstore.errors import ConfigError, MissingInputError, UnreadableInputError

LARGEST_FILE = 2 << 30
"""Bytes of one file; an enhanced multi-frame series stays far below."""
MOST_ENTRIES = 1_000_000
LARGEST_RATIO = 1040
"""Deflate shrinks by at most 1032."""
SUSPICIOUS_RATIO, SUSPICIOUS_BYTES = 100, 64 << 20
"""An image larger than this does not shrink so much: its noise does not compress."""


class Storage(Protocol):
    """Named files of one series, study or heap."""

    def names(self) -> Iterator[str]:
        """Every regular file, by its name relative to the root."""

    def size(self, name: str) -> int:
        """Bytes."""

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes; fewer where the file is shorter."""


class Folder:
    """Files under a folder. Links to folders are not followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        for folder, subfolders, files in os.walk(self.root):
            subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
            inside = os.path.relpath(folder, self.root)
            for name in sorted(f for f in files if not f.startswith(".")):
                yield name if inside == "." else f"{inside}/{name}"

    def size(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def head(self, name: str, count: int) -> bytes:
        with (self.root / name).open("rb", buffering=0) as file:
            return _filled(file, count)


def _filled(file: IO[bytes], count: int) -> bytes:
    """Up to `count` bytes: one unbuffered read stops short of large amounts."""
    first = file.read(count)
    parts, got = [first], len(first)
    while got < count and parts[-1]:
        parts.append(file.read(count - got))
        got += len(parts[-1])
    return b"".join(parts) if len(parts) > 1 else first


class Archive:
    """Entries of a ZIP file, read in place.

    Raises
    ------
    ConfigError
        Not a ZIP file, or one with more entries than a cohort has.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise ConfigError(
                "dataset.root is a file, and no ZIP archive that can be read",
                got=type(error).__name__,
                expected="a folder, or a complete ZIP file",
                remedy="test it with: unzip -t FILE",
            ) from None
        entries = self._zip.infolist()
        if len(entries) > MOST_ENTRIES:
            raise ConfigError(
                "the ZIP archive has more entries than are looked at",
                got=str(len(entries)),
                expected=f"at most {MOST_ENTRIES}",
                remedy="unpack it, and give the folder",
            )
        # Of entries with one name only the last could be read; none of them is trusted.
        counts = Counter(entry.filename for entry in entries)
        self._twice = {name for name, count in counts.items() if count > 1}
        self._entries = {e.filename: e for e in entries if not e.is_dir()}

    def names(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def size(self, name: str) -> int:
        return self._entry(name).file_size

    def head(self, name: str, count: int) -> bytes:
        entry = self._entry(name)
        try:
            with self._zip.open(entry) as file:
                return _filled(file, min(count, entry.file_size))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise _entry_error("is damaged", type(error).__name__) from None

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._entries.get(name)
        if entry is None:
            raise MissingInputError("an entry of the ZIP archive is missing")
        if problem := _entry_problem(entry, name in self._twice):
            raise _entry_error(*problem)
        return entry


def _entry_problem(entry: zipfile.ZipInfo, twice: bool) -> tuple[str, str] | None:
    """What is wrong with an entry, and what was found; None for nothing."""
    ratio = entry.file_size / max(1, entry.compress_size)
    suspicious = entry.file_size > SUSPICIOUS_BYTES and ratio > SUSPICIOUS_RATIO
    found = {
        "comes twice under one name": twice and "two entries",
        "is encrypted": entry.flag_bits & 1 and "the flag of encryption",
        "is a link": stat.S_ISLNK(entry.external_attr >> 16) and "a symbolic link",
        "is compressed in a way that is not read": entry.compress_type
        not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        and f"ZIP method {entry.compress_type}",
        "is too large": entry.file_size > LARGEST_FILE and f"{entry.file_size} bytes",
        "claims to grow more than an image does (a ZIP bomb)": (ratio > LARGEST_RATIO or suspicious)
        and f"{entry.file_size} bytes from {entry.compress_size}",
    }
    return next(((what, str(got)) for what, got in found.items() if got), None)


def _entry_error(what: str, got: str) -> UnreadableInputError:
    return UnreadableInputError(
        f"an entry of the ZIP archive {what}",
        got=got,
        expected="a stored or deflated file, no link, without password",
        remedy="pack the files again with: zip -r cohort.zip FOLDER",
    )


def storage_at(root: Path) -> Storage:
    """What a path holds: a folder's files or an archive's entries."""
    if not root.is_file():
        return Folder(root)
    found = root.stat()
    return _archive(root, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4)
def _archive(root: Path, _size: int, _changed: int) -> Archive:
    # A worker reads many series of one archive: its directory is parsed once.
    return Archive(root)


def forget_archives() -> None:
    """Close the archives that `storage_at` keeps open: until then their bytes stay on disk."""
    _archive.cache_clear()
