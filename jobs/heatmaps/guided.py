"""What does a network see around a place that another tool calls a level?

Of the sagittal slice that is nearest to a level's centroid, the map of that level within
`REACH_MM` of the centroid counts and nothing else: neighbouring discs lie within, so that a level
that could as well be its neighbour shows. A level without a centroid is not asked for, and its map
is 0.

A network with a spacing of its own sees the slice as in training, whole and in the middle: it knows
how far from the border a level is, and in a patch that is centred on L5/S1 it finds that where L3/4
should be. The public network, without such a spacing, sees what the prior system showed it: a patch
of the series' own pixels around the centroid.
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

REACH_MM = 50.0
"""Around a centroid; the neighbours of a level lie 20 to 50 mm away."""


@dataclass(frozen=True)
class Guided:
    """Answers around the centroids.

    Attributes
    ----------
    planes : (member, level, row, column) float32 ndarray
        The map of each level on its slice, or in its patch.
    found : Found
        The same, at their place in the series.
    """

    planes: NDArray[np.float32]
    found: Found


@dataclass(frozen=True)
class _Asked:
    """Levels that have a centroid, by index, and where: slice (of the chosen), row, column."""

    levels: tuple[int, ...]
    slices: tuple[int, ...]
    rows: tuple[int, ...]
    at: NDArray[np.float64]


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
    levels = tuple(k for k, level in enumerate(LEVELS) if level in centres)
    at = np.array([centres[LEVELS[k]] for k in levels]).reshape(len(levels), 3)
    nearest = np.clip(np.round(at[:, 0]).astype(int), 0, len(stack) - 1).tolist()
    slices = tuple(sorted(set(nearest)))
    asked = _Asked(levels, slices, tuple(slices.index(n) for n in nearest), at[:, 1:])
    if members[0].preparation.spacing_mm is None:
        return _in_patches(members, stack, spacing_mm, asked, machine)
    return _in_slices(members, stack, spacing_mm, asked, machine)


def _in_slices(
    members: Sequence[Member],
    stack: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    asked: _Asked,
    machine: Machine,
) -> Guided:
    preparation = members[0].preparation
    ready = prepare(stack, spacing_mm, preparation, machine.device, asked.slices)
    shape = tuple(ready.shape[1:])
    maps = torch.zeros((len(members), len(asked.slices), len(LEVELS), *shape))
    planes = torch.zeros((len(members), len(LEVELS), *shape))
    fields_mm = [n * mm for n, mm in zip(stack.shape[1:], spacing_mm, strict=True)]
    for m, member in enumerate(members if asked.levels else ()):
        shown = ready**member.view.gamma
        answers = softmax_maps([member.network], shown, machine, preparation.size)[0].cpu()
        for k, row, place in zip(asked.levels, asked.rows, asked.at, strict=True):
            place_mm = (place + 0.5) * spacing_mm
            planes[m, k] = answers[row, k] * _within(shape, fields_mm, place_mm)
            maps[m, row, k] = planes[m, k]
    return Guided(planes.numpy(), Found(maps, asked.slices))


def _within(
    shape: tuple[int, ...], fields_mm: Sequence[float], place_mm: NDArray[np.float64]
) -> Tensor:
    """(row, column) bool: pixels of a field of view within `REACH_MM` of a place in it."""
    away = [
        (np.arange(n) + 0.5) * field / n - place
        for n, field, place in zip(shape, fields_mm, place_mm, strict=True)
    ]
    return torch.from_numpy(np.hypot(away[0][:, None], away[1]) <= REACH_MM)


def _in_patches(
    members: Sequence[Member],
    stack: NDArray[np.float32],
    spacing_mm: tuple[float, ...],
    asked: _Asked,
    machine: Machine,
) -> Guided:
    # A series without a spacing that it is brought to keeps its own pixels.
    preparation = replace(members[0].preparation, spacing_mm=spacing_mm[0])
    size = preparation.size
    ready = prepare(stack, spacing_mm, preparation, machine.device, asked.slices)
    span = np.array(ready.shape[1:]) / np.array(stack.shape[1:])
    corners = np.round((asked.at + 0.5) * span - size / 2).astype(int)
    patches = [
        _patch(ready[n], corner, size) for n, corner in zip(asked.rows, corners, strict=True)
    ]
    edge, shape = size, ready.shape[1:]
    planes = torch.zeros((len(members), len(LEVELS), edge, edge))
    maps = torch.zeros((len(members), len(asked.slices), len(LEVELS), *shape))
    for m, member in enumerate(members if patches else ()):
        shown = torch.stack(patches) ** member.view.gamma
        answers = softmax_maps([member.network], shown, machine)[0].cpu()
        for n, (k, row, corner) in enumerate(zip(asked.levels, asked.rows, corners, strict=True)):
            planes[m, k] = answers[n, k]
            _place(answers[n, k], maps[m, row, k], corner)
    return Guided(planes.numpy(), Found(maps, asked.slices))


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
