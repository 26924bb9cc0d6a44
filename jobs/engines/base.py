"""What must a model offer so that lamstore can audit it?

An engine maps one subject's images at one timepoint to maps on the grid it was given. There are
two kinds: a `Segmenter` gives lesion probabilities and a mask, a `Localizer` a heatmap for each
level of the spine. Shifting, storing, uncertainty and metrics are the harness's. Engines are found
by the entry point group ``lamstore.engines``; each is a class built from its options in
study.yaml (`Engine.parse`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lamstore.errors import EngineError
from lamstore.grid import Grid


@dataclass(frozen=True)
class EngineInput:
    """One subject at one timepoint under one shift.

    Attributes
    ----------
    subject, timepoint, shift : str
        Labels of the store; shift is ``"none"`` for the images as acquired.
    images : mapping of modality (lower case: ``flair``, ``t1w``) to (x, y, z) float32 ndarray
    brainmask : (x, y, z) bool ndarray, never empty
        The whole field of view where the subject has none (a spine).
    grid : Grid
    """

    subject: str
    timepoint: str
    shift: str
    images: Mapping[str, NDArray[np.float32]]
    brainmask: NDArray[np.bool_]
    grid: Grid


@dataclass(frozen=True)
class Segmentation:
    """What a segmenter returns, on the input's grid.

    Attributes
    ----------
    probability : (member, x, y, z) float32 ndarray in [0, 1]
        One map a member, in the order of `Engine.members`; member axis of length 0 when the
        engine has no probabilities.
    mask : (x, y, z) bool ndarray
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Localization:
    """What a localizer returns.

    Attributes
    ----------
    heatmap : (member, level, x, y, z) float32 ndarray in [0, 1]
        On `grid`; members and levels in the order of the engine's.
    planes : (member, level, row, column) float32 ndarray in [0, 1], or None
        Of each level the network's own map of the slice that it is judged on: the one on which
        the mean over members peaks, or the only one that the network saw. Confidence and entropy
        are defined on these pixels (`jobs.heatmap_measures`). None: the harness cuts the slices
        out of `heatmap` and brings them onto the grid of the definition.
    grid : Grid or None
        The network's own, with the axes of the input's: measures are taken on it, and the store
        gets the maps on the input's. None: the input's grid.
    """

    heatmap: NDArray[np.float32]
    planes: NDArray[np.float32] | None = None
    grid: Grid | None = None


class Engine(ABC):
    """What both kinds of engine share: a fixed, pretrained (or classical) model.

    Derive from `Segmenter` or `Localizer`, not from this. Instances are cheap to build; `load`
    does the heavy work once per process. An engine is deterministic: the same input gives the same
    output, bit for bit, on one machine.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    """Raised whenever the output for the same input changes."""

    @classmethod
    @abstractmethod
    def parse(cls, options: Mapping[str, Any]) -> Engine:
        """Build from the options in study.yaml; unknown or invalid options raise ConfigError."""

    @property
    @abstractmethod
    def members(self) -> tuple[str, ...]:
        """Names of the ensemble's members; empty for a segmenter that gives a mask only."""

    @property
    @abstractmethod
    def required_modalities(self) -> tuple[str, ...]:
        """Modalities without which the engine cannot run."""

    @property
    def optional_modalities(self) -> tuple[str, ...]:
        """Modalities that are used where a subject has them."""
        return ()

    def require(self, inputs: EngineInput) -> None:
        """Check that the input has every required modality; engines call it first.

        Raises
        ------
        EngineError
            Naming the subject, the timepoint and what is missing.
        """
        missing = [m for m in self.required_modalities if m not in inputs.images]
        if missing:
            raise EngineError(
                f"Engine '{self.name}' cannot run on {inputs.subject} {inputs.timepoint}: "
                f"{', '.join(missing)} is missing.",
                got=", ".join(inputs.images) or "no image",
                expected=", ".join(self.required_modalities),
                remedy="add the modality to the dataset, or choose an engine that does without it",
            )

    @property
    def sees_shifts(self) -> bool:
        """Whether a shifted image changes the output (False for outputs computed elsewhere)."""
        return True

    @abstractmethod
    def digest(self) -> str:
        """Digest of everything that decides the output beside the input: options, weights.

        Raises
        ------
        MissingWeightsError, MissingContainerError
            When what the engine needs is not there.
        """

    def load(self) -> None:  # noqa: B027, most engines have nothing to load
        """Read weights, move to the device. Called once per process, before the first input."""


class Segmenter(Engine):
    """An engine that marks lesions."""

    @abstractmethod
    def segment(self, inputs: EngineInput) -> Segmentation:
        """Segment one subject at one timepoint.

        Raises
        ------
        EngineError
            When the input lacks a modality or the engine fails; the subject is recorded as failed.
        """


class Localizer(Engine):
    """An engine that says where each level of the spine is."""

    @property
    @abstractmethod
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, from the head down: ``l1_l2``, …, ``l5_s1``."""

    @property
    def normals(self) -> Mapping[str, NDArray[np.float64]]:
        """Measures of normal spines by column (`jobs.heatmap_normals`); empty: nobody knows."""
        return {}

    @abstractmethod
    def locate(self, inputs: EngineInput) -> Localization:
        """Heatmaps of one subject at one timepoint.

        Raises
        ------
        EngineError
            When the input lacks a modality or the engine fails; the subject is recorded as failed.
        """
