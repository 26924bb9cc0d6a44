"""What does a worker process keep at hand between units? The store, the engines, the last images.

Units reach a worker sorted by subject, so the images of one subject are read and decoded once for
all its shifts, and an engine's weights are loaded once per process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs import harmonize
from jobs.datasets.manifest import Manifest
from jobs.engines import load_engine
from jobs.engines.base import Engine
from jobs.shift import BASELINE, Shift, apply
from jobs.standard_scale import recipe, standard_scale
from lamstore.config import NO_HARMONIZATION, Variant
from lamstore.errors import ConfigError, MissingArrayError
from lamstore.store import Store
from lamstore.study import Study
from lamstore.units import NO_SHIFT

Images = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """What a unit gives to the ledger.

    Attributes
    ----------
    arrays : mapping of array path to checksum
        ``volume@t0`` names the timepoint where the unit spans several.
    result : mapping
        Scalars, JSON-like.
    """

    arrays: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)


class Workbench:
    """Everything a worker process holds open for one study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._engines: dict[str, Engine] = {}
        self._images: tuple[tuple[str, str], Images] | None = None
        self._brainmask: tuple[str, NDArray[np.bool_]] | None = None
        self._scales: dict[str, NDArray[np.float64]] = {}
        self._references: dict[tuple[str, ...], NDArray[np.float64]] = {}

    @cached_property
    def store(self) -> Store:
        """The study's cube, writable."""
        return Store(self.study.store_path, writable=True)

    @cached_property
    def manifest(self) -> Manifest:
        """The checked cohort, as the planner left it."""
        return Manifest.read(self.study.path / "cohort.json")

    def engine(self, name: str) -> Engine:
        """Engine of a group of the store, its weights loaded."""
        # The same for all its harmonizations: weights are loaded once.
        shared = configured_variant(self.study, name).engine.name
        if shared not in self._engines:
            self._engines[shared] = engine = configured_engine(self.study, name)
            engine.load()
        return self._engines[shared]

    def brainmask(self, subject: str) -> NDArray[np.bool_]:
        """(x, y, z) bool; the whole field of view of a subject without a brain (a spine).

        So shifts and harmonizations of a spine go by the percentiles of all its voxels.
        """
        if self._brainmask is None or self._brainmask[0] != subject:
            if self.manifest.entry(subject).check.has_brainmask:
                mask = self.store.read("brainmask", subject=subject)[0].astype(bool)
            else:
                mask = np.ones(self.store.grid(subject).shape, bool)
            self._brainmask = subject, mask
        return self._brainmask[1]

    def images(self, subject: str, timepoint: str) -> Images:
        """Stored volumes of one timepoint by modality, float32; only those that there are."""
        if self._images is None or self._images[0] != (subject, timepoint):
            block = self.store.read("volume", subject=subject, timepoint=timepoint)[0, 0]
            has = self.store.available(subject)
            modalities = self.store.labels("modality")
            images = {
                modality: np.ascontiguousarray(volume, dtype=np.float32)
                for modality, volume in zip(modalities, block, strict=True)
                if (timepoint, modality) in has
            }
            self._images = (subject, timepoint), images
        return self._images[1]

    def shifted(self, subject: str, timepoint: str, label: str, modalities: set[str]) -> Images:
        """`images` of some modalities under a shift; computed, not stored."""
        shift, brain = Shift.parse(label), self.brainmask(subject)
        spacing_mm = self.store.grid(subject).spacing_mm
        single = len({t for t, _ in self.store.available(subject)}) == 1
        return {
            modality: apply(
                shift,
                image,
                brain,
                spacing_mm,
                subject,
                timepoint,
                modality,
                cross_sectional=single,
            )
            for modality, image in self.images(subject, timepoint).items()
            if modality in modalities
        }

    def prepared(
        self, variant: str, subject: str, timepoint: str, label: str, modalities: set[str]
    ) -> Images:
        """What a variant's engine sees: `shifted` images behind the variant's harmonization.

        The shift is the scanner, the harmonization the defence: it comes second.

        Raises
        ------
        MissingArrayError
            When the harmonization is relative and the subject has no such baseline image.
        """
        images = self.shifted(subject, timepoint, label, modalities)
        method = configured_variant(self.study, variant).harmonization
        if method == NO_HARMONIZATION:
            return images
        if method in harmonize.RELATIVE:
            if timepoint == BASELINE and len({t for t, _ in self.store.available(subject)}) > 1:
                return images
            at = {m: (method, subject, _baseline_label(label), m) for m in images}
            references = {m: self._reference(*key) for m, key in at.items()}
        else:
            references = {m: self._scale(m) for m in images}
        brain = self.brainmask(subject)
        return {m: _harmonized(method, i, brain, references[m]) for m, i in images.items()}

    def _reference(self, method: str, subject: str, label: str, modality: str) -> Any:
        """Percentiles of the baseline that a relative harmonization aims at; kept by subject."""
        key = (method, subject, label, modality)
        if key not in self._references:
            has = self.store.available(subject)
            if (BASELINE, modality) not in has or len({t for t, _ in has}) == 1:
                raise MissingArrayError(
                    f"harmonization {method!r} needs a baseline {modality} of {subject}",
                    got=", ".join(sorted(f"{t} {m}" for t, m in has)),
                    expected=f"{BASELINE} {modality} and a follow-up",
                    remedy="use harmonization nyul, which needs none, or leave the subject out",
                )
            self._references = {k: v for k, v in self._references.items() if k[1] == subject}
            # The other timepoint's images stay at hand: they are wanted again for the next shift.
            kept = self._images
            image = self.shifted(subject, BASELINE, label, {modality})[modality]
            self._images = kept
            percentiles = _percentiles(method)
            brain = self.brainmask(subject)
            self._references[key] = harmonize.brain_percentiles(image, brain, percentiles)
        return self._references[key]

    def _scale(self, modality: str) -> NDArray[np.float64]:
        if modality not in self._scales:
            found = standard_scale(self.study, self.manifest, self.store, modality)
            self._scales[modality] = found
        return self._scales[modality]

    def forget(self) -> None:
        """Drop everything that a newer plan may have changed (labels, the cohort)."""
        self._scales.clear()
        for name in ("store", "manifest"):
            self.__dict__.pop(name, None)


def _baseline_label(label: str) -> str:
    return label if Shift.parse(label).applies_to(BASELINE) else NO_SHIFT


def _percentiles(method: str) -> NDArray[np.float64]:
    every = {"median": np.array([50.0]), "histogram": harmonize.QUANTILES}
    return every.get(method, harmonize.LANDMARKS)


def _harmonized(
    method: str,
    image: NDArray[np.float32],
    brain: NDArray[np.bool_],
    reference: NDArray[np.float64],
) -> NDArray[np.float32]:
    own = harmonize.brain_percentiles(image, brain, _percentiles(method))
    if method == "median":
        mapping = harmonize.median_map(float(own[0]), float(reference[0]))
    elif method == "histogram":
        mapping = harmonize.histogram_map(own, reference)
    else:
        mapping = harmonize.nyul_map(own, reference)
    return harmonize.remap(image, brain, mapping)


def harmonization_record(study: Study, manifest: Manifest, method: str) -> dict[str, str]:
    """Everything that decides what a harmonization does; empty for none."""
    if method == NO_HARMONIZATION:
        return {}
    record = {"harmonization": method, "version": harmonize.VERSION}
    return record | ({"recipe": recipe(study, manifest).digest} if method == "nyul" else {})


def configured_variant(study: Study, name: str) -> Variant:
    """What study.yaml has under this name of a group of the store.

    Raises
    ------
    ConfigError
        When study.yaml has none of this name.
    """
    for variant in study.config.variants:
        if variant.name == name:
            return variant
    raise ConfigError(f"study.yaml configures no engine {name!r}")


def configured_engine(study: Study, name: str) -> Engine:
    """The engine of a variant, not loaded; ConfigError when study.yaml has none of this name."""
    config = configured_variant(study, name).engine
    return load_engine(config.engine, config.options)


def audited_engines(study: Study) -> dict[str, Engine]:
    """The engines of all variants by the names of their groups, not loaded.

    An engine that reads no image (`precomputed`) has nothing to harmonize: it stands alone.
    """
    found = [(v, configured_engine(study, v.name)) for v in study.config.variants]
    return {
        variant.name: engine
        for variant, engine in found
        if variant.harmonization == NO_HARMONIZATION
        or engine.required_modalities
        or engine.optional_modalities
    }
