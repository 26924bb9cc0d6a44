"""Which series of a study is the sagittal T2, and why?

What a table of the dataset says decides; where it says nothing, the header does: the plane by the
slices' normal, the weighting by TE and TR and by what the descriptions say. A contradiction
excludes a series. Of several that remain, a fixed order decides, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.dicom.geometry import normal_of
from jobs.dicom.header import FileHeader
from jobs.dicom.series import refuse_no_image
from jobs.dicom.words import Plane, Weighting, plane_of, spoken, weighting_of, words_of
from lamstore.errors import InputError

SAGITTAL_WITHIN_DEG = 35.0
"""Largest angle of the normal to the left-right axis: patients lie askew, spines curve."""
T2_ECHO_MS, T2_REPETITION_MS = 60.0, 1500.0
"""A T2 weighting has an echo time of at least, and a repetition time of at least."""
T1_ECHO_MS, T1_REPETITION_MS = 35.0, 1200.0
"""A T1 weighting has both below these."""
FLAIR_INVERSION_MS = 1000.0


@dataclass(frozen=True)
class Candidate:
    """A series of a study.

    Attributes
    ----------
    series : str
        Its id, as it may be shown.
    header : FileHeader or None
        Of one of its files; None where none could be read.
    images : int
        Number of its slices.
    problem : str
        Why it could not be read; empty otherwise.
    """

    series: str
    header: FileHeader | None
    images: int
    problem: str = ""


@dataclass(frozen=True)
class Choice:
    """The series that was chosen, and why, in one sentence."""

    series: str
    reason: str


def choose_sagittal_t2(series: Sequence[Candidate], descriptions: Mapping[str, str]) -> Choice:
    """The sagittal T2 series of a study.

    Parameters
    ----------
    series : sequence of Candidate
        In any order: the choice does not depend on it.
    descriptions : mapping of series id to str
        What a table of the dataset says; free text, of which only known words are looked at.

    Raises
    ------
    InputError
        None is; the message says of each series why not.
    """
    words = {one.series: words_of(descriptions.get(one.series, "")) for one in series}
    verdicts = {one.series: _verdict(one, words[one.series]) for one in series}
    fit = [one for one in series if verdicts[one.series].fits]
    # What the table says comes before what is read out of a header.
    described = [one for one in fit if verdicts[one.series].described]
    fit = described or fit
    if not fit:
        listed = "; ".join(f"{s.series}: {verdicts[s.series].why}" for s in sorted(series, key=_id))
        raise InputError(
            "no series of the study is a sagittal T2",
            got=listed or "no series at all",
            expected="one series with slices across the left-right axis and T2 weighting",
            remedy="add its description to the series CSV, or leave the study out",
        )
    best = min(fit, key=_preference)
    others = f"; chosen of {len(fit)} that are, by {_apart(best, fit)}" if len(fit) > 1 else ""
    return Choice(best.series, f"{verdicts[best.series].why}{others}")


@dataclass(frozen=True)
class _Verdict:
    fits: bool
    why: str
    described: bool = False


def _verdict(one: Candidate, table: frozenset[str]) -> _Verdict:
    if one.header is None:
        return _Verdict(False, one.problem or "it cannot be read")
    try:
        refuse_no_image(one.header, "it")
    except InputError as error:
        return _Verdict(False, error.what)
    plane, angle = _plane(one.header)
    named, weighting = plane_of(table), weighting_of(table)
    if plane != "sagittal" or named not in (None, plane):
        own = f"its slices are {plane}" if plane else "its slices have no orientation"
        said = f"described as {named}, and " if named not in (None, plane) else ""
        return _Verdict(False, f"{said}{own}")
    if weighting is None:
        return _by_header(one.header, angle)
    why = f"described as {spoken(table)}, its normal {angle:.0f}° off the left-right axis"
    return _Verdict(weighting == "t2", why, described=True)


def _by_header(header: FileHeader, angle: float) -> _Verdict:
    timed, said = _timed(header), weighting_of(header.words)
    times = (
        f"TE {_ms(header.echo_time_ms)}, TR {_ms(header.repetition_time_ms)}"
        if timed
        else "no telling TE and TR"
    )
    text = f"its header's words: {spoken(header.words)}; {times}"
    if timed and said and timed != said:
        return _Verdict(False, f"contradictory ({text})")
    weighting = said or timed
    why = f"by its header: normal {angle:.0f}° off the left-right axis; {text}"
    return _Verdict(weighting == "t2", why if weighting == "t2" else f"not T2 ({text})")


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} ms"


def _timed(header: FileHeader) -> Weighting | None:
    """Weighting by the physics; None where the times do not tell."""
    te, tr, ti = header.echo_time_ms, header.repetition_time_ms, header.inversion_time_ms
    if te is None or tr is None:
        return None
    if ti is not None and ti >= FLAIR_INVERSION_MS:
        return "other"
    if te >= T2_ECHO_MS and tr >= T2_REPETITION_MS:
        return "t2"
    if te < T1_ECHO_MS and tr < T1_REPETITION_MS:
        return "t1"
    return None


def _plane(header: FileHeader) -> tuple[Plane | None, float]:
    """Plane of the slices, and the angle (degrees) of their normal to the left-right axis."""
    cosines = header.frames[0].orientation
    if len(cosines) != 6 or not np.isfinite(cosines).all():
        return None, 90.0
    normal = np.abs(normal_of(cosines))
    if not normal.any():
        return None, 90.0
    angle = float(np.degrees(np.arccos(min(1.0, normal[0]))))
    if angle <= SAGITTAL_WITHIN_DEG:
        return "sagittal", angle
    return ("coronal" if normal[1] > normal[2] else "axial"), angle


def _id(one: Candidate) -> tuple[int, str]:
    return len(one.series), one.series


_Preference = tuple[bool, bool, int, int, str]
_REASONS = (
    "fat is not suppressed in it",
    "it is original, not derived",
    "it has the most slices",
    "the order of the series ids",
    "the order of the series ids",
)


def _preference(one: Candidate) -> _Preference:
    header = one.header
    assert header is not None
    return header.fat_suppressed, "DERIVED" in header.image_type, -one.images, *_id(one)


def _apart(best: Candidate, fit: Sequence[Candidate]) -> str:
    """The first rule by which the best comes before every other."""
    mine = _preference(best)
    for rule, reason in enumerate(_REASONS):
        if all(_preference(one)[: rule + 1] > mine[: rule + 1] for one in fit if one is not best):
            return reason
    return _REASONS[-1]
