"""How do files come from a stream to disk? Length, bytes, length, bytes; under numbers of our own.

The page sends of every file its length, eight bytes, big endian, and then its bytes. A name is
never sent, so none can be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from jobs.dropped import REMEDY, Limits
from lamstore.errors import InputError, UnreadableInputError

_HEAD = 8


class Parcels:
    """Files in the making, in a folder of their own.

    Parameters
    ----------
    folder : Path
        Empty.
    limits : Limits
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._head = b""
        self._file: IO[bytes] | None = None
        self._missing = self._count = self._bytes = 0

    def take(self, chunk: bytes) -> None:
        """Take what came next.

        Raises
        ------
        UnreadableInputError
            More bytes or files than the limits.
        """
        rest = memoryview(chunk)
        self._bytes += len(rest)
        if self._bytes > self._limits.most_bytes + _HEAD * self._limits.most_files:
            raise too_large(self._limits)
        while rest:
            rest = self._begin(rest) if self._file is None else self._fill(self._file, rest)

    def _begin(self, rest: memoryview) -> memoryview:
        missing = _HEAD - len(self._head)
        self._head += bytes(rest[:missing])
        if len(self._head) == _HEAD:
            self._missing = int.from_bytes(self._head, "big")
            self._head = b""
            self._count += 1
            if self._count > self._limits.most_files:
                raise UnreadableInputError(
                    "these are too many files",
                    expected=f"at most {self._limits.most_files}",
                    remedy=REMEDY,
                )
            self._file = (self._folder / f"{self._count}.dcm").open("wb")
            self._end_if_whole()
        return rest[missing:]

    def _fill(self, file: IO[bytes], rest: memoryview) -> memoryview:
        part = rest[: self._missing]
        file.write(part)
        self._missing -= len(part)
        self._end_if_whole()
        return rest[len(part) :]

    def _end_if_whole(self) -> None:
        if self._missing == 0:
            self.close()

    def close(self) -> None:
        """Close the file at hand."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> None:
        """Say that nothing more comes.

        Raises
        ------
        InputError
            In the middle of a file.
        """
        whole = self._file is None and not self._head
        self.close()
        if not whole:
            raise InputError(
                "the files did not arrive whole",
                got="the end of the transfer within a file",
                remedy="drop the study again",
            )


def too_large(limits: Limits) -> UnreadableInputError:
    """The error for more bytes than are taken."""
    return UnreadableInputError(
        "these are too many bytes",
        expected=f"at most {limits.most_bytes >> 20} MB",
        remedy="drop just the sagittal T2 series, or restart with a larger --max-mb",
    )
