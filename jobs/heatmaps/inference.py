"""What do networks say of a series of sagittal slices?

Every slice goes through every network once, in batches: the series is brought to the spacing of
the training once, the networks work on that grid, and there their maps stay (`jobs.heatmap_grid`
brings them onto the subject's). ``middle`` repeats the prior system: the series scaled to 8 bit by
its minimum and maximum, its middle slice resized to 160 × 160.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jobs.heatmap_grid import FAINT
from jobs.heatmaps import LEVELS
from jobs.heatmaps.network import STRIDE
from jobs.heatmaps.packed import Network, answers, kind
from jobs.heatmaps.weights import PUBLIC_PREPARATION, Preparation

Precision = Literal["float32", "bfloat16", "float16"]
SAMPLES = 1 << 18
"""Pixels that decide the percentiles of a series; more change the third digit."""


@dataclass(frozen=True)
class View:
    """One way to show a series to a network at test time.

    Slices are never mirrored: no spine has its sacrum on top or its canal in front, and the
    slices' order does not reach a 2D network.

    Attributes
    ----------
    zoom : float
        Slices are shown this much larger.
    gamma : float
        Exponent of intensities in [0, 1].
    """

    zoom: float = 1.0
    gamma: float = 1.0


@dataclass(frozen=True)
class Member:
    """A network, in evaluation mode on its device and in its precision, under one view."""

    network: Network
    preparation: Preparation
    view: View = View()


VIEWS = {
    "plain": View(),
    "larger": View(zoom=1.08),
    "smaller": View(zoom=0.92),
    "brighter": View(gamma=0.8),
    "darker": View(gamma=1.25),
}


@dataclass(frozen=True)
class Machine:
    """Where and how the networks run.

    Attributes
    ----------
    device : str
        As PyTorch names it.
    precision : str
        Of the convolutions; maps are float32.
    batch : int
        Slices at a time, at most.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    batch: int = 16


@dataclass(frozen=True)
class Found:
    """Heatmaps of a series.

    Attributes
    ----------
    maps : (member, slice, level, row, column) float32 tensor in [0, 1]
        On the networks' own grid, which spans the same millimetres as the series'; on the
        machine's device.
    slices : (slice,) tuple of int
        Which slices of the series these are.
    """

    maps: Tensor
    slices: tuple[int, ...]

    def planes(self) -> NDArray[np.float32]:
        """(member, level, row, column): of each level the slice on which the mean peaks."""
        best = self.maps.mean(0).amax((2, 3)).argmax(0)
        found = torch.stack([self.maps[:, s, k] for k, s in enumerate(best.tolist())], dim=1)
        return found.cpu().numpy()

    def stack(self, slices: int) -> NDArray[np.float32]:
        """(member, level, slice, row, column) of a series of so many slices, on the own pixels.

        0 on slices that nobody asked about, and where a map is below `FAINT`.
        """
        faint = float(np.nextafter(np.float32(FAINT), np.float32(0)))
        maps = functional.threshold(self.maps, faint, 0.0).transpose(1, 2).cpu().numpy()
        if self.slices == tuple(range(slices)):
            return maps
        out = np.zeros((*maps.shape[:2], slices, *maps.shape[3:]), np.float32)
        out[:, :, list(self.slices)] = maps
        return out


def find_levels(
    members: Sequence[Member],
    stack: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    slices: Literal["all", "middle"],
    machine: Machine,
) -> Found:
    """Heatmaps of a series by every member.

    Parameters
    ----------
    members : sequence of Member
        Maps of members whose grids differ are brought onto the grid of the first.
    stack : (slice, row, column) float32 ndarray
        Rows from superior to inferior, columns from anterior to posterior.
    spacing_mm : (2,) tuple of float
        Of rows and columns.
    slices : {"all", "middle"}
        ``middle`` sets the preparation of every member to the public one.
    machine : Machine

    Returns
    -------
    Found
        An even series' middle slice is the later one of the two.
    """
    chosen = (len(stack) // 2,) if slices == "middle" else tuple(range(len(stack)))
    prepared: dict[Preparation, Tensor] = {}
    maps: dict[int, Tensor] = {}
    for (viewed, size, gamma, _), numbers in _alike(members, slices).items():
        if viewed not in prepared:
            prepared[viewed] = prepare(stack, spacing_mm, viewed, machine.device, chosen)
        shown = prepared[viewed] if gamma == 1 else prepared[viewed] ** gamma
        together = softmax_maps([members[n].network for n in numbers], shown, machine, size)
        if len(numbers) == len(members):
            return Found(together, chosen)
        maps |= zip(numbers, together, strict=True)
    on_first = [_resize(maps[n], tuple(maps[0].shape[2:])) for n in range(len(members))]
    return Found(torch.stack(on_first), chosen)


def _alike(
    members: Sequence[Member], slices: Literal["all", "middle"]
) -> dict[tuple[Preparation, int, float, Hashable], list[int]]:
    """Members by what they are shown, in which frame, and which networks can go together."""
    found: dict[tuple[Preparation, int, float, Hashable], list[int]] = {}
    for number, member in enumerate(members):
        wanted = PUBLIC_PREPARATION if slices == "middle" else member.preparation
        viewed = _viewed(wanted, member.view)
        key = viewed, wanted.size, member.view.gamma, kind(member.network)
        found.setdefault(key, []).append(number)
    return found


def prepare(
    stack: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    preparation: Preparation,
    device: str = "cpu",
    slices: Sequence[int] | None = None,
) -> Tensor:
    """Slices as a network wants them.

    Returns
    -------
    (slice, row, column) float32 tensor in [0, 1]
        A series of one value is 0 everywhere.
    """
    chosen = list(range(len(stack)) if slices is None else slices)
    if preparation.percentiles is None:
        low, high = float(stack.min()), float(stack.max())
        picked = torch.from_numpy(stack[chosen]).to(device)
        grey = ((picked - low) / ((high - low) or 1.0) * 255).floor()
        return _shrunk(grey, spacing_mm, preparation).round() / 255
    # Shrunk as it lies in memory and turned then: a turned copy of the series costs as much again.
    turned = tuple(axis for axis in range(3) if stack.strides[axis] < 0)
    lying = np.flip(stack, turned)
    picked = torch.from_numpy(lying if lying.flags.writeable else lying.copy()).to(device)
    small = _shrunk(picked, spacing_mm, preparation).flip(turned)
    values = small.flatten()[:: -(-small.numel() // SAMPLES)].cpu().numpy()
    # NumPy sorts float32 faster than it finds a percentile in what is not sorted.
    low, high = np.percentile(np.sort(values), preparation.percentiles).tolist()
    return torch.clamp((small[chosen] - low) / ((high - low) or 1.0), 0, 1)


def softmax_maps(
    nets: Sequence[Network], slices: Tensor, machine: Machine, least: int = 0
) -> Tensor:
    """(net, slice, level, row, column) float32 probabilities of slices (slice, row, column).

    Networks are of one kind (`jobs.heatmaps.packed.kind`). Slices stand in the middle of a frame of
    zeros of at least `least` rows and columns: a network knows how far a pixel is from the border,
    and in training the spine stood in the middle.
    """
    margins = [_margins(n, least) for n in slices.shape[1:]]
    padded = functional.pad(slices, (*margins[1], *margins[0]))
    inside = [
        slice(before, before + n) for n, (before, _) in zip(slices.shape[1:], margins, strict=True)
    ]
    found = []
    with torch.inference_mode():
        # Batches of one size: a rest of one slice would cost as much as several.
        parts = -(-len(padded) // machine.batch)
        for part in torch.tensor_split(padded[:, None], parts):
            logits = answers(nets, part.contiguous(memory_format=torch.channels_last))
            shown = _shown(logits, tuple(padded.shape[1:]), inside)
            found.append(shown.softmax(2)[:, :, 1 : 1 + len(LEVELS)].transpose(0, 1))
    return torch.cat(found, dim=1) if len(found) > 1 else found[0]


def _margins(length: int, least: int) -> tuple[int, int]:
    """Zeros before and after rows or columns, up to a multiple of the network's stride."""
    extra = max(-(-length // STRIDE) * STRIDE, least) - length
    return extra // 2, extra - extra // 2


def _shown(logits: Tensor, size: tuple[int, ...], inside: Sequence[slice]) -> Tensor:
    """Part of logits on the rows and columns of what a network saw."""
    if tuple(logits.shape[-2:]) == size:
        return logits[..., inside[0], inside[1]]
    # Linear in between; as products of matrices in half the time, and only of what is asked for.
    rows, columns = (
        _resize(torch.eye(few)[None, None], (many, few))[0, 0, part]
        for few, many, part in zip(logits.shape[-2:], size, inside, strict=True)
    )
    return rows @ logits @ columns.T


def _viewed(preparation: Preparation, view: View) -> Preparation:
    if preparation.spacing_mm is None:
        return replace(preparation, size=round(preparation.size * view.zoom))
    return replace(preparation, spacing_mm=preparation.spacing_mm / view.zoom)


def _shrunk(slices: Tensor, spacing_mm: tuple[float, ...], preparation: Preparation) -> Tensor:
    """Slices (slice, row, column) on the grid of a preparation."""
    if preparation.spacing_mm is None:
        # The prior system resized without smoothing, as OpenCV does.
        return _resize(slices[:, None], (preparation.size,) * 2)[:, 0]
    wanted = preparation.spacing_mm
    lengths = zip(slices.shape[1:], spacing_mm, strict=True)
    size = tuple(max(1, round(n * mm / wanted)) for n, mm in lengths)
    return _resize(slices[:, None], size, antialias=True)[:, 0]


def _resize(maps: Tensor, size: tuple[int, ...], antialias: bool = False) -> Tensor:
    """Maps (n, channel, row, column) on a grid of `size` that spans the same millimetres."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return functional.interpolate(
        maps, list(size), mode="bilinear", align_corners=False, antialias=antialias
    )
