"""What decides a trained model? All that `train.yaml` may say; an unknown key is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from jobs.unet.network import NetworkSpec

Share = Annotated[float, Field(ge=0, le=1)]
Spacing = tuple[float, float, float]
Edges = tuple[int, int, int]


def _named(value: object) -> object:
    """``loss: tversky`` is short for ``loss: {name: tversky}``."""
    return {"name": value} if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(_Section):
    """Who validates; everybody else of the study who has a truth trains."""

    rule: Literal["kfold", "leave_one_out", "hold_out", "subjects", "file", "all"] = "kfold"
    """``all`` trains on everybody and validates on nobody."""
    folds: int = Field(default=5, ge=2)
    fold: int = Field(default=0, ge=0)
    """Which fold validates (``kfold``, ``leave_one_out``, ``file``)."""
    share: float = Field(default=0.2, gt=0, lt=1)
    """For ``hold_out``: so many of the subjects validate."""
    validation: tuple[str, ...] = ()
    """For ``subjects``: these validate."""
    subjects: tuple[str, ...] | None = None
    """Leave out everybody else."""
    file: Path | None = None
    """For ``file``: a splits file that an earlier run wrote."""
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> SplitConfig:
        if self.rule == "file" and self.file is None:
            raise ValueError("rule 'file' needs file:")
        if self.rule == "subjects" and not self.validation:
            raise ValueError("rule 'subjects' needs validation: [subject, …]")
        if self.rule == "kfold" and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: folds count from 0")
        return self


class LossConfig(_Section):
    """What is minimized. `alpha` weighs false positives, `beta` false negatives."""

    name: Literal["dice_bce", "tversky", "focal_tversky"] = "dice_bce"
    alpha: float = Field(default=0.3, ge=0)
    beta: float = Field(default=0.7, ge=0)
    gamma: float = Field(default=4 / 3, gt=0)
    """Of the focal Tversky loss, (1 − TI)^(1/γ) (Abraham and Khan 2019)."""
    bce_weight: float = Field(default=1.0, ge=0)
    """Of the cross-entropy beside Dice."""
    batch_dice: bool = True
    """Overlap counted over the batch: a patch without lesions then weighs nothing by itself."""
    supervision_decay: float = Field(default=0.5, gt=0, le=1)
    """With deep supervision: weight of each coarser output relative to the one before."""


class OptimizerConfig(_Section):
    """AdamW or SGD with Nesterov momentum."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)


class ScheduleConfig(_Section):
    """How the learning rate moves, after a linear warmup."""

    name: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup: Share = 0.07
    """Of all steps, in which the rate rises."""
    end: Share = 0.0
    """Last learning rate of ``cosine`` and least one of ``plateau``, as a share of the first."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=5, ge=0)
    """``plateau``: validations without a better Dice before the rate is multiplied by `factor`."""


class TransplantConfig(_Section):
    """Real lesion masks placed into normal-appearing tissue of a training patch."""

    share: Share = 0.35
    """Of patches that get lesions."""
    masks: tuple[str, ...] = ()
    """Globs of NIfTI masks; lesions of the training subjects themselves are always used."""
    common_space: bool = False
    """Subjects and masks lie in one space (MNI): a lesion may then keep its own place."""
    keep_place: Share = 0.7
    """Share of transplants, in a common space, that keep their place, jittered and mirrored."""
    jitter_mm: float = Field(default=3.0, ge=0)
    most: int = Field(default=12, ge=1)
    """Lesions moved elsewhere, at most, in one patch."""
    strength: tuple[float, float] = (0.5, 1.3)
    """Contrast, as a multiple of one that a training subject's own lesion has."""
    edge_mm: float = Field(default=0.7, ge=0)
    """σ of the soft edge."""
    texture: float = Field(default=0.25, ge=0)
    """Relative variation of contrast within a lesion."""


class AugmentConfig(_Section):
    """Probability and strength of everything that is done to a training patch."""

    margin: int = Field(default=16, ge=0)
    """Voxels that are read beyond the patch, so that turning it drags in no edge."""
    flip: Share = 0.5
    """For each of the axes in `flip_axes`."""
    flip_axes: tuple[Literal["x", "y", "z"], ...] = ("x",)
    """Only left and right by default: no head stands on its top or looks backwards."""
    affine: Share = 0.3
    rotate_deg: float = Field(default=15.0, ge=0)
    scale: float = Field(default=0.15, ge=0, lt=1)
    elastic_mm: float = Field(default=2.0, ge=0)
    """Standard deviation of smooth displacements, applied together with the affine."""
    other_scanner: Share = 1.0
    """Of patches whose intensities may change at all; the others stay as scanned. Below 1 a model
    also fits the scanner that it was trained on."""
    curve: Share = 0.5
    """A random monotone curve of intensity through `curve_knots` points."""
    curve_knots: int = Field(default=6, ge=2)
    curve_slope: tuple[float, float] = (0.6, 1.6)
    tissue_contrast: Share = 0.4
    """Brightens or dims grey matter on FLAIR against white matter, where T1W tells them apart."""
    tissue_contrast_by: tuple[float, float] = (-0.5, 0.8)
    """As a multiple of the contrast of the subject's lesions."""
    gain: Share = 0.3
    gain_by: float = Field(default=0.15, ge=0)
    offset_by: float = Field(default=0.15, ge=0)
    gamma: Share = 0.3
    gamma_range: tuple[float, float] = (0.7, 1.5)
    bias_field: Share = 0.2
    bias_strength: float = Field(default=0.2, ge=0)
    noise: Share = 0.2
    noise_std: float = Field(default=0.15, ge=0)
    low_resolution: Share = 0.15
    low_resolution_zoom: tuple[float, float] = (0.4, 1.0)
    thick_slices: Share = 0.3
    """Slices averaged along one of `slice_axes`, as a two-dimensional acquisition does."""
    slice_axes: tuple[Literal["x", "y", "z"], ...] = Field(default=("z",), min_length=1)
    slice_mm: tuple[float, float] = (2.0, 5.0)
    shift_suite: Share = 0.2
    """One shift of suite ``shift_v1`` at a random level."""
    modality_dropout: Share = 0.2
    """Each optional channel is blanked with this probability, never all of them."""
    transplant: TransplantConfig | None = TransplantConfig()


class NetworkConfig(_Section):
    """Residual 3D U-Net; see `jobs.unet.network.NetworkSpec`, which is this and the channels."""

    features: tuple[int, ...] = (16, 32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    residual_units: int = Field(default=2, ge=0)
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    deep_supervision: bool = False


class TrainConfig(_Section):
    """The whole of train.yaml."""

    name: str = Field(default="member", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    """Name of the run's folder and of the member in an ensemble."""
    study: Path
    runs: Path = Path("runs")
    """Where the run's folder is made."""
    channels: tuple[str, ...] = ("flair",)
    """Modalities, in the order in which the network sees them."""
    required: tuple[str, ...] = ()
    """Channels without which a subject is left out; the first alone when empty."""
    spacing_mm: Spacing = (1.0, 1.0, 1.0)
    patch: Edges = (64, 64, 64)
    window: Edges | None = None
    """Of inference, in validation and in the engine; the patch's when None. A larger one than the
    patch sees more context, and fewer edges."""
    batch: int = Field(default=2, ge=1)
    lesion_share: Share = 0.65
    """Of patches that are centred on a lesion; the others anywhere in the brain."""
    lesion_alpha: float = Field(default=0.0, ge=0, le=1)
    """Lesions are drawn by volume to this power: 0, each alike; 1, by voxel."""
    jitter: float = Field(default=0.3, ge=0, le=0.5)
    """How far a centre moves, as a share of the patch's edge."""
    steps_per_epoch: int = Field(default=100, ge=1)
    epochs: int = Field(default=30, ge=1)
    split: SplitConfig = SplitConfig()
    network: NetworkConfig = NetworkConfig()
    initial: Path | None = None
    """Weights of an earlier run to begin from; their network must be this one, but for its
    channels. Without: drawn from the seed."""
    prior: float = Field(default=0.02, gt=0, lt=1)
    """Probability that an untrained network gives: where lesions are few it otherwise stays for a
    thousand steps on the plateau of saying nothing anywhere."""
    loss: Annotated[LossConfig, BeforeValidator(_named)] = LossConfig()
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_named)] = OptimizerConfig()
    schedule: Annotated[ScheduleConfig, BeforeValidator(_named)] = ScheduleConfig()
    grad_clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the averaged weights, which are validated and kept; 0 turns averaging off."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Of the forward pass. ``auto``: bf16 where the processor has it, otherwise fp16 on a GPU and
    float32 on a CPU. Weights, their average and the loss are float32 in any case."""
    channels_last: bool = True
    """Memory format of the network; on a CPU a step takes 13 to 30 % less."""
    compile: bool = False
    augment: AugmentConfig | None = AugmentConfig()
    validate_every: int = Field(default=5, ge=1)
    """Epochs; the last epoch is always validated."""
    overlap: float = Field(default=0.25, ge=0, lt=1)
    """Of the sliding windows in validation."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    """Validations without a better Dice after which training ends; None: never."""
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=0)
    """Processes that prepare patches; decides no result."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _channels_known(self) -> TrainConfig:
        if len(set(self.channels)) != len(self.channels) or not self.channels:
            raise ValueError(f"channels must be one or more distinct modalities: {self.channels}")
        if strange := set(self.required) - set(self.channels):
            raise ValueError(f"required names no channel: {sorted(strange)}")
        for name, edges in (("patch", self.patch), ("window", self.window or self.patch)):
            if any(edge < 1 or edge % self.spec.divisor for edge in edges):
                raise ValueError(f"{name} {edges} must be multiples of {self.spec.divisor}")
        return self

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def spec(self) -> NetworkSpec:
        """The network with its channels."""
        return NetworkSpec(channels=self.channels, **self.network.model_dump())

    @property
    def needed(self) -> tuple[str, ...]:
        """Channels that every subject must have; they are never dropped."""
        return self.required or self.channels[:1]
