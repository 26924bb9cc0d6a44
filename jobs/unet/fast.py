"""How does the very same network run faster on a CPU?

Nothing is approximated: outputs agree with the plain network's to rounding (1e-5 in probability).
Measured on one core with the default network and a 64³ window, 62 ms plain in batches of 4 (and
173 ms in batches of 1, for which torch does not choose oneDNN) become 40 ms:

- convolutions go to oneDNN whatever torch's heuristic says of their size, in channels-last;
- instance norm works on channels-last and in place: torch's own copies to plain order and back, and
  at full resolution new memory costs more than what is done with it;
- PReLU with one slope works in place;
- a transposed convolution to a few channels is a convolution to eight times as many at the lower
  resolution, interleaved: torch's own is ten times slower than its arithmetic;
- so is the convolution to one channel with which the network ends (at 80³ voxels 48 ms become 19):
  oneDNN computes eight or sixteen channels at a time, whether somebody wants them or not.
"""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_CACHED = 1 << 18
"""Values that are normalized together: what is made of them on the way stays in a core's cache."""

_FEW = 4
"""Output channels up to which a transposed convolution is better done as `_Interleaved`."""

_SAME = (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1
"""Kernel, stride, padding, dilation and groups of a convolution that `_InEights` can do."""

_DOUBLING = (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), 1
"""The same of a transposed one that `_Interleaved` can do."""


def fast_on_cpu(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a network of `jobs.unet.network`, for inference alone.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; it is not changed.
    dtype : torch.dtype
        float32 or bfloat16. Input must have it, in channels-last order.

    Returns
    -------
    nn.Module
        Equal to `network` where this build of torch has no oneDNN.
    """
    copied: nn.Module = copy.deepcopy(network).eval().to(dtype)
    copied.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        _replace_within(copied)
    return copied.requires_grad_(False)


def _replace_within(module: nn.Module) -> None:
    for name, child in module.named_children():
        if (better := _better(child)) is not None:
            setattr(module, name, better)
        else:
            _replace_within(child)


def _better(child: nn.Module) -> nn.Module | None:
    if type(child) is nn.Conv3d and child.padding_mode == "zeros":
        ends = child.out_channels == 1 and _kind(child) == _SAME
        return _InEights(child.weight, child.bias) if ends else _Convolution(child)
    if type(child) is nn.ConvTranspose3d and child.out_channels == 1 and _kind(child) == _SAME:
        return _InEights(child.weight.flip(2, 3, 4).transpose(0, 1), child.bias)
    if type(child) is nn.ConvTranspose3d and _is_doubling(child) and child.out_channels <= _FEW:
        return _Interleaved(child)
    if type(child) is nn.InstanceNorm3d and not child.track_running_stats:
        return _InstanceNorm(child)
    if type(child) is nn.PReLU and child.num_parameters == 1:
        return nn.LeakyReLU(float(child.weight.detach()), inplace=True)
    return None


class _Convolution(nn.Module):
    def __init__(self, like: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = like.weight, like.bias
        self._how = (like.padding, like.stride, like.dilation, like.groups)

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x, self.weight, self.bias, *self._how)


class _InstanceNorm(nn.Module):
    """Statistics in two passes over channels-last memory, in place: a norm follows a convolution,
    whose result nobody else reads.

    Torch's batch norm, which could do it in one pass, sums so many values in a row in float32 that
    probabilities move by 2e-3.
    """

    def __init__(self, like: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = like.weight, like.bias, like.eps

    def forward(self, x: Tensor) -> Tensor:
        voxels = x.permute(0, 2, 3, 4, 1).flatten(1, 3)  # (batch, voxel, channel), no copy
        mean = voxels.mean(1, keepdim=True, dtype=torch.float32)
        parts = torch.split(voxels, max(1, _CACHED // voxels.shape[2]), dim=1)
        variance = sum(((part - mean).square_().sum(1, keepdim=True) for part in parts), 0 * mean)
        scale = torch.rsqrt(variance / voxels.shape[1] + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        for part in parts:
            torch.addcmul(shift, part, scale, out=part)
        return x


class _Interleaved(nn.Module):
    """A transposed convolution (kernel 3, stride 2) as eight convolutions with kernel 2.

    Along an axis, output 2i is tap 1 of input i; output 2i + 1 is tap 2 of input i plus tap 0 of
    input i + 1.
    """

    _TAPS = (((0, 1),), ((0, 2), (1, 0)))
    """For an even and an odd output: (input relative to i, tap)."""

    def __init__(self, like: nn.ConvTranspose3d) -> None:
        super().__init__()
        self.channels = like.out_channels
        kernel = like.weight.new_zeros((8, self.channels, like.in_channels, 2, 2, 2))
        with torch.no_grad():
            for parity, (a, b, c) in enumerate(product((0, 1), repeat=3)):
                for (i, p), (j, q), (k, r) in product(*(self._TAPS[n] for n in (a, b, c))):
                    kernel[parity, :, :, i, j, k] = like.weight[:, :, p, q, r].T
        weight = kernel.flatten(0, 1).contiguous(memory_format=torch.channels_last_3d)
        self.weight = nn.Parameter(weight)
        self.bias = None if like.bias is None else nn.Parameter(like.bias.detach().repeat(8))

    def forward(self, x: Tensor) -> Tensor:
        one = (1, 1, 1)
        y = _convolved(x, self.weight, self.bias, one, one, one, 1)[:, :, 1:, 1:, 1:]
        return _interleaved(y, self.channels)


class _InEights(nn.Module):
    """A convolution (kernel 3) to one channel as one with kernel 4 and stride 2 to eight.

    Of the window of 4 voxels an axis, the even output has the first 3 and the odd one the last 3.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        kernel = weight.new_zeros((8, weight.shape[1], 4, 4, 4))
        with torch.no_grad():
            for parity, (a, b, c) in enumerate(product((0, 1), repeat=3)):
                kernel[parity, :, a : a + 3, b : b + 3, c : c + 3] = weight[0]
        self.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last_3d))
        self.bias = None if bias is None else nn.Parameter(bias.detach().repeat(8))

    def forward(self, x: Tensor) -> Tensor:
        one, (d, h, w) = (1, 1, 1), x.shape[2:]
        if d % 2 or h % 2 or w % 2:  # one more zero at the far end than the padding has
            x = pad(x, (0, w % 2, 0, h % 2, 0, d % 2))
        y = _convolved(x, self.weight, self.bias, one, (2, 2, 2), one, 1)
        # A norm after this works in place, on dense memory alone.
        return _interleaved(y, 1)[:, :, :d, :h, :w].contiguous(memory_format=torch.channels_last_3d)


def _interleaved(y: Tensor, channels: int) -> Tensor:
    """(batch, 8 · channels, x, y, z) as (batch, channels, 2x, 2y, 2z), channels-last."""
    n, _, d, h, w = y.shape
    parts = torch.unflatten(y, 1, (2, 2, 2, channels)).permute(0, 5, 1, 6, 2, 7, 3, 4)
    return parts.reshape(n, 2 * d, 2 * h, 2 * w, channels).permute(0, 4, 1, 2, 3)


def _kind(child: nn.Conv3d | nn.ConvTranspose3d) -> tuple[object, ...]:
    return child.kernel_size, child.stride, child.padding, child.dilation, child.groups


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    return torch.mkldnn_convolution(x, weight, bias, *how)


def _is_doubling(child: nn.ConvTranspose3d) -> bool:
    return _kind(child) == _DOUBLING and child.output_padding == (1, 1, 1)
