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

from jobs.datasets.manifest import Manifest
from jobs.engines import load_engine
from jobs.engines.base import Engine
from jobs.shift import Shift, apply
from lamstore.errors import ConfigError
from lamstore.store import Store
from lamstore.study import Study

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
        if name not in self._engines:
            self._engines[name] = engine = configured_engine(self.study, name)
            engine.load()
        return self._engines[name]

    def brainmask(self, subject: str) -> NDArray[np.bool_]:
        """(x, y, z) bool."""
        if self._brainmask is None or self._brainmask[0] != subject:
            mask = self.store.read("brainmask", subject=subject)[0].astype(bool)
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

    def forget(self) -> None:
        """Drop everything that a newer plan may have changed (labels, the cohort)."""
        for name in ("store", "manifest"):
            self.__dict__.pop(name, None)


def configured_engine(study: Study, name: str) -> Engine:
    """The engine that study.yaml configures under this name, not loaded.

    Raises
    ------
    ConfigError
        When study.yaml has none of this name.
    """
    for config in study.config.engines:
        if config.name == name:
            return load_engine(config.engine, config.options)
    raise ConfigError(f"study.yaml configures no engine {name!r}")
