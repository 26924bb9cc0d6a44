"""What does one DICOM file say about itself?

One pass over the first bytes of the file, tags of `jobs.dicom.tags` only. Classic files (one slice
each) and enhanced multi-frame files (functional groups, shared and per frame) give the same thing:
a header with one `Frame` per slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.dicom import tags as t
from jobs.dicom.elements import Elements, PixelPlace, no_library_text, read_elements
from jobs.dicom.storage import LARGEST_FILE, Storage
from jobs.dicom.words import words_of
from lamstore.errors import UnreadableInputError

_HEADS = (1 << 14, 1 << 20, LARGEST_FILE)
"""Bytes that are read first, then, and last: nearly every header ends in the first."""
_STIR_MS = (80.0, 350.0)
"""Inversion times that null fat, from 0.2 T to 3 T; FLAIR has a second or more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice.

    Attributes
    ----------
    position, orientation, spacing_mm : tuple of float
        ImagePositionPatient (3), ImageOrientationPatient (6), PixelSpacing (rows' distance,
        columns' distance), all LPS and mm; empty where the file has none.
    slope, intercept : float
        1 and 0 where values are not rescaled.
    belongs : tuple of (str, str)
        What tells stacks, echoes and acquisitions apart: name and value.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    slope: float
    intercept: float
    belongs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FileHeader:
    """One file; times in ms, None where the file does not say.

    Attributes
    ----------
    words : frozenset of str
        What its descriptions say, as `jobs.dicom.words.words_of`.
    has_lut : bool
        Whether values go through a table (Modality LUT).
    pixels : PixelPlace or None
        None where there are no voxels.
    file_size : int
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    frame_of_reference: str
    transfer_syntax: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    echo_time_ms: float | None
    repetition_time_ms: float | None
    inversion_time_ms: float | None
    fat_suppressed: bool
    words: frozenset[str]
    has_lut: bool
    frames: tuple[Frame, ...]
    pixels: PixelPlace | None
    file_size: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one slice, decoded."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8


def read_start(storage: Storage, name: str, where: str) -> tuple[int, bytes]:
    """Size of a file and its first bytes, in which nearly every header ends.

    Raises
    ------
    MissingInputError, UnreadableInputError
    """
    with no_library_text(where):
        return storage.size(name), storage.head(name, _HEADS[0])


def read_file_header(
    storage: Storage, name: str, where: str, start: tuple[int, bytes] | None = None
) -> FileHeader:
    """Header of one file.

    Parameters
    ----------
    storage : Storage
    name : str
        Of the file in `storage`; never shown.
    where : str
        Names the file in errors.
    start : (int, bytes), optional
        From `read_start`, where that was read before.

    Raises
    ------
    MissingInputError
        No such file.
    UnreadableInputError
        Not DICOM, or damaged.
    """
    size, head = start or read_start(storage, name, where)
    for count in (*_HEADS[1:], None):
        elements, syntax, place, whole = read_elements(head, t.WANTED, where)
        if whole or count is None or len(head) == size:
            break
        with no_library_text(where):
            head = storage.head(name, count)
    with no_library_text(where, "a DICOM header with readable values"):
        return _parsed(elements, syntax, place, size)


def read_uids(storage: Storage, name: str) -> tuple[str, str]:
    """StudyInstanceUID and SeriesInstanceUID of a file; nothing behind them is read.

    Raises
    ------
    UnreadableInputError
        Not DICOM, or without these UIDs.
    """
    where = "a file"
    with no_library_text(where):
        head = storage.head(name, _HEADS[0])
    for count in _HEADS[1:]:
        found, _, _, whole = read_elements(
            head, (t.STUDY_UID, t.SERIES_UID), where, stop_after=t.SERIES_UID
        )
        if t.SERIES_UID in found or whole or len(head) < _HEADS[0]:
            break
        with no_library_text(where):
            head = storage.head(name, count)
    study, series = found.text(t.STUDY_UID), found.text(t.SERIES_UID)
    if not (study and series):
        raise UnreadableInputError(f"{where} belongs to no series")
    return study, series


def _parsed(e: Elements, syntax: str, place: PixelPlace | None, size: int) -> FileHeader:
    frames = _frames(e)
    timing = _groups(e, 0)
    echo, mr_timing = timing.get(t.MR_ECHO), timing.get(t.MR_TIMING)
    frame_type = timing.get(t.MR_FRAME_TYPE)
    image_type = frame_type.texts(t.FRAME_TYPE) if frame_type else e.texts(t.IMAGE_TYPE)
    echo_time = echo.double(t.EFFECTIVE_ECHO_TIME) if echo else e.number(t.ECHO_TIME)
    repetition = (mr_timing or e).number(t.REPETITION_TIME)
    names = e.text(t.SERIES_DESCRIPTION), e.text(t.PROTOCOL_NAME), e.text(t.SEQUENCE_NAME)
    words = words_of(*names)
    return FileHeader(
        study_uid=e.text(t.STUDY_UID),
        series_uid=e.text(t.SERIES_UID),
        sop_uid=e.text(t.SOP_INSTANCE),
        sop_class=e.text(t.SOP_CLASS),
        modality=e.text(t.MODALITY).upper(),
        image_type=tuple(part.upper() for part in image_type),
        frame_of_reference=e.text(t.FRAME_OF_REFERENCE),
        transfer_syntax=syntax,
        rows=e.integer(t.ROWS) or 0,
        columns=e.integer(t.COLUMNS) or 0,
        samples=e.integer(t.SAMPLES) or 1,
        bits_allocated=e.integer(t.BITS_ALLOCATED) or 0,
        bits_stored=e.integer(t.BITS_STORED) or 0,
        high_bit=(e.integer(t.BITS_STORED) or 1) - 1
        if t.HIGH_BIT not in e
        else e.integer(t.HIGH_BIT) or 0,
        signed=e.integer(t.SIGNED) == 1,
        photometric=e.text(t.PHOTOMETRIC).upper(),
        echo_time_ms=echo_time,
        repetition_time_ms=repetition,
        inversion_time_ms=e.number(t.INVERSION_TIME),
        fat_suppressed=_fat_suppressed(e, words),
        words=words,
        has_lut=t.MODALITY_LUT in e,
        frames=frames,
        pixels=place,
        file_size=size,
    )


def _fat_suppressed(e: Elements, words: frozenset[str]) -> bool:
    inversion = e.number(t.INVERSION_TIME)
    return bool(
        words & {"stir", "fatsat"}
        or {"FS", "FAT_SAT", "SFS"} & {part.upper() for part in e.texts(t.SCAN_OPTIONS)}
        or (inversion is not None and _STIR_MS[0] <= inversion <= _STIR_MS[1])
    )


def _frames(e: Elements) -> tuple[Frame, ...]:
    count = int(e.number(t.FRAMES) or 1)
    per_frame = e.items(t.FRAME_GROUPS)
    if not per_frame:
        classic = Frame(
            position=e.numbers(t.POSITION),
            orientation=e.numbers(t.ORIENTATION),
            spacing_mm=e.numbers(t.PIXEL_SPACING),
            slope=_or(e.number(t.SLOPE), 1.0),
            intercept=_or(e.number(t.INTERCEPT), 0.0),
            belongs=_classic_belongs(e),
        )
        # Several frames at one position: `jobs.dicom.series` refuses them.
        return (classic,) * max(1, min(count, 1 << 16))
    if len(per_frame) != count:
        raise ValueError("frames and functional groups differ in number")
    shared = _merged(e.items(t.SHARED_GROUPS))
    return tuple(_frame(shared | _merged([item])) for item in per_frame)


def _classic_belongs(e: Elements) -> tuple[tuple[str, str], ...]:
    named = {
        "echo": e.text(t.ECHO_TIME) or e.text(t.ECHO_NUMBER),
        "acquisition": e.text(t.ACQUISITION_NUMBER),
        "time point": e.text(t.TEMPORAL_POSITION),
        "inversion time": e.text(t.INVERSION_TIME),
        "image type": "\\".join(e.texts(t.IMAGE_TYPE)[2:3]),
    }
    return tuple(named.items())


def _frame(groups: dict[int, Elements]) -> Frame:
    none = Elements({})
    values, content = groups.get(t.PIXEL_VALUES, none), groups.get(t.FRAME_CONTENT, none)
    echo = groups.get(t.MR_ECHO, none).double(t.EFFECTIVE_ECHO_TIME)
    named = {
        "stack": content.text(t.STACK_ID),
        "echo": "" if echo is None else f"{echo:g}",
        "time point": str(content.integer(t.TEMPORAL_INDEX) or ""),
        "image type": "\\".join(groups.get(t.MR_FRAME_TYPE, none).texts(t.FRAME_TYPE)[2:3]),
    }
    return Frame(
        position=groups.get(t.PLANE_POSITION, none).numbers(t.POSITION),
        orientation=groups.get(t.PLANE_ORIENTATION, none).numbers(t.ORIENTATION),
        spacing_mm=groups.get(t.PIXEL_MEASURES, none).numbers(t.PIXEL_SPACING),
        slope=_or(values.number(t.SLOPE), 1.0),
        intercept=_or(values.number(t.INTERCEPT), 0.0),
        belongs=tuple(named.items()),
    )


def _groups(e: Elements, index: int) -> dict[int, Elements]:
    """Functional groups of one frame, the shared ones first; empty for a classic file."""
    per_frame = e.items(t.FRAME_GROUPS)[index : index + 1]
    return _merged(e.items(t.SHARED_GROUPS)) | _merged(per_frame)


_GROUPS = (
    t.PLANE_POSITION, t.PLANE_ORIENTATION, t.PIXEL_MEASURES, t.PIXEL_VALUES, t.FRAME_CONTENT,
    t.MR_ECHO, t.MR_TIMING, t.MR_FRAME_TYPE,
)  # fmt: skip


def _merged(items: list[Elements]) -> dict[int, Elements]:
    """Groups by tag of the first item, each a sequence of one item."""
    if not items:
        return {}
    found: dict[int, Any] = {tag: items[0].items(tag) for tag in _GROUPS}
    return {tag: inside[0] for tag, inside in found.items() if inside}


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
