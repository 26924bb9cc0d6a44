"""What does a localizer say of one DICOM study that belongs to no cohort?

The way of a study, without a store: the dataset adapter `dicom` finds the study and chooses its
series, headers are checked, voxels read, the engine locates, `jobs.locate` measures. So every
number is that of `lam run`. Nothing here names the study by what its headers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.datasets.dicom import dicom
from jobs.datasets.model import SubjectSources
from jobs.dicom.storage import forget_archives
from jobs.dropped import REMEDY, Limits, dropped_root
from jobs.engines.base import EngineInput, Localization, Localizer
from jobs.locate import check_localization, heatmap_measures
from jobs.predict import Scan, read_scan, scans_of
from lamstore.config import HeatmapConfig
from lamstore.errors import ConfigError, InputError, UnreadableInputError

STUDY = "the study"
"""What messages call it: its own name is a UID of its headers."""


@dataclass(frozen=True)
class OneStudy:
    """What was seen in one study.

    Attributes
    ----------
    reason : str
        Which series was chosen, and why.
    left_out : str
        How many files belong to no series, by reason; empty for none.
    inputs : EngineInput
    found : Localization
    measures : dict of column to float
        As the table of a study has them.
    """

    reason: str
    left_out: str
    inputs: EngineInput
    found: Localization
    measures: dict[str, float]


def look_at(folder: Path, engine: Localizer, config: HeatmapConfig, limits: Limits) -> OneStudy:
    """Measure the one study in a folder.

    Parameters
    ----------
    folder : Path
        DICOM files under any names, or one ZIP archive.
    engine : Localizer
        Loaded.
    config : HeatmapConfig
    limits : Limits

    Raises
    ------
    InputError
        No study, several, none that can be used; with what to do.
    EngineError
        The engine fails.
    """
    try:
        return _looked(dropped_root(folder, limits), engine, config, limits)
    finally:
        forget_archives()


def _looked(root: Path, engine: Localizer, config: HeatmapConfig, limits: Limits) -> OneStudy:
    sources, left_out = _sources(root)
    scan = _scan(sources, engine, limits)
    inputs = read_scan(scan, engine, resample=False)
    found = engine.locate(inputs)
    check_localization(engine, found, inputs.grid, STUDY)
    measures = heatmap_measures(engine, found, inputs.grid, config)
    reason = "; ".join(sources.decisions.values())
    return OneStudy(reason, left_out, inputs, found, measures)


def _sources(root: Path) -> tuple[SubjectSources, str]:
    """The study, renamed, and what else lies there."""
    try:
        listed = dicom(root, allow_all_studies=True)
    except ConfigError as error:
        raise UnreadableInputError(
            "there is no DICOM image in what was dropped",
            got=error.got,
            expected="the DICOM files of one study",
            remedy=REMEDY,
        ) from None
    studies = [one for one in listed if not one.left_out]
    if len(studies) != 1:
        raise InputError(
            "what was dropped holds several studies",
            got=f"{len(studies)} studies",
            expected="one study at a time",
            remedy="drop the files of one of them; a cohort goes with: lam new STUDY --dataset "
            "dicom --root DIR",
        )
    (study,) = studies
    if study.problems:
        said = [text.replace(study.subject, STUDY) for text in study.problems]
        raise _as_error(said, "drop the whole study, or just its sagittal T2 series")
    return replace(study, subject=STUDY), "; ".join(one.left_out for one in listed)


def _scan(sources: SubjectSources, engine: Localizer, limits: Limits) -> Scan:
    scans, problems = scans_of([sources], engine, resample=False)
    if problems:
        raise _as_error(problems)
    (scan,) = scans
    assert isinstance(scan.source, tuple)
    grid = scan.source[1].grid
    voxels = grid.shape[0] * grid.shape[1] * grid.shape[2] if grid else 0
    if voxels > limits.most_voxels:
        raise UnreadableInputError(
            "the series is larger than what is looked at here",
            got=f"{voxels >> 20} million voxels",
            expected=f"at most {limits.most_voxels >> 20} million",
            remedy="make a study of it: lam new STUDY --dataset dicom --root DIR",
        )
    return scan


def _as_error(problems: Sequence[str], remedy: str | None = None) -> InputError:
    """The error that a check has put into words; of several problems the first."""
    what, *rest = problems[0].split("\n  ")
    said = dict(line.split(": ", 1) for line in rest if line.startswith(("got: ", "expected: ")))
    tried = next((line.removeprefix("try: ") for line in rest if line.startswith("try: ")), REMEDY)
    return InputError(
        what, got=said.get("got"), expected=said.get("expected"), remedy=remedy or tried
    )
