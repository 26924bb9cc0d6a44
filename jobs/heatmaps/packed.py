"""How do networks run fastest on a CPU?

PyTorch brings a convolution's weights into the processor's order at every call, and each ReLU and
sum is a pass over memory of its own. Here weights are brought into that order once, and ReLU and
sum happen where a convolution writes its result: the operators of oneDNN that torch.compile would
choose, without its minutes. Where they are not, a network stays itself.

To start a convolution takes as long as most of these do, so networks of one layout go together:
their channels side by side, as many groups as networks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.heatmaps.network import DecoderBlock, HeatmapNet, lower

FEW = 16
"""Slices times networks that go through the finest layers together: what these make of them stays
in a core's own cache."""

_OPS: Any = torch.ops.mkldnn

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
    return bool(there and _OPS._is_mkldnn_bf16_supported())


def kind(net: Network) -> Hashable:
    """The same for networks that can go together."""
    return net.kind if isinstance(net, PackedNet) else id(net)


def answers(nets: Sequence[Network], slices: Tensor) -> Tensor:
    """(n, net, channel, row, column) logits of networks of one kind."""
    first, *others = nets
    if isinstance(first, PackedNet):
        return first.together(tuple(cast("list[PackedNet]", others)), slices)
    return torch.stack([net(slices) for net in nets], dim=1)


class PackedNet:
    """A folded `HeatmapNet` for inference on a CPU; logits stay on the decoder's pixels.

    Which order oneDNN wants depends on the number of threads, and from another it takes half as
    long again: the network is packed for the threads that a call has.
    """

    def __init__(self, net: HeatmapNet) -> None:
        self.net = net
        self.kind = net.layout, float(net.mean), float(net.std)
        self._packed = lru_cache(maxsize=1)(
            lambda others, _threads: _Packed([net, *(other.net for other in others)])
        )

    def __call__(self, slices: Tensor) -> Tensor:
        """float32 logits (n, outputs, row, column) of slices (n, 1, row, column) in [0, 1]."""
        return self.together((), slices)[:, 0]

    def together(self, others: tuple[PackedNet, ...], slices: Tensor) -> Tensor:
        """(n, net, outputs, row, column) of this network and others of its kind."""
        found: Tensor = self._packed(others, torch.get_num_threads())(slices)
        return found.view(len(found), 1 + len(others), -1, *found.shape[2:])


class _Packed:
    """Networks of one layout."""

    @torch.no_grad()
    def __init__(self, nets: Sequence[HeatmapNet]) -> None:
        layout = nets[0].layout
        self._channels, self._few = layout.in_channels, -(-FEW // len(nets))
        self._mean, self._std = nets[0].mean, nets[0].std
        stem = [n for n, m in enumerate(nets[0].encoder.conv1) if isinstance(m, nn.Conv2d)]
        self._stem = [_Convolution(nets, f"encoder.conv1.{n}", shared=n == 0) for n in stem]
        self._stages = [
            [_Block(nets, f"encoder.layer{stage}.{n}") for n in range(blocks)]
            for stage, blocks in enumerate(layout.blocks, 1)
        ]
        self._decoder = [
            _DecoderBlock(nets, f"decoder.block.{n}") for n in range(len(layout.decoder))
        ]
        self._logit = _Convolution(nets, "logit")

    def __call__(self, slices: Tensor) -> Tensor:
        """(n, net × outputs, row, column)."""
        x = (
            ((slices - self._mean) / self._std)
            .to(torch.bfloat16)
            .expand(-1, self._channels, -1, -1)
        )
        x = x.contiguous(memory_format=torch.channels_last)
        fine = [self._begin(few) for few in torch.split(x, self._few)]
        x = torch.cat([functional.avg_pool2d(few, 2) for few in fine])
        encoded = []
        for stage in self._stages:
            for block in stage:
                x = block(x)
            encoded.append(x)
        for doubling, skip in zip(self._decoder, encoded[2::-1], strict=False):
            x = doubling(x, skip)
        pairs = zip(torch.split(x, self._few), fine, strict=True)
        return torch.cat([self._end(few, skip) for few, skip in pairs])

    def _begin(self, x: Tensor) -> Tensor:
        for conv in self._stem:
            x = conv(x)
        return x

    def _end(self, x: Tensor, skip: Tensor) -> Tensor:
        for doubling, fine in zip(self._decoder[3:], (skip, None), strict=False):
            x = doubling(x, fine)
        return self._logit(x, "none").to(torch.float32, memory_format=torch.contiguous_format)


class _Convolution:
    """A convolution, or a transposed one, whose weights lie as oneDNN wants them.

    `shared`: every network is given the same channels.
    """

    def __init__(self, nets: Sequence[HeatmapNet], name: str, shared: bool = False) -> None:
        convs = [cast("nn.Conv2d", net.get_submodule(name)) for net in nets]
        weight = torch.cat([conv.weight for conv in convs])
        weight = weight.to(torch.bfloat16, memory_format=torch.channels_last)
        biases = [conv.bias for conv in convs if conv.bias is not None]
        self._bias = torch.cat(biases).to(torch.bfloat16) if biases else None
        self._run, order = _OPS._convolution_pointwise, _OPS._reorder_convolution_weight
        beyond = []
        if isinstance(convs[0], nn.ConvTranspose2d):
            self._run = _OPS._convolution_transpose_pointwise
            order = _OPS._reorder_convolution_transpose_weight
            beyond = [[0, 0]]
        padding, stride, groups = convs[0].padding, convs[0].stride, 1 if shared else len(nets)
        self._how: list[Any] = [[*padding], *beyond, [*stride], [1, 1], groups]
        self._weight = order(weight, *self._how)

    def __call__(self, x: Tensor, then: Literal["relu", "none"] = "relu") -> Tensor:
        done: Tensor = self._run(x, self._weight, self._bias, *self._how, then, [], "")
        return done

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """ReLU of `total` and what is convolved; overwrites `total`."""
        how = *self._how, "add", 1.0, "relu", [], ""
        done: Tensor = _OPS._convolution_pointwise_.binary(total, x, self._weight, self._bias, *how)
        return done


class _Block:
    """A `Bottleneck`."""

    def __init__(self, nets: Sequence[HeatmapNet], name: str) -> None:
        self._pool, self._shortcut = None, None
        if nets[0].get_submodule(name).downsample is not None:
            self._pool = nets[0].get_submodule(f"{name}.downsample.0")
            self._shortcut = _Convolution(nets, f"{name}.downsample.1")
        self._first, self._second, self._third = (
            _Convolution(nets, f"{name}.conv{n}") for n in (1, 2, 3)
        )

    def __call__(self, x: Tensor) -> Tensor:
        inner = self._second(self._first(x))
        if self._pool is not None and self._shortcut is not None:
            x = self._shortcut(self._pool(x), "none")
        # Nobody reads x again: a stage's result, which the decoder wants, goes to a block that has
        # a convolution in its shortcut.
        return self._third.onto(x, inner)


class _DecoderBlock:
    """A `DecoderBlock`."""

    def __init__(self, nets: Sequence[HeatmapNet], name: str) -> None:
        block = cast("DecoderBlock", nets[0].get_submodule(name))
        self._doubled = None if block.doubled is None else _Convolution(nets, f"{name}.doubled")
        self._first = _Convolution(nets, f"{name}.conv1.0")
        self._second = _Convolution(nets, f"{name}.conv2.0")

    def __call__(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if self._doubled is not None and skip is not None:
            return self._second(self._first.onto(self._doubled(x, "none"), skip))
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self._second(self._first(x))
