"""Whom does a training learn from, and whom does it never see?

The thin edge to the study: the split, the source of patches, the donors of lesions and the looks of
the training subjects. Nothing of a validation subject enters: neither its images, nor its lesions
as a donor, whatever the name of the file they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.patches.index import SubjectIndex
from jobs.patches.index_file import subject_indexes
from jobs.patches.sampler import PatchSource, Sampling
from jobs.patches.splits import (
    Fold,
    Splits,
    given,
    hold_out,
    k_fold,
    leave_one_out,
    lesion_volumes,
    read_splits,
    refuse_leaks,
)
from jobs.training.augment import Augmenter
from jobs.training.config import Edges, SplitConfig, TrainConfig, TransplantConfig
from jobs.training.donors import Donor, donor_of, read_donors
from jobs.training.evaluate import Scan, read_scan
from jobs.training.look import LesionLook, Looks, lesion_look, pooled
from jobs.training.transplant import Transplanter
from jobs.unet.normalize import normalized
from lamstore.errors import ConfigError
from lamstore.store import Store
from lamstore.study import Study

MOST_LOOKS = 40
"""Training subjects whose own lesions are measured and given to others; the rest get the pool."""


@dataclass(frozen=True)
class Cohort:
    """Everything that a training reads.

    Attributes
    ----------
    study : Study
    splits : Splits or None
        None when everybody trains.
    fold : Fold
    source : PatchSource
        Of the training subjects; patches are larger by the augmentation's margin.
    augmenter : Augmenter
    validation : tuple of (subject, timepoint)
    donors : tuple of str
        Whose lesions are transplanted.
    left_out : tuple of str
        Donors that are validation subjects.
    """

    study: Study
    splits: Splits | None
    fold: Fold
    source: PatchSource
    augmenter: Augmenter
    validation: tuple[tuple[str, str], ...]
    donors: tuple[str, ...]
    left_out: tuple[str, ...]


def open_cohort(config: TrainConfig) -> Cohort:
    """Divide the study, and set up what its patches need.

    Raises
    ------
    ConfigError
        When the split cannot be made, leaks, or leaves nobody to train on.
    """
    study = Study.at(config.study)
    indexes = _usable(subject_indexes(study), config)
    splits, fold = divide(indexes, config.split)
    refuse_leaks(fold, {subject: index.contents for subject, index in indexes.items()})
    validation = tuple((s, t) for s in fold.validation for t in indexes[s].lesions)
    source = PatchSource(study, fold.train, _sampling(config))
    store = Store(study.store_path)
    augment, looks, transplanter = config.augment, None, None
    graft = augment.transplant if augment else None
    if augment is not None and (graft is not None or augment.tissue_contrast):
        looks = _looks(store, indexes, source.cases, config.channels)
    donors: list[Donor] = []
    left_out: list[str] = []
    if graft is not None and looks is not None:
        donors, left_out = _donors(graft, store, indexes, fold)
        transplanter = Transplanter(donors, looks, config.channels, graft)
    optional = tuple(channel not in config.needed for channel in config.channels)
    augmenter = Augmenter(
        config.patch, config.spacing_mm, augment, config.channels, optional, looks, transplanter
    )
    names = tuple(donor.name for donor in donors)
    return Cohort(study, splits, fold, source, augmenter, validation, names, tuple(left_out))


def _usable(indexes: Mapping[str, SubjectIndex], config: TrainConfig) -> dict[str, SubjectIndex]:
    """Subjects with a truth and every channel that is needed, and among those that are wanted."""
    wanted = config.split.subjects
    if wanted is not None and (unknown := sorted(set(wanted) - set(indexes))):
        raise ConfigError(
            "split.subjects names subjects that are not in the store",
            got=", ".join(unknown),
            expected=", ".join(list(indexes)[:8]),
        )
    return {
        subject: index
        for subject, index in sorted(indexes.items())
        if (wanted is None or subject in wanted) and _complete(index, config.needed)
    }


def _complete(index: SubjectIndex, needed: Sequence[str]) -> bool:
    return any(all((t, c) in index.scales for c in needed) for t in index.lesions)


def divide(indexes: Mapping[str, SubjectIndex], config: SplitConfig) -> tuple[Splits | None, Fold]:
    """The splits that the config asks for, and the fold that is trained; see `SplitConfig`."""
    volumes = lesion_volumes(indexes)
    if config.rule == "all":
        return None, Fold(train=tuple(sorted(volumes)), validation=())
    if config.rule == "file":
        assert config.file is not None
        splits = read_splits(config.file)
    elif config.rule == "leave_one_out":
        splits = leave_one_out(volumes)
    elif config.rule == "kfold":
        splits = k_fold(volumes, config.folds, config.seed)
    elif config.rule == "hold_out":
        splits = hold_out(volumes, config.share, config.seed)
    else:
        splits = given(volumes, config.validation)
    number = config.fold if config.rule in ("kfold", "leave_one_out", "file") else 0
    if number >= len(splits.folds):
        raise ConfigError(
            f"there is no fold {number}", expected=f"0 to {len(splits.folds) - 1} ({splits.kind})"
        )
    fold = splits.folds[number]
    if unknown := sorted({*fold.train, *fold.validation} - set(volumes)):
        raise ConfigError(
            "the split names subjects that the study cannot train on",
            got=", ".join(unknown[:8]),
            expected="subjects with a lesion truth and every channel that is needed",
        )
    return splits, fold


def _sampling(config: TrainConfig) -> Sampling:
    margin = config.augment.margin if config.augment else 0
    x, y, z = (edge + margin for edge in config.patch)
    wide: Edges = (x, y, z)
    return Sampling(
        channels=config.channels,
        optional=tuple(c for c in config.channels if c not in config.needed),
        patch_voxels=wide,
        spacing_mm=config.spacing_mm,
        lesion_share=config.lesion_share,
        lesion_alpha=config.lesion_alpha,
        # As a share of the patch that the network sees, not of the wider one.
        jitter=config.jitter * min(config.patch) / min(wide),
        seed=config.seed,
    )


def _donors(
    graft: TransplantConfig, store: Store, indexes: Mapping[str, SubjectIndex], fold: Fold
) -> tuple[list[Donor], list[str]]:
    """Donors, each lesion mask once, and the names of those that validate."""
    own = _truths(store, indexes, fold.train)
    hidden = {donor.content for donor in _truths(store, indexes, fold.validation)}
    found: dict[str, Donor] = {}
    left_out = []
    for donor in [*own, *read_donors(graft.masks)]:
        owner = donor.name.split("/")[0]
        if donor.content in hidden or owner in fold.validation:
            left_out.append(donor.name)
        else:
            found.setdefault(donor.content, donor)
    if not found:
        raise ConfigError(
            "there is no donor of lesions",
            remedy="name masks in augment.transplant.masks, or set augment.transplant to null",
        )
    return list(found.values()), left_out


def _truths(
    store: Store, indexes: Mapping[str, SubjectIndex], subjects: Sequence[str]
) -> list[Donor]:
    donors = []
    for subject in subjects:
        for timepoint in indexes[subject].lesions:
            truth = store.read("lesion_truth", subject=subject, timepoint=timepoint)[0, 0] > 0
            donors.append(donor_of(f"{subject}/{timepoint}", truth, store.grid(subject).matrix))
    return [donor for donor in donors if donor is not None]


def _looks(
    store: Store,
    indexes: Mapping[str, SubjectIndex],
    cases: Sequence[tuple[str, str]],
    channels: tuple[str, ...],
) -> Looks:
    picked = np.linspace(0, len(cases) - 1, min(len(cases), MOST_LOOKS)).round().astype(int)
    own: dict[str, LesionLook] = {}
    for subject, timepoint in (cases[i] for i in picked):
        scan = read_scan(store, subject, timepoint, channels)
        images = _normalized(scan, indexes[subject], channels)
        look = lesion_look(images, scan.truth, scan.brain, scan.grid.spacing_mm, channels)
        if look is not None:
            own[subject] = look
    return Looks(own, pooled(list(own.values())))


def _normalized(
    scan: Scan, index: SubjectIndex, channels: tuple[str, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    blank = np.zeros(scan.grid.shape, np.float32)
    return np.stack(
        [
            normalized(scan.images[c], scan.brain, index.scales[scan.timepoint, c])
            if c in scan.images
            else blank
            for c in channels
        ]
    )
