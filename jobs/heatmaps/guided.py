"""What does a network see around a place that another tool calls a level?

One patch a level, on the sagittal slice that is nearest to the level's centroid, with the centroid
in its middle and as many rows and columns as the network was trained on (pixels of the series for
a network without a spacing of its own, as in the prior system). Of the patch only the map of that
level counts. A level without a centroid is not asked for, and its map is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jobs.heatmaps import LEVELS
from jobs.heatmaps.inference import Found, Machine, Member, prepare, softmax_maps
from jobs.heatmaps.weights import Preparation


@dataclass(frozen=True)
class Guided:
    """Answers around the centroids.

    Attributes
    ----------
    planes : (member, level, row, column) float32 ndarray
        The patches' maps.
    found : Found
        The same, at their place in the series.
    """

    planes: NDArray[np.float32]
    found: Found


def find_around(
    members: Sequence[Member],
    stack: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    centres: Mapping[str, NDArray[np.float64]],
    machine: Machine,
) -> Guided:
    """Heatmaps of levels around their centroids.

    Parameters
    ----------
    members : sequence of Member
        Of one preparation, under views that do not zoom.
    stack : (slice, row, column) float32 ndarray
    spacing_mm : (2,) tuple of float
    centres : mapping of level to (3,) float64 ndarray
        Slice, row and column of the series. A slice outside of the series is its first or last.
    machine : Machine
    """
    size = members[0].preparation.size
    asked = [k for k, level in enumerate(LEVELS) if level in centres]
    at = np.array([centres[LEVELS[k]] for k in asked]).reshape(len(asked), 3)
    slices = np.clip(np.round(at[:, 0]).astype(int), 0, len(stack) - 1)
    chosen = sorted(set(slices.tolist()))
    ready = prepare(stack, spacing_mm, _unresized(members[0].preparation, spacing_mm),
                    machine.device, chosen)  # fmt: skip
    span = np.array(ready.shape[1:]) / np.array(stack.shape[1:])
    corners = np.round((at[:, 1:] + 0.5) * span - size / 2).astype(int)
    rows = [chosen.index(int(n)) for n in slices]
    patches = [_patch(ready[n], corner, size) for n, corner in zip(rows, corners, strict=True)]
    planes = torch.zeros((len(members), len(LEVELS), size, size), device=machine.device)
    maps = torch.zeros((len(members), len(chosen), len(LEVELS), *ready.shape[1:]),
                       device=machine.device)  # fmt: skip
    for m, member in enumerate(members):
        if not asked:
            break
        answers = softmax_maps(member.network, torch.stack(patches) ** member.view.gamma, machine)
        for n, (k, row, corner) in enumerate(zip(asked, rows, corners, strict=True)):
            planes[m, k] = answers[n, k]
            _place(answers[n, k], maps[m, row, k], corner)
    return Guided(planes.cpu().numpy(), Found(maps, tuple(chosen)))


def _unresized(preparation: Preparation, spacing_mm: tuple[float, ...]) -> Preparation:
    """The same intensities; a series without a spacing of its own keeps the one it has."""
    if preparation.spacing_mm is not None:
        return preparation
    return replace(preparation, spacing_mm=spacing_mm[0])


def _patch(plane: Tensor, corner: NDArray[np.int64], size: int) -> Tensor:
    """(size, size) of a slice, 0 beyond it."""
    rows, columns = plane.shape
    top, left = (int(c) for c in corner)
    pads = (max(0, -left), max(0, left + size - columns), max(0, -top), max(0, top + size - rows))
    padded = functional.pad(plane, pads)
    return padded[max(0, top) :, max(0, left) :][:size, :size]


def _place(answer: Tensor, onto: Tensor, corner: NDArray[np.int64]) -> None:
    """Write the part of a patch that lies on the slice."""
    (top, left), (rows, columns) = (int(c) for c in corner), onto.shape
    size = len(answer)
    inner = answer[max(0, -top) : max(0, rows - top), max(0, -left) : max(0, columns - left)]
    place = onto[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)]
    place.copy_(inner[: place.shape[0], : place.shape[1]])
