"""Which network is it? A residual 3D U-Net of MONAI, described by a value that weights can carry.

Without deep supervision: MONAI's `UNet` with residual units (Kerfoot et al. 2018), whose first
convolution already halves the resolution, which is what makes it fast on a CPU. With deep
supervision: MONAI's `DynUNet` (after nnU-Net, Isensee et al. 2021), which has heads at lower
resolutions and works at full resolution too, at about three times the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_HEADS = 2
"""Heads of a deeply supervised network beside the one at full resolution."""


class NetworkSpec(BaseModel):
    """Everything that decides a network's shape; its state dict fits exactly one such value.

    Attributes
    ----------
    channels : tuple of str
        Modalities in the order in which the network sees them. A channel that an image lacks is
        zeros, as modality dropout in training makes it.
    features : tuple of int
        Feature maps of each resolution, the highest first.
    strides : tuple of int
        Steps between neighbouring resolutions, one fewer than `features`.
    residual_units : int
        Convolutions of a residual unit of `UNet` (0: plain convolutions). `DynUNet` has two.
    norm : {"instance", "batch"}
    dropout : float
    deep_supervision : bool
        Take `DynUNet`, with heads at lower resolutions while training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[str, ...] = Field(default=("flair",), min_length=1)
    features: tuple[int, ...] = Field(default=(16, 32, 64, 128), min_length=2)
    strides: tuple[int, ...] = (2, 2, 2)
    residual_units: int = Field(default=2, ge=0)
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    deep_supervision: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSpec:
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels must be distinct, got {self.channels}")
        if len(self.strides) != len(self.features) - 1:
            raise ValueError(f"{len(self.features)} features need {len(self.features) - 1} strides")
        if min(self.features) < 1 or min(self.strides) < 1:
            raise ValueError("features and strides must be positive")
        return self

    @property
    def divisor(self) -> int:
        """Edges of every patch must be a multiple of this, or skip connections do not meet."""
        return prod(self.strides)

    @property
    def heads(self) -> int:
        """Outputs while training: 1 without deep supervision."""
        return 1 + min(MOST_HEADS, len(self.features) - 2) if self.deep_supervision else 1


def build_network(spec: NetworkSpec) -> nn.Module:
    """The network with fresh random weights (torch's generator), in float32 on the CPU.

    It maps (batch, channel, x, y, z) to logits (batch, 1, x, y, z); a deeply supervised one in
    training mode to (batch, head, 1, x, y, z), see `logits_of_heads`.
    """
    return _dyn_unet(spec) if spec.heads > 1 else _unet(spec)


def _unet(spec: NetworkSpec) -> nn.Module:
    from monai.networks.nets.unet import UNet

    net: nn.Module = UNet(
        spatial_dims=3,
        in_channels=len(spec.channels),
        out_channels=1,
        channels=spec.features,
        strides=spec.strides,
        num_res_units=spec.residual_units,
        norm=spec.norm,
        dropout=spec.dropout,
    )
    return net


def _dyn_unet(spec: NetworkSpec) -> nn.Module:
    from monai.networks.nets.dynunet import DynUNet

    net: nn.Module = DynUNet(
        spatial_dims=3,
        in_channels=len(spec.channels),
        out_channels=1,
        kernel_size=[3] * len(spec.features),
        strides=[1, *spec.strides],
        upsample_kernel_size=list(spec.strides),
        filters=list(spec.features),
        norm_name=(spec.norm, {"affine": True}),
        dropout=spec.dropout or None,
        deep_supervision=True,
        deep_supr_num=spec.heads - 1,
        res_block=True,
    )
    return net


def logits_of_heads(output: Tensor) -> Sequence[Tensor]:
    """Outputs of a network in training mode, finest first, all (batch, 1, x, y, z).

    Lower resolutions are interpolated to the full one by the network itself.
    """
    return output.unbind(dim=1) if output.ndim == 6 else (output,)
