"""Which network draws the heatmaps: a ResNet-D encoder under a U-Net decoder.

Parameters are named as in the public localizer of the RSNA 2024 lumbar challenge: the encoder as
timm's ``resnet50d`` (He et al., "Bag of tricks", 2019: a stem of three convolutions, average
pooling before the 1 × 1 convolution of a shortcut), the decoder as ``decoder.block.N.convM``. So a
public checkpoint loads by name, and the small networks that this project trains are of the same
family with fewer channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDE = 32
"""Rows and columns of an input must be multiples of this."""


@dataclass(frozen=True)
class Layout:
    """Every size of a network.

    Attributes
    ----------
    in_channels : int
        A slice of one channel is repeated to as many.
    stem : int
        Channels of the first convolution; the stem gives twice as many.
    widths, blocks : (4,) tuples of int
        Bottleneck channels and number of blocks of each stage.
    expansion : int
        Output of a stage is its width times this.
    decoder : tuple of int
        Channels of each block. With five, the last works on as many pixels as the slices have;
        with four, on a quarter, and logits are doubled linearly: the logarithm of a blurred mark
        is smooth enough, and the last block would cost the most.
    outputs : int
        Background and one channel a level.
    """

    in_channels: int = 3
    stem: int = 32
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    expansion: int = 4
    decoder: tuple[int, ...] = (256, 128, 64, 32, 16)
    outputs: int = 6

    @property
    def encoded(self) -> tuple[int, ...]:
        """Channels of the five feature maps of the encoder, finest first."""
        return (2 * self.stem, *(w * self.expansion for w in self.widths))

    @property
    def doublings(self) -> int:
        """Of the logits, in rows and columns."""
        return 5 - len(self.decoder)


PUBLIC = Layout()
"""The public checkpoint: ResNet-50-D."""

SMALL = Layout(
    in_channels=1,
    stem=8,
    widths=(16, 24, 48, 96),
    blocks=(2, 2, 2, 2),
    expansion=2,
    decoder=(64, 32, 16, 16),
)
"""What this project trains on a CPU."""


def _norm_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 (which strides), 1 × 1, around a shortcut."""

    def __init__(self, inputs: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        outputs = width * expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(2, stride) if stride > 1 else nn.Identity()
            conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.downsample = nn.Sequential(pool, conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return functional.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class Encoder(nn.Module):
    """ResNet-D without its classifier; average pooling stands in place of the max pool."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        stem, channels = layout.stem, 2 * layout.stem
        self.conv1 = nn.Sequential(
            _conv3(layout.in_channels, stem, 2),
            *_norm_relu(stem),
            _conv3(stem, stem),
            *_norm_relu(stem),
            _conv3(stem, channels),
        )
        self.bn1 = nn.BatchNorm2d(channels)
        for n, (width, blocks) in enumerate(zip(layout.widths, layout.blocks, strict=True), 1):
            stage = []
            for block in range(blocks):
                stride = 2 if n > 1 and block == 0 else 1
                stage.append(Bottleneck(channels, width, layout.expansion, stride))
                channels = width * layout.expansion
            self.add_module(f"layer{n}", nn.Sequential(*stage))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        found = [x]
        x = functional.avg_pool2d(x, 2)
        for n in range(1, 5):
            x = self.get_submodule(f"layer{n}")(x)
            found.append(x)
        return found


class DecoderBlock(nn.Module):
    """Double by nearest neighbour, join the skip, two convolutions."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.skip = skip
        self.conv1 = nn.Sequential(_conv3(inputs + skip, outputs), *_norm_relu(outputs))
        self.conv2 = nn.Sequential(_conv3(outputs, outputs), *_norm_relu(outputs))
        self.doubled: nn.ConvTranspose2d | None = None
        """For inference, with `conv1` for the skip alone: see `fold_norms`."""

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if self.doubled is not None and skip is not None:
            summed = self.doubled(x).add_(self.conv1(skip))
            done: Tensor = self.conv2(functional.relu(summed, inplace=True))
            return done
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        found: Tensor = self.conv2(self.conv1(x))
        return found


class Decoder(nn.Module):
    """Blocks up to the resolution of the maps; that of the input has no skip."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        *skips, deepest = layout.encoded
        inputs = (deepest, *layout.decoder[:-1])
        sizes = zip(inputs, [*reversed(skips), 0], layout.decoder, strict=False)
        self.block = nn.ModuleList(DecoderBlock(i, s, o) for i, s, o in sizes)

    def forward(self, encoded: list[Tensor]) -> Tensor:
        x = encoded[-1]
        for block, skip in zip(self.block, [*encoded[-2::-1], None], strict=False):
            x = block(x, skip)
        return x


RARE = 5.0
"""First bias of the background: nearly every pixel is background, and a network need not learn
that step by step."""


class HeatmapNet(nn.Module):
    """Slices in, one logit a pixel and channel out.

    ``mean`` and ``std`` (scalars, of intensities in [0, 1]) are part of the public checkpoint.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.encoder = Encoder(layout)
        self.decoder = Decoder(layout)
        self.logit = nn.Conv2d(layout.decoder[-1], layout.outputs, 1)
        self._start()

    def _start(self) -> None:
        """Initial values from which training begins well; loaded ones replace them."""
        nn.init.zeros_(self.logit.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.logit.bias[:1], RARE)  # type: ignore[index]
        for module in self.modules():
            if isinstance(module, Bottleneck):
                # Every block begins as its shortcut (Goyal et al. 2017).
                nn.init.zeros_(module.bn3.weight)

    def forward(self, slices: Tensor) -> Tensor:
        """(n, outputs, row, column) logits of slices (n, 1, row, column) in [0, 1].

        Rows and columns must be multiples of `STRIDE`.
        """
        x = ((slices - self.mean) / self.std).to(self.logit.weight.dtype)
        if self.layout.in_channels > 1:
            x = x.expand(-1, self.layout.in_channels, -1, -1)
        found: Tensor = self.logit(self.decoder(self.encoder(x)))
        if not self.training:
            # A softmax over channels that lie side by side takes four times as long.
            found = found.to(torch.float32, memory_format=torch.contiguous_format)
        if self.layout.doublings:
            scale = 2**self.layout.doublings
            found = functional.interpolate(found.float(), scale_factor=scale, mode="bilinear")
        return found


def fold_norms(net: nn.Module) -> None:
    """Fold every batch normalization into the convolution in front of it, for inference.

    The same function, to rounding, with half the passes over memory: 1.3 to 1.5 times as fast on a
    CPU. Normalizations become identities and convolutions gain a bias, so load parameters first.
    Decoder blocks with a skip then convolve while they double (`_split`).
    """
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential):
            for first, second in pairwise(dict(module.named_children())):
                _fold(module, first, module, second)
        elif isinstance(module, Bottleneck):
            for n in (1, 2, 3):
                _fold(module, f"conv{n}", module, f"bn{n}")
        elif isinstance(module, Encoder):
            # The stem's last convolution stands in a sequence, its normalization outside.
            last = list(dict(module.conv1.named_children()))[-1]
            _fold(module.conv1, last, module, "bn1")
    for module in net.modules():
        if isinstance(module, DecoderBlock):
            _split(module)


def lower(net: nn.Module, dtype: torch.dtype) -> None:
    """Convolve in another precision; what comes in and goes out stays float32."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(dtype)


def _fold(holder: nn.Module, conv: str, owner: nn.Module, norm: str) -> None:
    first, second = holder.get_submodule(conv), owner.get_submodule(norm)
    if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
        holder.add_module(conv, fuse_conv_bn_eval(first, second))
        owner.add_module(norm, nn.Identity())


def _split(block: DecoderBlock) -> None:
    """Convolve what is doubled and what is skipped apart, and sum.

    A 3 × 3 convolution of pixels doubled by nearest neighbour sees at most 2 × 2 different ones: it
    is a transposed convolution of 4 × 4 and stride 2, of 4 products a pixel instead of 9.
    """
    conv = block.conv1[0]
    if not isinstance(conv, nn.Conv2d) or not block.skip:
        return
    below = conv.in_channels - block.skip
    weight = conv.weight.detach()
    doubled = nn.ConvTranspose2d(below, conv.out_channels, 4, 2, 1, bias=False)
    kernel = torch.zeros_like(doubled.weight)
    for row, column, y, x in np.ndindex(2, 2, 3, 3):
        # Pixel (row, column) of a doubled one; its neighbour (y, x) is a copy of this one there.
        at = row - 2 * ((row + y - 1) // 2) + 1, column - 2 * ((column + x - 1) // 2) + 1
        kernel[:, :, at[0], at[1]] += weight[:, :below, y, x].T
    doubled.weight = nn.Parameter(kernel, requires_grad=False)
    skipped = nn.Conv2d(block.skip, conv.out_channels, 3, padding=1)
    skipped.weight = nn.Parameter(weight[:, below:].clone(), requires_grad=False)
    skipped.bias = conv.bias
    block.doubled, block.conv1 = doubled, nn.Sequential(skipped)
