"""What does a free-text description say of a series, in words that name nobody?

Descriptions are typed by people and may hold anything, a patient's name included. They are reduced
to the words of a fixed vocabulary here and go no further.
"""

from __future__ import annotations

import re
from typing import Literal

Plane = Literal["sagittal", "axial", "coronal"]
Weighting = Literal["t2", "t1", "other"]

_PLANES: dict[str, Plane] = {
    "sagittal": "sagittal", "sag": "sagittal",
    "axial": "axial", "ax": "axial", "tra": "axial", "transverse": "axial", "trans": "axial",
    "coronal": "coronal", "cor": "coronal",
}  # fmt: skip
_SCOUT = ("localizer", "localiser", "loc", "scout", "survey", "topogram", "surview", "3plane")
_OTHER = (
    "flair", "pd", "dwi", "adc", "swi", "gre", "medic", "merge", "myelo", "myelogram", "mrm",
    "perf", "dynamic", "t2star", "projection", "mip",
)  # fmt: skip
_FAT_SUPPRESSED = ("stir", "tirm", "fs", "fatsat", "spair", "spir", "dixon", "ideal", "fatsup")
_T2, _T1 = re.compile(r"t2w?(tse|fse|frfse)?"), re.compile(r"t1w?(tse|fse)?")


def words_of(*texts: str) -> frozenset[str]:
    """Words of the vocabulary in some texts.

    Parameters
    ----------
    *texts : str
        Descriptions, protocol and sequence names, in any case.

    Returns
    -------
    frozenset of str
        Of ``sagittal``, ``axial``, ``coronal``, ``t1``, ``t2``, ``stir``, ``fatsat``, ``scout``,
        ``other`` (a weighting that is neither T1 nor T2, or a projection); empty for none.
    """
    text = " ".join(texts).lower().replace("t2*", "t2star").replace("3-plane", "3plane")
    found: set[str] = set()
    for token in re.findall(r"[a-z0-9]+", text):
        if token in _PLANES:
            found.add(_PLANES[token])
        elif token in _SCOUT:
            found.add("scout")
        elif token in _OTHER:
            found.add("other")
        elif token in _FAT_SUPPRESSED:
            found.add("stir" if token in ("stir", "tirm") else "fatsat")
        elif _T2.fullmatch(token):
            found.add("t2")
        elif _T1.fullmatch(token):
            found.add("t1")
    return frozenset(found)


def plane_of(words: frozenset[str]) -> Plane | None:
    """The one plane that is named; None for none or several."""
    named = [plane for plane in dict.fromkeys(_PLANES.values()) if plane in words]
    return named[0] if len(named) == 1 else None


def weighting_of(words: frozenset[str]) -> Weighting | None:
    """The one weighting that is named, STIR counting as T2; None for none or a contradiction."""
    named: set[Weighting] = set()
    if words & {"t2", "stir"}:
        named.add("t2")
    if "t1" in words:
        named.add("t1")
    if "other" in words:
        return "other"
    return named.pop() if len(named) == 1 else None


def spoken(words: frozenset[str]) -> str:
    """The words as text, in a fixed order; ``nothing`` for none."""
    return " ".join(sorted(words)) or "nothing"
