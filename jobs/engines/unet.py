"""Where does the residual 3D U-Net ensemble that this project trains see lesions?

Each weights file is one member. A member sees the subject on the grid on which it was trained,
normalized as in training, window by window over the brain (`jobs.unet`), and answers on the
subject's own grid. The mask is where the mean probability reaches the threshold, less small
components.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, field_validator

import jobs.unet
from jobs.engines.base import EngineInput, Segmentation, Segmenter
from jobs.engines.options import EngineOptions, digest_options, parse_options
from jobs.metrics.components import drop_small, min_voxels
from jobs.unet.normalize import VERSION
from jobs.unet.weights import Facts, load_network, read_facts, weights_digest
from lamstore.errors import ConfigError, EngineError, LamstoreError, MissingWeightsError

if TYPE_CHECKING:
    from jobs.unet.brain import How, Member, View

DEFAULT = Path(jobs.unet.__file__).parent / "default"
"""Where the ensemble lies that everybody gets."""

AXES = {"x": 0, "y": 1, "z": 2}


class UnetOptions(EngineOptions):
    """Options of `unet`.

    Attributes
    ----------
    weights : list of Path
        ``.safetensors`` files, one a member; the ensemble that comes with lamstore when empty.
    overlap : float
        Of neighbouring windows, as a share of their edges.
    scan : {"brain", "volume"}
        Lay the windows over the brain's bounding box, fitted to it: the field of view decides
        nothing, and it is three times as fast. Or over the whole image, where MONAI's sliding
        window lays them.
    window : three ints or None
        Edges of a window in voxels of the training grid, just so. When None what the weights say;
        with `scan` "brain" up to a sixth more or less, so that few and small windows suffice.
    flips : {"none", "mean", "members"}
        Look again at windows mirrored along each of `flip_axes`: not at all, averaged into the
        member, or as members of their own.
    flip_axes : tuple of {"x", "y", "z"}
        Towards right, front, top.
    threshold : float or None
        Mean probability from which a voxel is a lesion; the mean of what the weights files say
        when None.
    min_component_mm3 : float
        Smaller components (26-connected) are left out of the mask.
    precision : {"float32", "bfloat16", "float16"}
        Of the convolutions. bfloat16 takes three quarters of the time on a CPU that has it, and
        moves probabilities by some 0.02; float16 is for GPUs.
    device : {"auto", "cpu", "cuda"}
        ``auto``: a GPU where there is one.
    batch : int
        Windows at once; 0: 1 on a CPU, 8 on a GPU.
    """

    weights: tuple[Path, ...] = ()
    overlap: float = Field(default=0.25, ge=0, lt=1)
    scan: Literal["brain", "volume"] = "brain"
    window: tuple[int, int, int] | None = None
    flips: Literal["none", "mean", "members"] = "none"
    flip_axes: tuple[Literal["x", "y", "z"], ...] = Field(default=("x",), min_length=1)
    threshold: float | None = Field(default=None, gt=0, lt=1)
    min_component_mm3: NonNegativeFloat = 3.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = Field(default=0, ge=0)

    @field_validator("weights", mode="before")
    @classmethod
    def _one_or_many(cls, weights: object) -> object:
        return (weights,) if isinstance(weights, str | Path) else weights


class Unet(Segmenter):
    """An ensemble of residual 3D U-Nets."""

    name: ClassVar[str] = "unet"
    version: ClassVar[str] = "3"

    def __init__(self, options: UnetOptions) -> None:
        self.options = options
        self._loaded: list[Member] | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Unet:
        return cls(parse_options(UnetOptions, options, cls.name))

    @property
    def members(self) -> tuple[str, ...]:
        if self.options.flips != "members":
            return self._labels
        looks = ("", *(f"-{axis}" for axis in self.options.flip_axes))
        return tuple(label + look for label in self._labels for look in looks)

    @property
    def required_modalities(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m for facts in self.facts for m in facts.needed))

    @property
    def optional_modalities(self) -> tuple[str, ...]:
        every = dict.fromkeys(m for facts in self.facts for m in facts.network.channels)
        return tuple(m for m in every if m not in self.required_modalities)

    @property
    def threshold(self) -> float:
        """Mean probability from which a voxel is a lesion."""
        if self.options.threshold is not None:
            return self.options.threshold
        return sum(facts.threshold for facts in self.facts) / len(self.facts)

    def digest(self) -> str:
        """Digest of the weights' bytes, in order, and of the options that change the output.

        Where the files lie, the device and the batch do not enter.
        """
        neutral = {"weights": (), "device": "auto", "batch": 0}
        options = self.options.model_copy(update=neutral)
        return digest_options(self.name, self.version, options, weights_digest(self.paths))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The weights files, one a member; MissingWeightsError where there is none."""
        if self.options.weights:
            return self.options.weights
        found = tuple(sorted(DEFAULT.glob("*.safetensors")))
        if not found:
            raise MissingWeightsError(
                f"Engine '{self.name}' has no weights: this installation came without an ensemble.",
                expected=f"*.safetensors in {DEFAULT}, or the option weights",
                remedy="lam train train.yaml, then weights: [runs/…/best.safetensors]",
            )
        return found

    @cached_property
    def facts(self) -> tuple[Facts, ...]:
        """What each weights file says about itself.

        Raises
        ------
        MissingWeightsError, EngineError
            A file is not there, is none of lamstore's, or was trained on intensities that this
            version would normalize in another way.
        """
        found = tuple(read_facts(path) for path in self.paths)
        for path, facts in zip(self.paths, found, strict=True):
            if facts.normalization != VERSION:
                raise EngineError(
                    f"{path} was trained on other intensities than this version would give it.",
                    got=f"normalization {facts.normalization}",
                    expected=VERSION,
                    remedy="train it again, or use the version of lamstore that trained it",
                )
        return found

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        """File names, with the folder's where two files have the same."""
        many = Counter(path.stem for path in self.paths)
        labels = tuple(
            path.stem if many[path.stem] == 1 else f"{path.resolve().parent.name}-{path.stem}"
            for path in self.paths
        )
        if len(set(labels)) < len(labels):
            raise ConfigError(
                "two weights files have the same name, and so have their folders",
                got=", ".join(map(str, self.paths)),
                remedy="rename one; members are called after their files",
            )
        return labels

    def load(self) -> None:
        """Read the weights onto the device; EngineError where there is no such device."""
        from jobs.unet.brain import Member

        how, facts = self._how(), self.facts  # told apart from damage first
        self._check_window(facts)
        self._loaded = [Member(*load_network(path), how) for path in self.paths]

    def _check_window(self, facts: tuple[Facts, ...]) -> None:
        window = self.options.window
        for path, one in zip(self.paths, facts, strict=True):
            if window and any(edge < 1 or edge % one.network.divisor for edge in window):
                raise ConfigError(
                    f"windows of {window} voxels do not suit {path}",
                    expected=f"multiples of {one.network.divisor}",
                    remedy="correct the option window of engine 'unet'",
                )

    def _how(self) -> How:
        import torch

        from jobs.unet.brain import How

        options, cuda = self.options, torch.cuda.is_available()
        device = ("cuda" if cuda else "cpu") if options.device == "auto" else options.device
        if device == "cuda" and not cuda:
            raise EngineError(
                f"Engine '{self.name}' is to run on a GPU, and torch sees none here.",
                remedy="device: auto, or a node with a GPU (lam doctor)",
            )
        if device == "cpu" and options.precision == "float16":
            raise EngineError(
                f"Engine '{self.name}': float16 is for GPUs.", remedy="precision: bfloat16"
            )
        axes = tuple(AXES[a] for a in options.flip_axes) if options.flips != "none" else ()
        return How(
            overlap=options.overlap,
            scan=options.scan,
            flips=axes,
            window=options.window,
            batch=options.batch,
            precision=options.precision,
            device=device,
        )

    def segment(self, inputs: EngineInput) -> Segmentation:
        """Segment one timepoint.

        A brain of one single intensity is seen as zeros.

        Raises
        ------
        EngineError
            A required modality is missing; the brain mask is empty.
        VoxelError
            An image is not finite in the brain, or has no scale.
        """
        self.require(inputs)
        if self._loaded is None:
            self.load()
        try:
            looks = self._looks(inputs)
        except LamstoreError as error:
            error.add_note(f"subject {inputs.subject}, timepoint {inputs.timepoint}")
            raise
        probability = np.concatenate(looks)
        mean = probability.mean(axis=0)
        mask = (mean >= self.threshold) & inputs.brainmask
        least = min_voxels(self.options.min_component_mm3, inputs.grid.voxel_volume_mm3)
        return Segmentation(probability, drop_small(mask, least))

    def _looks(self, inputs: EngineInput) -> list[NDArray[np.float32]]:
        from jobs.unet.brain import view_of

        assert self._loaded is not None
        used = {*self.required_modalities, *self.optional_modalities}
        images = {m: image for m, image in inputs.images.items() if m in used}
        views: dict[object, View] = {}
        found = []
        for member in self._loaded:
            facts = member.facts
            window = self.options.window or (facts.tried_window, facts.network.divisor)
            key = (facts.spacing_mm, window)
            if key not in views:
                views[key] = view_of(images, inputs.brainmask, inputs.grid, facts, self._how())
            looks = member.probabilities(views[key])
            apart = self.options.flips == "members"
            found.append(looks if apart else looks.mean(axis=0, keepdims=True))
        return found
