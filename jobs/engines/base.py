"""What must a model offer so that lamstore can audit it?

An engine maps one subject's images at one timepoint to lesion probabilities and a mask, on the
grid it was given. Shifting, storing, uncertainty and metrics are the harness's. Engines are found
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
    """What an engine returns, on the input's grid.

    Attributes
    ----------
    probability : (member, x, y, z) float32 ndarray in [0, 1]
        One map a member, in the order of `Engine.members`; member axis of length 0 when the
        engine has no probabilities.
    mask : (x, y, z) bool ndarray
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]


class Engine(ABC):
    """A fixed, pretrained (or classical) lesion segmenter.

    Instances are cheap to build; `load` does the heavy work once per process. `segment` is
    deterministic: the same input gives the same output, bit for bit, on one machine.
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
        """Names of the ensemble's members; empty for an engine that gives a mask only."""

    @property
    @abstractmethod
    def required_modalities(self) -> tuple[str, ...]:
        """Modalities without which `segment` cannot run."""

    @property
    def optional_modalities(self) -> tuple[str, ...]:
        """Modalities that are used where a subject has them."""
        return ()

    def require(self, inputs: EngineInput) -> None:
        """Check that the input has every required modality; engines call it first in `segment`.

        Raises
        ------
        EngineError
            Naming the subject, the timepoint and what is missing.
        """
        missing = [m for m in self.required_modalities if m not in inputs.images]
        if missing:
            raise EngineError(
                f"Engine '{self.name}' cannot segment {inputs.subject} {inputs.timepoint}: "
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
        """Read weights, move to the device. Called once per process, before `segment`."""

    @abstractmethod
    def segment(self, inputs: EngineInput) -> Segmentation:
        """Segment one subject at one timepoint.

        Raises
        ------
        EngineError
            When the input lacks a modality or the engine fails; the subject is recorded as failed.
        """
