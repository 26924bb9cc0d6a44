"""Which files make up a subject of ISLES: acute stroke, DWI, ADC and FLAIR, with lesion masks?

The layout of ISLES 2022 (Hernandez Petzsche et al., Scientific Data 2022):

============  ============================================================================
images        ``sub-<label>[/ses-<label>]/**/*_{dwi,adc,flair}.nii.gz``, in upper or lower case
lesion truth  ``derivatives/**/sub-<label>[/ses-<label>]/**/*_msk.nii.gz``, on the grid of the DWI
============  ============================================================================

The subject's grid is that of its first DWI. The other images lie on grids of their own, related by
their affines: ``resample: true`` brings them onto it. The images are skull-stripped: the region in
which everything is measured and sampled is where the DWI is not 0.

Sessions in natural order become t0, t1, …. Where two files could be meant, the subject has a
problem that names both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.datasets.files import (
    NoOptions,
    images_under,
    natural_key,
    not_such_a_dataset,
    parse_options,
    subfolders,
    subject_label,
)
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.nifti import shown

MODALITIES = ("dwi", "adc", "flair")
MASK = "msk"

Found = dict[tuple[str, str], list[Path]]
"""Files by session and suffix."""


def isles(root: Path, **options: Any) -> list[SubjectSources]:
    """Subjects of ISLES; see the module for the names of the files.

    Raises
    ------
    ConfigError
        Any option, or no subject with a DWI, ADC or FLAIR.
    """
    parse_options(NoOptions, options, "isles")
    folders = [folder for folder in subfolders(root) if folder.name.startswith("sub-")]
    masks = _masks(root / "derivatives")
    found = [(folder, _by_session(images_under(folder))) for folder in folders]
    if not any(suffix in MODALITIES for _, files in found for _, suffix in files):
        raise not_such_a_dataset(root, "isles", "folders sub-<label> with *_dwi.nii.gz")
    return [_subject(folder, files, masks.get(folder.name, {})) for folder, files in found]


def _masks(derivatives: Path) -> dict[str, Found]:
    """Lesion masks by the name of the subject's folder."""
    named: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for name, path in images_under(derivatives):
        own = next((part for part in path.parts[::-1] if part.startswith("sub-")), "")
        # The file itself begins with the subject too; its folder may not.
        named[own.split("_")[0]].append((name, path))
    return {subject: _by_session(files) for subject, files in named.items()}


def _by_session(files: Sequence[tuple[str, Path]]) -> Found:
    found: Found = defaultdict(list)
    for name, path in files:
        *entities, suffix = name.split("_")
        session = next((e for e in entities if e.startswith("ses-")), "")
        if suffix.lower() in (*MODALITIES, MASK):
            found[session, suffix.lower()].append(path)
    return found


def _subject(folder: Path, files: Found, masks: Found) -> SubjectSources:
    sessions = sorted({s for s, suffix in files if suffix in MODALITIES}, key=natural_key)
    problems = [_several(k, p) for k, p in (*files.items(), *masks.items()) if len(p) > 1]
    images, lesions = {}, {}
    for number, session in enumerate(sessions):
        for modality in MODALITIES:
            if paths := files.get((session, modality)):
                images[f"t{number}", modality] = ImageSource(paths[0])
        if truth := masks.get((session, MASK)):
            lesions[f"t{number}"] = ImageSource(truth[0])
    reference = next((i for (_, modality), i in images.items() if modality == "dwi"), None)
    if reference is None:
        problems.append(f"{shown(folder)} has no *_dwi image, whose grid is the subject's")
    return SubjectSources(
        subject=subject_label(folder.name.removeprefix("sub-")),
        images=images,
        reference=reference or ImageSource(folder / f"{folder.name}_dwi.nii.gz"),
        brainmask=reference and ImageSource(reference.path, binarize="nonzero"),
        lesion_truth=lesions,
        sessions={f"t{i}": session for i, session in enumerate(sessions) if session},
        problems=tuple(problems),
    )


def _several(key: tuple[str, str], paths: Sequence[Path]) -> str:
    names = ", ".join(shown(path) for path in paths)
    return f"{len(paths)} files could be the {' '.join(part for part in key if part)}: {names}"
