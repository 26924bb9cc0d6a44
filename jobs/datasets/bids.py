"""Which files make up a subject of a raw BIDS dataset?

Anatomical images from ``sub-X[/ses-Y]/anat``; masks from ``derivatives/<pipeline>``:

==============  ===========================================================================
brain mask      ``*desc-brain_mask``, the subject's own, or else that of its first session
lesion truth    ``*label-lesion_mask``, per session
change truth    ``*label-change_mask`` or ``*desc-change_mask``, the subject's own, or else
                that of its last session
==============  ===========================================================================

Sessions in natural order become t0, t1, …; only those with an anatomical image count. Nothing is
chosen silently: where two files could be meant, the subject has a problem that names both.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from jobs.datasets.files import (
    images_in,
    natural_key,
    not_such_a_dataset,
    parse_options,
    subfolders,
    subject_label,
)
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.nifti import shown
from lamstore.errors import ConfigError

_MODALITIES = {"FLAIR": "flair", "T1w": "t1w", "T2w": "t2w", "PDw": "pd"}
_CHANGE = ("label-change", "desc-change")


class BidsOptions(BaseModel):
    """Options of ``bids``.

    Attributes
    ----------
    derivatives : list of Path
        Pipelines to take masks from, relative to the root; all of ``derivatives/*`` by default.
    runs : {"refuse", "first"}
        What to do with several runs of one image.
    """

    model_config = ConfigDict(extra="forbid")

    derivatives: list[Path] | None = None
    runs: Literal["refuse", "first"] = "refuse"


@dataclass(frozen=True)
class _Session:
    label: str
    folder: Path
    images: dict[str, ImageSource]
    problems: tuple[str, ...]


def bids(root: Path, **options: Any) -> list[SubjectSources]:
    """Subjects of a raw BIDS dataset, with or without sessions.

    FLAIR, T1w, T2w and PDw; a T1w with a ``ce-`` entity is ``t1ce``. The subject's grid is that of
    its first session's FLAIR (or else of its first image).

    Raises
    ------
    ConfigError
        Unknown options, no ``sub-*`` folder, or a derivatives folder that is not there.
    """
    chosen = parse_options(BidsOptions, options, "bids")
    folders = [f for f in subfolders(root) if f.name.startswith("sub-")]
    if not folders:
        raise not_such_a_dataset(root, "bids", "folders sub-<label>[/ses-<label>]/anat")
    pipelines = _pipelines(root, chosen.derivatives)
    return [_subject(folder, pipelines, chosen.runs == "first") for folder in folders]


def _pipelines(root: Path, named: list[Path] | None) -> list[Path]:
    if named is None:
        return subfolders(root / "derivatives")
    for folder in named:
        if not (root / folder).is_dir():
            raise ConfigError(
                f"the derivatives folder {shown(root / folder)} is not there",
                expected="folders relative to the dataset's root",
                remedy="correct dataset.options.derivatives in study.yaml",
            )
    return [root / folder for folder in named]


def _subject(folder: Path, pipelines: list[Path], first_run: bool) -> SubjectSources:
    sessions, problems = _sessions(folder, first_run)
    timepoints = {f"t{i}": session for i, session in enumerate(sessions)}
    images = {
        (t, modality): source
        for t, session in timepoints.items()
        for modality, source in session.images.items()
    }
    own = [p / folder.name for p in pipelines]
    of_session = {t: [o / s.label for o in own] if s.label else own for t, s in timepoints.items()}
    last = list(reversed(of_session.values()))
    brain = _first_mask([own, *of_session.values()], ("desc-brain",), problems)
    change = _first_mask([own, *last], _CHANGE, problems)
    lesions = {t: _first_mask([f], ("label-lesion",), problems) for t, f in of_session.items()}
    return SubjectSources(
        subject=subject_label(folder.name.removeprefix("sub-")),
        images=images,
        reference=_reference(images, folder),
        brainmask=brain,
        change_truth=change,
        lesion_truth={t: source for t, source in lesions.items() if source is not None},
        sessions={t: session.label for t, session in timepoints.items() if session.label},
        problems=tuple(problems),
    )


def _reference(images: dict[tuple[str, str], ImageSource], folder: Path) -> ImageSource:
    first = min(images, key=lambda key: (natural_key(key[0]), key[1] != "flair"), default=None)
    return images[first] if first else ImageSource(folder / "anat" / f"{folder.name}_FLAIR.nii.gz")


def _sessions(folder: Path, first_run: bool) -> tuple[list[_Session], list[str]]:
    named = [f for f in subfolders(folder) if f.name.startswith("ses-")]
    found = [_session(f, f.name, first_run) for f in named]
    alone = _session(folder, "", first_run)
    problems = []
    if named and (alone.images or alone.problems):
        problems.append(f"{shown(folder)} has images both in anat and in sessions")
    sessions = [s for s in (found if named else [alone]) if s.images or s.problems]
    if not sessions:
        problems.append(f"{shown(folder)} has no FLAIR, T1w, T2w or PDw image in anat")
    return sessions, problems + [p for s in sessions for p in s.problems]


def _session(folder: Path, label: str, first_run: bool) -> _Session:
    candidates: dict[str, list[Path]] = defaultdict(list)
    for name, path in images_in(folder / "anat").items():
        entities, suffix = _entities(name)
        modality = _MODALITIES.get(suffix)
        if modality is not None:
            contrast = suffix == "T1w" and "ce" in entities
            candidates["t1ce" if contrast else modality].append(path)
    images, problems = {}, []
    for modality, paths in candidates.items():
        if len(paths) == 1 or (first_run and _only_runs_differ(paths)):
            images[modality] = ImageSource(paths[0])
        else:
            problems.append(_several(modality, paths))
    return _Session(label, folder, images, tuple(problems))


def _entities(name: str) -> tuple[dict[str, str], str]:
    """``sub-1_run-2_FLAIR`` as ({"sub": "1", "run": "2"}, "FLAIR")."""
    *pairs, suffix = name.split("_")
    return {key: value for key, _, value in (pair.partition("-") for pair in pairs)}, suffix


def _only_runs_differ(paths: list[Path]) -> bool:
    without_run = []
    for path in paths:
        entities, _ = _entities(path.name.split(".")[0])
        without_run.append({k: v for k, v in entities.items() if k != "run"})
    return all(entities == without_run[0] for entities in without_run)


def _several(what: str, paths: list[Path]) -> str:
    names = ", ".join(shown(p) for p in paths)
    remedy = (
        "set the option runs: first"
        if what in (*_MODALITIES.values(), "t1ce") and _only_runs_differ(paths)
        else "name the one to take in a nifti-table, or, for masks, with the option derivatives"
    )
    return f"{len(paths)} files could be the {what}: {names}; {remedy}"


def _first_mask(
    places: list[list[Path]], tags: tuple[str, ...], problems: list[str]
) -> ImageSource | None:
    """Mask with one of the tags in the first place that has any; adds to `problems` if several."""
    for folders in places:
        found = [path for folder in folders for path in _masks(folder, tags)]
        # A mask in a template's space is not on the subject's grid.
        found = [p for p in found if "_space-" not in p.name] or found
        if len(found) > 1:
            problems.append(_several(f"{tags[0]} mask", found))
        if found:
            return ImageSource(found[0])
    return None


def _masks(folder: Path, tags: tuple[str, ...]) -> list[Path]:
    return [
        path
        for place in (folder / "anat", folder)
        for name, path in images_in(place).items()
        if name.endswith("_mask") and any(f"_{tag}_" in name for tag in tags)
    ]
