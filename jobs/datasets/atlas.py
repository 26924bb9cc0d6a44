"""Which files make up a subject of ATLAS: chronic stroke, T1W, with manual lesion masks?

The layout of ATLAS R2.0 (Liew et al., Scientific Data 2022), as BIDS, with a folder a site, with
the masks in derivatives, or all files in one folder:

============  ==============================================================================
image         ``sub-<label>[_ses-<label>][_space-<label>]_T1w.nii.gz``
lesion truth  the same with ``_label-L_desc-T1lesion_mask`` instead of ``_T1w``
brain mask    the same with ``_desc-brain_mask``, where somebody has made one
============  ==============================================================================

ATLAS has no brain masks, and its T1W are not skull-stripped. Without one, the region in which
everything is measured and sampled is where the T1W is not 0: the head, where the background was set
to 0, and all of the image where it was not. Whoever wants the brain alone lays masks beside.

Sessions in natural order become t0, t1, …. Nothing is chosen silently: where two files could be
meant, the subject has a problem that names both; a label that two sites use is reported for both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.datasets.files import (
    NoOptions,
    images_under,
    natural_key,
    not_such_a_dataset,
    parse_options,
    subject_label,
)
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.nifti import shown

IMAGE, LESIONS, BRAIN = "_T1w", "_label-L_desc-T1lesion_mask", "_desc-brain_mask"


@dataclass(frozen=True)
class _File:
    """One file: the entities before its suffix, and the site's folder that it belongs to."""

    path: Path
    stem: str
    site: str

    def entity(self, name: str) -> str:
        pairs = (part.partition("-") for part in self.stem.split("_"))
        return next((value for key, _, value in pairs if key == name), "")

    @property
    def subject(self) -> str:
        return self.entity("sub") or self.stem


def atlas(root: Path, **options: Any) -> list[SubjectSources]:
    """Subjects of ATLAS, at any depth below `root`; see the module for the names of the files.

    Raises
    ------
    ConfigError
        Any option, or no T1W.
    """
    parse_options(NoOptions, options, "atlas")
    found = images_under(root)
    images = _with_suffix(found, IMAGE, root)
    if not images:
        raise not_such_a_dataset(root, "atlas", f"files sub-<label>*{IMAGE}.nii.gz, at any depth")
    masks = {suffix: _by_stem(_with_suffix(found, suffix, root)) for suffix in (LESIONS, BRAIN)}
    subjects: dict[tuple[str, str], list[_File]] = defaultdict(list)
    for image in images:
        subjects[image.site, image.subject].append(image)
    return [_subject(files, masks) for files in subjects.values()]


def _with_suffix(found: Sequence[tuple[str, Path]], suffix: str, root: Path) -> list[_File]:
    return [
        _File(path, name.removesuffix(suffix), _site(path, root))
        for name, path in found
        if name.endswith(suffix)
    ]


def _site(path: Path, root: Path) -> str:
    """Folders above the subject's own; a mask in derivatives belongs to the image's site."""
    parts = list(path.parent.relative_to(root).parts)
    if "derivatives" in parts:
        at = parts.index("derivatives")
        pipeline = len(parts) > at + 1 and not parts[at + 1].startswith("sub-")
        del parts[at : at + 1 + pipeline]
    own = next((i for i, part in enumerate(parts) if part.startswith("sub-")), len(parts))
    return "/".join(parts[:own])


def _by_stem(files: Sequence[_File]) -> dict[str, list[_File]]:
    named: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        named[file.stem].append(file)
    return named


def _subject(
    files: Sequence[_File], masks: Mapping[str, Mapping[str, Sequence[_File]]]
) -> SubjectSources:
    sessions: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        sessions[file.entity("ses")].append(file)
    problems = [_several("T1w", same) for same in sessions.values() if len(same) > 1]
    images, lesions, brains = {}, {}, []
    labels = sorted(sessions, key=natural_key)
    for number, label in enumerate(labels):
        image, timepoint = sessions[label][0], f"t{number}"
        images[timepoint, "t1w"] = ImageSource(image.path)
        if truth := _mask_of(image, masks[LESIONS], problems):
            lesions[timepoint] = ImageSource(truth.path)
        if brain := _mask_of(image, masks[BRAIN], problems):
            brains.append(ImageSource(brain.path))
    first = images["t0", "t1w"]
    return SubjectSources(
        subject=subject_label(files[0].subject),
        images=images,
        reference=first,
        brainmask=brains[0] if brains else ImageSource(first.path, binarize="nonzero"),
        lesion_truth=lesions,
        sessions={f"t{i}": f"ses-{label}" for i, label in enumerate(labels) if label},
        problems=tuple(problems),
    )


def _mask_of(
    image: _File, masks: Mapping[str, Sequence[_File]], problems: list[str]
) -> _File | None:
    """The mask of an image, of its own site; adds to `problems` if several could be meant."""
    found = [mask for mask in masks.get(image.stem, ()) if mask.site == image.site]
    if len(found) > 1:
        problems.append(_several("mask", found))
    return found[0] if found else None


def _several(what: str, files: Sequence[_File]) -> str:
    names = ", ".join(shown(file.path) for file in files)
    return f"{len(files)} files could be the {what}: {names}; keep one of them below the root"
