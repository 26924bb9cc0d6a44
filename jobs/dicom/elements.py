"""Which bytes stand under a tag of a DICOM file, without reading the others?

pydicom finds the elements; values are taken from their raw bytes here. So tags that are not asked
for, names and dates among them, are skipped and never decoded, and no message of the library, which
may quote a value, is ever shown: whatever it raises becomes an error without text.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.filereader import data_element_generator

from lamstore.errors import InputError, MissingInputError, UnreadableInputError

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_PREAMBLE = 128
_PIXEL_GROUP = 0x7FE0
_META_TRANSFER_SYNTAX = 0x00020010
_UNDEFINED = 0xFFFFFFFF
_UID = re.compile(r"[0-9][0-9.]{0,63}")

# The library's warnings quote values of tags.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\b")


@dataclass(frozen=True, slots=True)
class PixelPlace:
    """Where the voxels of a file lie.

    Attributes
    ----------
    tag : int
    offset : int
        Bytes from the start of the file to the value.
    length : int or None
        Bytes; None where it is not said (encapsulated).
    vr : str
        ``OB`` or ``OW``: whether bytes are swapped in pairs where the file is big endian.
    """

    tag: int
    offset: int
    length: int | None
    vr: str


class Elements:
    """Raw values of some tags; of the file itself or of one item of a sequence."""

    def __init__(self, raw: dict[int, Any]) -> None:
        self._raw = raw

    def __contains__(self, tag: int) -> bool:
        return bool(tag in self._raw and self._raw[tag].value)

    def text(self, tag: int) -> str:
        """Text without padding; empty where there is none."""
        value = self._raw[tag].value if tag in self._raw else None
        if not isinstance(value, bytes):
            return "" if value is None else str(value)
        return value.decode("ascii", "replace").strip(" \0")

    def texts(self, tag: int) -> tuple[str, ...]:
        """Every value of a tag with several."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Decimal strings (DS, IS) as floats; ValueError for what is no number."""
        return tuple(float(part) for part in self.texts(tag))

    def number(self, tag: int) -> float | None:
        """The first of `numbers`."""
        found = self.numbers(tag)
        return found[0] if found else None

    def double(self, tag: int) -> float | None:
        """A binary FD value."""
        raw = self._raw.get(tag)
        if raw is None or not raw.value:
            return None
        order = "<" if raw.is_little_endian else ">"
        value: float = struct.unpack(f"{order}d", raw.value[:8])[0]
        return value

    def integer(self, tag: int) -> int | None:
        """A binary US or UL value."""
        raw = self._raw.get(tag)
        if raw is None or not raw.value:
            return None
        return int.from_bytes(raw.value[:4], "little" if raw.is_little_endian else "big")

    def items(self, tag: int) -> list[Elements]:
        """Items of a sequence."""
        element = self._raw.get(tag)
        if element is None or not element.value:
            return []
        value = element.value if not isinstance(element.value, bytes) else _sequence(element)
        return [Elements({int(t): item.get_item(t) for t in item.keys()}) for item in value]  # noqa: SIM118


def _sequence(element: Any) -> Any:
    from pydicom.filereader import read_sequence

    return read_sequence(
        io.BytesIO(element.value),
        element.is_implicit_VR,
        element.is_little_endian,
        len(element.value),
        "iso8859",
    )


@contextmanager
def no_library_text(where: str, expected: str = "a complete DICOM file") -> Iterator[None]:
    """Turn whatever reading hostile bytes raises into an error that quotes none of them."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise MissingInputError(
            f"{where} is missing", expected=expected, remedy="restore it, or leave the study out"
        ) from None
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableInputError(
            f"{where} cannot be read",
            got=reason or type(error).__name__,
            expected=expected,
            remedy="export it again from the archive, or leave the study out",
        ) from None


def read_elements(
    head: bytes,
    wanted: Collection[int],
    where: str,
    stop_after: int | None = None,
) -> tuple[Elements, str, PixelPlace | None, bool]:
    """Wanted elements of a file, up to its voxels.

    Parameters
    ----------
    head : bytes
        The file, or as much of its start as was read.
    wanted : collection of int
        Tags of the main data set.
    where : str
        Names the file in errors.
    stop_after : int, optional
        Tag after which nothing is wanted.

    Returns
    -------
    elements : Elements
    transfer_syntax : str
    place : PixelPlace or None
        None where `head` ends before any voxels.
    whole : bool
        Whether reading stopped at a tag, not at the end of `head`.

    Raises
    ------
    UnreadableInputError
        Not DICOM, or damaged.
    """
    if head[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise UnreadableInputError(
            f"{where} is not a DICOM file",
            got=f"{len(head)} bytes without the mark DICM at byte 128" if head else "an empty file",
            expected="a DICOM file with its preamble",
            remedy="take it out of the series' folder, or export it again",
        )
    with no_library_text(where):
        file = io.BytesIO(head)
        file.seek(_PREAMBLE + 4)
        meta = _generate(
            file, "<explicit>", (_META_TRANSFER_SYNTAX,), lambda t, _v, _n: t >> 16 > 2
        )
        syntax = Elements(meta).text(_META_TRANSFER_SYNTAX)
        _refuse_syntax(syntax, where)
        last = stop_after if stop_after is not None else (_PIXEL_GROUP << 16) - 1
        found = _generate(file, syntax, wanted, lambda t, _v, _n: int(t) > last)
        place = _pixel_place(file, syntax)
        whole = file.tell() < len(head)
    return Elements(found), syntax, place, whole


def _generate(
    file: io.BytesIO, syntax: str, wanted: Collection[int], stop: Callable[[int, Any, int], bool]
) -> dict[int, Any]:
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    raw = data_element_generator(file, implicit, little, stop, None, "iso8859", list(wanted))
    return {int(element.tag): element for element in raw}


def _refuse_syntax(syntax: str, where: str) -> None:
    if not _UID.fullmatch(syntax):
        raise UnreadableInputError(
            f"{where} does not say how it is encoded",
            got="no valid transfer syntax in its meta header",
            expected="a complete DICOM file",
            remedy="export it again from the archive",
        )
    if syntax == DEFLATED:
        raise UnreadableInputError(
            f"{where} is deflated as a whole",
            got=f"transfer syntax {DEFLATED}, whose size is not known before it is inflated",
            expected="a transfer syntax that leaves the header readable",
            remedy="convert it: gdcmconv --raw IN OUT",
        )


def _pixel_place(file: io.BytesIO, syntax: str) -> PixelPlace | None:
    """Where the element at the file's position has its value, if it holds voxels."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    at = file.tell()
    start = file.read(12)
    file.seek(at)
    if len(start) < 12:
        return None
    group, element = struct.unpack(f"{order}HH", start[:4])
    if group != _PIXEL_GROUP or element not in (0x0008, 0x0009, 0x0010):
        return None
    implicit = syntax == IMPLICIT
    (length,) = struct.unpack(f"{order}I", start[4:8] if implicit else start[8:12])
    value = at + (8 if implicit else 12)
    vr = "OB" if not implicit and start[4:6] == b"OB" else "OW"
    return PixelPlace(group << 16 | element, value, None if length == _UNDEFINED else length, vr)
