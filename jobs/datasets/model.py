"""Which files make up a subject, and how do they come onto one grid?

A dataset adapter lists subjects; it opens no image (of DICOM files, which say nothing by their
names, it reads headers). Adapters are found by the entry point group
``lamstore.datasets``: a callable ``(root: Path, **options) -> list[SubjectSources]`` that raises
`ConfigError` for unknown options and for a root that is not such a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jobs.nifti_header import shown

TIMEPOINTS = ("t0", "t1")
"""Labels of baseline and follow-up; further sessions are t2, t3, …"""

MODALITIES = ("flair", "t1w", "t2w", "t1ce", "pd", "dwi", "adc")
"""What an image can be."""


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one DICOM series.

    Attributes
    ----------
    members : tuple of str
        Names relative to the folder, or of entries of the ZIP archive.
    label : str
        What messages call the series: nothing that names a person.
    key_file : Path or None
        With it, `members` are keyed hashes of the names (`jobs.dicom.hidden`).
    """

    members: tuple[str, ...]
    label: str
    key_file: Path | None = None


@dataclass(frozen=True)
class ImageSource:
    """A file or a series of files, and what brings it onto the subject's grid.

    Attributes
    ----------
    path : Path
        A NIfTI file; for a DICOM series the folder or the ZIP archive that holds it.
    transforms : tuple of Path
        ITK text transforms that map points of the reference grid to points of this image
        (LPS, mm), applied first to last. Empty: the file lies on the grid already.
    binarize : {"mask", "nonzero"}
        For masks: ``mask`` demands values 0 and 1; ``nonzero`` takes every nonzero voxel (a
        brain mask from a skull-stripped image). Images ignore it.
    series : SeriesFiles or None
        Its files, for a DICOM series.
    """

    path: Path
    transforms: tuple[Path, ...] = ()
    binarize: Literal["mask", "nonzero"] = "mask"
    series: SeriesFiles | None = None

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.series.label if self.series else shown(self.path)


@dataclass(frozen=True)
class SubjectSources:
    """All files of one subject.

    Attributes
    ----------
    subject : str
        Label in the store: letters and digits of any script, ``_``, ``-`` and ``.``
        (see `jobs.datasets.files.subject_label`).
    images : mapping of (timepoint, modality) to ImageSource
        Modalities of `MODALITIES`.
    reference : ImageSource
        The file whose grid is the subject's.
    brainmask : ImageSource or None
    change_truth : ImageSource or None
    lesion_truth : mapping of timepoint to ImageSource
    sessions : mapping of timepoint to str
        What the dataset itself calls a timepoint (``study1``, ``ses-2019``).
    problems : tuple of str
        What the adapter already knows to be wrong (a duplicate, an absent required file). Such a
        subject is reported and left out; the others go on.
    left_out : str
        Why the dataset itself makes no subject of this folder (it holds a truth, and no image).
        Listed, and not counted as a failure. Empty for every other subject.
    needs_brainmask : bool
        Whether a subject without brain mask has a problem; False for other parts of the body.
    decisions : mapping of str to str
        What the adapter chose and why (``t0 t2w``: this series of five, since …). Goes into the
        ledger with the subject.
    """

    subject: str
    images: Mapping[tuple[str, str], ImageSource]
    reference: ImageSource
    brainmask: ImageSource | None = None
    change_truth: ImageSource | None = None
    lesion_truth: Mapping[str, ImageSource] = field(default_factory=dict)
    sessions: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    left_out: str = ""
    needs_brainmask: bool = True
    decisions: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, ImageSource]:
        """Every file of the subject by what it is: ``t0 flair``, ``brainmask``, …"""
        named = {f"{t} {modality}": source for (t, modality), source in self.images.items()}
        single = {"brainmask": self.brainmask, "change_truth": self.change_truth}
        named |= {role: source for role, source in single.items() if source is not None}
        return named | {f"{t} lesion_truth": s for t, s in self.lesion_truth.items()}
