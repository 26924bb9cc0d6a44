"""Which files make up a subject of the public open_ms_data (Lesjak et al. 2016, 2017)?

Three adapters for its three parts: `open_ms` for the coregistered longitudinal pairs, `open_ms_raw`
for the same pairs as scanned with their ITK transforms, `open_ms_mni` for the cross-sectional
patients in MNI space.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.datasets.files import (
    NoOptions,
    images_in,
    not_such_a_dataset,
    parse_options,
    subfolders,
    subject_label,
)
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.nifti import shown

_STUDIES = {"t0": "study1", "t1": "study2"}
_LONGITUDINAL = {"FLAIR": "flair", "T1W": "t1w", "T2W": "t2w"}
_CROSS_SECTIONAL = {"FLAIR": "flair", "T1": "t1w", "T1POST": "t1ce", "T2": "t2w"}


class RawOptions(BaseModel):
    """Options of ``open-ms-raw``."""

    model_config = ConfigDict(extra="forbid")

    brainmask_root: Path | None = None
    """Folder of ``<patient>/brainmask.nii.gz``; by default ``coregistered`` beside ``raw``."""


def open_ms(root: Path, **options: Any) -> list[SubjectSources]:
    """Coregistered pairs: ``root[/longitudinal][/coregistered]/<patient>/study{1,2}_FLAIR.nii.gz``.

    Beside the images (FLAIR, T1W, T2W): ``brainmask``, the change truth ``gt``, and, in trees that
    have them, ``study1_lesions`` and ``study2_lesions``. The grid is that of the baseline FLAIR.

    Raises
    ------
    ConfigError
        Any option, or no patient folder.
    """
    parse_options(NoOptions, options, "open-ms")
    folders = _patients(root, ("longitudinal/coregistered", "coregistered", ""), "study", "open-ms")
    return [_pair(folder) for folder in folders]


def open_ms_raw(root: Path, **options: Any) -> list[SubjectSources]:
    """Pairs as scanned: ``root[/longitudinal][/raw]/<patient>``, each image on its own grid.

    The subject's grid is that of the change truth ``gt``. A FLAIR takes
    ``*_FLAIR_to_common_space.txt``; T1W and T2W take that first and then
    ``*_intrastudy_to_FLAIR.txt``. There is no brain mask among the raw files: the published one of
    the coregistered patient is taken, which lies on the same grid.

    Raises
    ------
    ConfigError
        Unknown options, or no patient folder.
    """
    chosen = parse_options(RawOptions, options, "open-ms-raw")
    folders = _patients(root, ("longitudinal/raw", "raw", ""), "study", "open-ms-raw")
    return [_raw_pair(folder, chosen.brainmask_root) for folder in folders]


def open_ms_mni(root: Path, **options: Any) -> list[SubjectSources]:
    """Cross-sectional patients: ``root[/cross_sectional][/MNI]/<patient>/{FLAIR,T1,…}_*.nii.gz``.

    One timepoint, ``t0``, with ``GOLD_STANDARD_*`` as its lesion truth. The images are
    skull-stripped: the brain mask is where FLAIR is not 0. A folder with a gold standard and no
    image is listed as left out.

    Raises
    ------
    ConfigError
        Any option, or no patient folder.
    """
    parse_options(NoOptions, options, "open-ms-mni")
    prefixes = (*_CROSS_SECTIONAL, "GOLD_STANDARD")
    places = ("cross_sectional/MNI", "MNI", "")
    folders = _patients(root, places, tuple(f"{p}_" for p in prefixes), "open-ms-mni")
    return [_cross_sectional(folder) for folder in folders]


def _patients(
    root: Path, places: tuple[str, ...], prefixes: str | tuple[str, ...], adapter: str
) -> list[Path]:
    """Patient folders of the first place that has one with files of these prefixes."""
    for place in places:
        folders = subfolders(root / place)
        known = [f for f in folders if any(n.startswith(prefixes) for n in images_in(f))]
        if known:
            named = {f.name for f in known} | {f.name for f in folders if "patient" in f.name}
            return [f for f in folders if f.name in named]
    tried = ", ".join(f"{place or '.'}/<patient>" for place in places)
    expected = f"folders {tried} with files {prefixes}*.nii.gz"
    raise not_such_a_dataset(root, adapter, expected)


def _pair(folder: Path) -> SubjectSources:
    found = images_in(folder)
    images = {
        (timepoint, modality): ImageSource(found[f"{study}_{name}"])
        for timepoint, study in _STUDIES.items()
        for name, modality in _LONGITUDINAL.items()
        if f"{study}_{name}" in found
    }
    truths = {t: found[f"{s}_lesions"] for t, s in _STUDIES.items() if f"{s}_lesions" in found}
    first = min(images, key=lambda key: (key[0], key[1] != "flair"), default=None)
    expected = ImageSource(folder / "study1_FLAIR.nii.gz")
    absent = [s for t, s in _STUDIES.items() if not any(key[0] == t for key in images)]
    return SubjectSources(
        subject=subject_label(folder.name),
        images=images,
        reference=images[first] if first else expected,
        brainmask=_source(found.get("brainmask")),
        change_truth=_source(found.get("gt")),
        lesion_truth={t: ImageSource(path) for t, path in truths.items()},
        sessions=_STUDIES,
        problems=tuple(
            f"{shown(folder)} has no {study}_* image; a longitudinal patient needs both studies"
            for study in absent
        ),
    )


def _source(path: Path | None) -> ImageSource | None:
    return None if path is None else ImageSource(path)


def _raw_pair(folder: Path, brainmask_root: Path | None) -> SubjectSources:
    pair = _pair(folder)
    problems = list(pair.problems)
    images = {}
    for (timepoint, modality), image in pair.images.items():
        chain = _transforms(folder, image.path, _STUDIES[timepoint])
        problems += [f"transform {shown(p)} is missing" for p in chain if not p.is_file()]
        images[timepoint, modality] = ImageSource(image.path, chain)
    masks = brainmask_root or folder.parent.parent / "coregistered"
    mask = pair.brainmask or _source(images_in(masks / folder.name).get("brainmask"))
    if mask is None:
        problems.append(
            f"no brain mask: {shown(masks / folder.name / 'brainmask.nii.gz')} is missing; "
            "say with the option brainmask_root where the masks are"
        )
    if pair.change_truth is None:
        problems.append(f"{shown(folder)} has no gt, whose grid is the common space")
    return dataclasses.replace(
        pair,
        images=images,
        reference=pair.change_truth or ImageSource(folder / "gt.nii.gz"),
        brainmask=mask,
        problems=tuple(problems),
    )


def _transforms(folder: Path, image: Path, study: str) -> tuple[Path, ...]:
    stem = image.name.split(".")[0]
    to_flair = folder / f"{study}_FLAIR_to_common_space.txt"
    return (
        (to_flair,)
        if stem.endswith("_FLAIR")
        else (to_flair, folder / f"{stem}_intrastudy_to_FLAIR.txt")
    )


def _cross_sectional(folder: Path) -> SubjectSources:
    found = images_in(folder)
    by_prefix = {
        prefix: [path for name, path in found.items() if name.startswith(f"{prefix}_")]
        for prefix in (*_CROSS_SECTIONAL, "GOLD_STANDARD")
    }
    images = {
        ("t0", modality): ImageSource(by_prefix[prefix][0])
        for prefix, modality in _CROSS_SECTIONAL.items()
        if by_prefix[prefix]
    }
    gold = by_prefix["GOLD_STANDARD"]
    flair = images.get(("t0", "flair"))
    expected = ImageSource(folder / "FLAIR.nii.gz")
    only_gold = bool(gold) and not images
    return SubjectSources(
        subject=subject_label(folder.name),
        images=images,
        reference=flair or next(iter(images.values()), ImageSource(gold[0]) if gold else expected),
        brainmask=flair and ImageSource(flair.path, binarize="nonzero"),
        lesion_truth={"t0": ImageSource(gold[0])} if gold else {},
        problems=() if only_gold else _cross_sectional_problems(folder, by_prefix, bool(images)),
        left_out="a gold standard and no image" if only_gold else "",
    )


def _cross_sectional_problems(
    folder: Path, by_prefix: dict[str, list[Path]], any_image: bool
) -> tuple[str, ...]:
    problems = [
        f"several {prefix}_* files, and no telling which: {', '.join(p.name for p in paths)}"
        for prefix, paths in by_prefix.items()
        if len(paths) > 1
    ]
    if not any_image:
        problems.append(f"{shown(folder)} has no image")
    return tuple(problems)
