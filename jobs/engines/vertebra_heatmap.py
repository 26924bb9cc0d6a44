"""Where does a 2D heatmap network see each lumbar level, and how sure is it?

Every member is a network (a file of weights) under one view of the series (as it is, zoomed, with
another gamma). Without options the networks are those that come with lamstore, trained on
generated spines only: see ``jobs/heatmaps/default/MODEL_CARD.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from jobs.engines.base import EngineInput, Localization, Localizer
from jobs.engines.options import EngineOptions, digest_options, parse_options
from jobs.heatmap_grid import divided
from jobs.heatmap_normals import Normals, read_normals
from jobs.heatmaps import LEVELS
from jobs.heatmaps.centroids import centroid_file, files_digest
from jobs.heatmaps.places import labelled
from jobs.heatmaps.sagittal import SagittalView, sagittal_view
from lamstore.config import digest
from lamstore.errors import EngineError, GridError, MissingWeightsError, VoxelError
from lamstore.grid import Grid

if TYPE_CHECKING:
    from jobs.heatmaps.inference import Found, Machine, Member

DEFAULT = Path(__file__).parent.parent / "heatmaps" / "default"
"""Folder of the weights that come with lamstore."""
NORMALS = "normals.json"
"""Beside weights: what they say of normal spines."""

ViewName = Literal["plain", "larger", "smaller", "brighter", "darker"]


class VertebraHeatmapOptions(EngineOptions):
    """Options of `vertebra-heatmap`.

    Attributes
    ----------
    weights : tuple of Path
        One network each: safetensors written by lamstore, or a checkpoint of the public
        ResNet-50-D localizer. Empty: those in `DEFAULT`.
    views : tuple of str
        How the series is shown to every network, see `jobs.heatmaps.inference.VIEWS`.
    slices : {"all", "middle"}
        ``middle`` repeats the prior system: the series scaled to 8 bit by its minimum and
        maximum, only its middle slice, 160 × 160.
    centroids : str or None
        Pattern of the centroid files of a segmentation tool (VerSe, SPINEPS) with ``{subject}``,
        ``*`` allowed: ``/data/derivatives/sub-{subject}/*_ctd.json``. With it the networks look at
        a patch around each level's centroid and nowhere else.
    modality : str
    device : str
        ``auto`` is ``cuda`` where there is one.
    precision : {"float32", "bfloat16", "float16"}
        Of the convolutions: bfloat16 is more than twice as fast where the processor has it.
    batch : int
        Slices at a time, at most. Decides speed and memory only, and so does `device`.
    """

    weights: tuple[Path, ...] = ()
    views: Annotated[tuple[ViewName, ...], Field(min_length=1)] = ("plain",)
    slices: Literal["all", "middle"] = "all"
    centroids: str | None = None
    modality: str = "t2w"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    batch: int = Field(default=16, ge=1)

    @field_validator("weights", "views")
    @classmethod
    def _distinct(cls, names: tuple[Any, ...]) -> tuple[Any, ...]:
        stems = [n.stem if isinstance(n, Path) else n for n in names]
        if len(set(stems)) != len(stems):
            raise ValueError(f"names must differ, got {stems}")
        return names

    @model_validator(mode="after")
    def _guided_alone(self) -> VertebraHeatmapOptions:
        if self.centroids is not None:
            if "{subject}" not in self.centroids:
                raise ValueError("centroids must hold {subject}")
            if self.slices == "middle" or any(v in self.views for v in ("larger", "smaller")):
                raise ValueError("centroids go with slices 'all' and views that do not zoom")
        return self


class VertebraHeatmap(Localizer):
    """2D heatmap U-Nets over the sagittal slices of a series."""

    name: ClassVar[str] = "vertebra-heatmap"
    version: ClassVar[str] = "3"

    def __init__(self, options: VertebraHeatmapOptions) -> None:
        self.options = options
        self._loaded: list[Member] | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> VertebraHeatmap:
        return cls(parse_options(VertebraHeatmapOptions, options, cls.name))

    @property
    def levels(self) -> tuple[str, ...]:
        return LEVELS

    @property
    def members(self) -> tuple[str, ...]:
        """``network`` or, with several views, ``network/view``; networks are named by their files.

        Raises
        ------
        MissingWeightsError
            When the weights that come with lamstore are not there.
        """
        names = [path.stem for path in self._files]
        if self.options.views == ("plain",):
            return tuple(names)
        return tuple(f"{name}/{view}" for name in names for view in self.options.views)

    @property
    def required_modalities(self) -> tuple[str, ...]:
        return (self.options.modality,)

    def digest(self) -> str:
        """Digest of the options that decide the output, of weights and of what is known of normals.

        With centroids also of name, size and modification time of their files. Where files lie
        does not enter: moved weights are the same weights.
        """
        neutral = VertebraHeatmapOptions.model_fields
        update = {k: neutral[k].default for k in ("weights", "device", "batch")}
        options = self.options.model_copy(update=update)
        known = digest({column: values.tolist() for column, values in self.normals.items()})
        found = [*self._digests.values(), known]
        if self.options.centroids is not None:
            options = options.model_copy(update={"centroids": ""})
            found.append(files_digest(self.options.centroids))
        return digest_options(self.name, self.version, options, *found)

    @cached_property
    def normals(self) -> Normals:
        """Of ``normals.json`` beside the weights, where it is of these weights and options."""
        folders = {path.parent for path in self._files}
        plain = VertebraHeatmapOptions(weights=self.options.weights)
        deciding = ("views", "slices", "centroids")
        if len(folders) > 1 or any(getattr(self.options, k) != getattr(plain, k) for k in deciding):
            return {}
        return read_normals(folders.pop() / NORMALS, self._digests)

    def load(self) -> None:
        """Read the networks, move them to the device.

        Raises
        ------
        MissingWeightsError
            A file is not there.
        EngineError
            A file is not such a network, or the device is not there.
        """
        import torch

        from jobs.heatmaps.inference import VIEWS, Member
        from jobs.heatmaps.packed import ready
        from jobs.heatmaps.weights import read_weights

        found = []
        for path in self._files:
            weights = read_weights(path)
            precision = getattr(torch, self._machine.precision)
            net = ready(weights.network(), self._machine.device, precision)
            views = [VIEWS[v] for v in self.options.views]
            found += [Member(net, weights.preparation, view) for view in views]
        self._loaded = found

    def locate(self, inputs: EngineInput) -> Localization:
        """Heatmaps of one series.

        Raises
        ------
        EngineError
            The image is missing, or `load` was not called.
        GridError
            The grid is not that of a sagittal series.
        VoxelError
            Values that are not finite.
        MissingInputError, UnreadableInputError
            A subject has no file of centroids, or more than one, or one that cannot be read. Of
            one that lies elsewhere than the series, GridError.
        """
        self.require(inputs)
        if self.options.centroids is not None:
            path = centroid_file(self.options.centroids, inputs.subject)
            return self.around(inputs, labelled(path, inputs.grid, inputs.subject).centres)
        view, stack = self._series(inputs)
        found = self._found(stack, view)
        return _localization(found, found.planes(), view, inputs.grid)

    def around(
        self, inputs: EngineInput, centres: Mapping[str, NDArray[np.float64]]
    ) -> Localization:
        """Heatmaps of one series around places, and nowhere else.

        Parameters
        ----------
        inputs : EngineInput
        centres : mapping of level to (3,) float64 ndarray
            Voxels. The map of a level without a place is 0.

        Raises
        ------
        EngineError, GridError, VoxelError
            As `locate`.
        """
        from jobs.heatmaps.guided import find_around

        self.require(inputs)
        view, stack = self._series(inputs)
        at = {k: view.index(v[None], inputs.grid.shape)[0] for k, v in centres.items()}
        guided = find_around(self._members, stack, view.spacing_mm[1:], at, self._machine)
        return _localization(guided.found, guided.planes, view, inputs.grid)

    def _series(self, inputs: EngineInput) -> tuple[SagittalView, NDArray[np.float32]]:
        image = inputs.images[self.options.modality]
        where = f"{inputs.subject} {inputs.timepoint} {self.options.modality}"
        # A sum is finite only where all values are; finite ones whose sum is not are rare.
        if not (np.isfinite(image.sum()) or np.isfinite(image).all()):
            raise VoxelError(
                f"{where} has values that are not finite",
                got=f"{int((~np.isfinite(image)).sum())} of {image.size} voxels",
                remedy="repair the image, or leave the subject out",
            )
        try:
            view = sagittal_view(inputs.grid)
        except GridError as error:
            what = f"{where}: {error.what}"
            raise GridError(
                what, got=error.got, expected=error.expected, remedy=error.remedy
            ) from error
        return view, view.stack(image)

    def _found(self, stack: NDArray[np.float32], view: SagittalView) -> Found:
        from jobs.heatmaps.inference import find_levels

        spacing_mm = view.spacing_mm[1:]
        return find_levels(self._members, stack, spacing_mm, self.options.slices, self._machine)

    @property
    def _members(self) -> list[Member]:
        if self._loaded is None:
            raise EngineError(f"engine '{self.name}' was not loaded", remedy="call load() first")
        return self._loaded

    @cached_property
    def _digests(self) -> dict[str, str]:
        from jobs.heatmaps.weights import weights_digest

        return {path.stem: weights_digest(path) for path in self._files}

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        files = self.options.weights or tuple(sorted(DEFAULT.glob("*.safetensors")))
        if not files:
            raise MissingWeightsError(
                f"engine '{self.name}' has no weights",
                got=f"no *.safetensors in {DEFAULT}",
                expected="those that come with lamstore",
                remedy="install lamstore again, name `weights` in study.yaml, or train them: "
                "lam train-localizer DIR",
            )
        return files

    @cached_property
    def _machine(self) -> Machine:
        import torch

        from jobs.heatmaps.inference import Machine

        device = self.options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(
                f"engine '{self.name}' is to run on {device}, and there is no GPU here",
                expected="a CUDA device that PyTorch can see",
                remedy="set device to auto or cpu, or ask the cluster for a GPU",
            )
        return Machine(device, self.options.precision, self.options.batch)


def _localization(
    found: Found, planes: NDArray[np.float32], view: SagittalView, grid: Grid
) -> Localization:
    """On the networks' pixels, with the axes of the image."""
    slices = grid.shape[view.axes[0]]
    heatmap = view.volume(found.stack(slices))
    x, y, z = heatmap.shape[-3:]
    return Localization(heatmap, planes, divided(grid, (x, y, z)))
