"""How does a network run fastest on a CPU?

PyTorch brings a convolution's weights into the processor's order at every call, and each ReLU and
sum is a pass over memory of its own. Here weights are brought into that order once, and ReLU and
sum happen where a convolution writes its result: the operators of oneDNN that torch.compile would
choose, without its minutes. Where they are not, the network stays itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.heatmaps.network import Bottleneck, DecoderBlock, HeatmapNet, lower

Network = Callable[[Tensor], Tensor]
"""Slices (n, 1, row, column) to logits (n, channel, row, column), on as many pixels or on a whole
fraction of them."""


def ready(net: HeatmapNet, device: str, dtype: torch.dtype) -> Network:
    """A folded network (`jobs.heatmaps.network.fold_norms`) on its device and in its precision.

    Packed in bfloat16 only: float32 weights have no one order that suits slices of every size.
    """
    if device == "cpu" and dtype == torch.bfloat16 and _has_bfloat16():
        return PackedNet(net)
    net = net.to(device)
    lower(net, dtype)
    return net


def _has_bfloat16() -> bool:
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PackedNet:
    """A folded `HeatmapNet` for inference on a CPU; logits stay on the decoder's pixels.

    Which order oneDNN wants depends on the number of threads, and from another it takes half as
    long again: the network is packed for the threads that a call has.
    """

    def __init__(self, net: HeatmapNet) -> None:
        self._packed = lru_cache(maxsize=1)(lambda _threads: _Packed(net))

    def __call__(self, slices: Tensor) -> Tensor:
        """float32 logits (n, outputs, row, column) of slices (n, 1, row, column) in [0, 1]."""
        found: Tensor = self._packed(torch.get_num_threads())(slices)
        return found


class _Packed:
    """A `HeatmapNet`."""

    @torch.no_grad()
    def __init__(self, net: HeatmapNet) -> None:
        self._channels = net.layout.in_channels
        self._mean, self._std = net.mean, net.std
        stem = [module for module in net.encoder.conv1 if isinstance(module, nn.Conv2d)]
        self._stem = [_Convolution(conv) for conv in stem]
        stages = [net.encoder.get_submodule(f"layer{n}") for n in range(1, 5)]
        self._stages = [[_Block(b) for b in stage.children()] for stage in stages]
        self._decoder = [_DecoderBlock(block) for block in net.decoder.block]
        self._logit = _Convolution(net.logit)

    def __call__(self, slices: Tensor) -> Tensor:
        x = (
            ((slices - self._mean) / self._std)
            .to(torch.bfloat16)
            .expand(-1, self._channels, -1, -1)
        )
        x = x.contiguous(memory_format=torch.channels_last)
        for conv in self._stem:
            x = conv(x)
        encoded = [x]
        x = functional.avg_pool2d(x, 2)
        for stage in self._stages:
            for block in stage:
                x = block(x)
            encoded.append(x)
        for doubling, skip in zip(self._decoder, [*encoded[-2::-1], None], strict=False):
            x = doubling(x, skip)
        return self._logit(x, "none").to(torch.float32, memory_format=torch.contiguous_format)


class _Convolution:
    """A convolution, or a transposed one, whose weights lie as oneDNN wants them."""

    def __init__(self, conv: nn.Module) -> None:
        assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
        ops = torch.ops.mkldnn
        self._bias = None if conv.bias is None else conv.bias.to(torch.bfloat16)
        weight = conv.weight.to(torch.bfloat16, memory_format=torch.channels_last)
        self._how: tuple[list[int] | int, ...]
        if isinstance(conv, nn.ConvTranspose2d):
            self._how = [*conv.padding], [0, 0], [*conv.stride], [1, 1], 1
            self._weight = ops._reorder_convolution_transpose_weight(weight, *self._how)
            self._run = ops._convolution_transpose_pointwise
        else:
            self._how = [*conv.padding], [*conv.stride], [1, 1], 1
            self._weight = ops._reorder_convolution_weight(weight, *self._how)
            self._run = ops._convolution_pointwise

    def __call__(self, x: Tensor, then: Literal["relu", "none"] = "relu") -> Tensor:
        done: Tensor = self._run(x, self._weight, self._bias, *self._how, then, [], "")
        return done

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """ReLU of `total` and what is convolved; overwrites `total`."""
        run = torch.ops.mkldnn._convolution_pointwise_.binary
        how = (*self._how, "add", 1.0, "relu", [], "")
        done: Tensor = run(total, x, self._weight, self._bias, *how)
        return done


class _Block:
    """A `Bottleneck`."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, Bottleneck)
        self._pool, self._shortcut = None, None
        if block.downsample is not None:
            self._pool, conv, _ = block.downsample.children()
            self._shortcut = _Convolution(conv)
        convs = block.conv1, block.conv2, block.conv3
        self._first, self._second, self._third = (_Convolution(conv) for conv in convs)

    def __call__(self, x: Tensor) -> Tensor:
        inner = self._second(self._first(x))
        if self._pool is not None and self._shortcut is not None:
            x = self._shortcut(self._pool(x), "none")
        # Nobody reads x again: a stage's result, which the decoder wants, goes to a block that has
        # a convolution in its shortcut.
        return self._third.onto(x, inner)


class _DecoderBlock:
    """A `DecoderBlock`."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, DecoderBlock)
        self._doubled = None if block.doubled is None else _Convolution(block.doubled)
        first, second = (next(seq.children()) for seq in (block.conv1, block.conv2))
        self._first, self._second = _Convolution(first), _Convolution(second)

    def __call__(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if self._doubled is not None and skip is not None:
            return self._second(self._first.onto(self._doubled(x, "none"), skip))
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self._second(self._first(x))
