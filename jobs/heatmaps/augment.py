"""What may a slice look like that the generator does not draw? And where should it be marked?

Slices and landmarks are moved together (rotation, zoom, shift, a field of view that ends early at
the top or the bottom), then intensities are changed. Everything is drawn from one generator, on a
batch at a time.

A field of view that ends above the sacrum is what teaches a network not to know: there the same
picture is labelled now one way, now another, and the most probable answer is to share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How far slices are changed.

    Attributes
    ----------
    rotation_deg, zoom, shift_mm : float
        Half the range of a uniform draw; of the logarithm for `zoom`.
    cut : float
        Share of slices whose field of view ends early, half of them at the bottom.
    cut_mm : (2,) tuple of float
        How far below the lowest level (or above the highest) the field of view then ends; negative
        inside the chain of levels.
    gamma, gain : float
        Half the range of the logarithm of the exponent and the factor.
    bias : float
        Standard deviation of the logarithm of the bias field.
    noise : float
        Largest standard deviation of noise; intensities are in [0, 1].
    blur_mm : float
        Largest standard deviation.
    """

    rotation_deg: float = 10.0
    zoom: float = 0.14
    shift_mm: float = 26.0
    cut: float = 0.4
    cut_mm: tuple[float, float] = (-90.0, 15.0)
    gamma: float = 0.45
    gain: float = 0.25
    bias: float = 0.25
    noise: float = 0.08
    blur_mm: float = 1.6

    def eased(self, share: float) -> Augmentation:
        """With a share of the motions and cuts; intensities vary in full."""
        return replace(
            self,
            rotation_deg=self.rotation_deg * share,
            zoom=self.zoom * share,
            shift_mm=self.shift_mm * share,
            cut=self.cut * share,
        )


@dataclass(frozen=True)
class Marks:
    """How levels are marked on a slice.

    Attributes
    ----------
    sigma_mm : float
        Of the Gaussian in the slice.
    across_mm : float
        Of the Gaussian of the distance between the slice and the landmark.
    peak : float
        Value at the landmark; the rest is background (label smoothing).
    """

    sigma_mm: float = 4.5
    across_mm: float = 9.0
    peak: float = 0.9


def augmented(
    slices: Tensor,
    marks_px: Tensor,
    seen: Tensor,
    spacing_mm: float,
    size: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of slices, cropped, moved and changed.

    Parameters
    ----------
    slices : (n, row, column) float32 tensor in [0, 1]
        0 where a slice is smaller than the batch.
    marks_px : (n, level, 2) float32 tensor
        Row and column of each landmark.
    seen : (n, level) bool tensor
        Whether the field of view has it.
    spacing_mm : float
    size : (2,) tuple of int
        Rows and columns of the result, of the same spacing.
    how : Augmentation
    rng : numpy.random.Generator

    Returns
    -------
    slices : (n, 1, row, column) float32 tensor in [0, 1]
    marks_px : (n, level, 2) float32 tensor
        May lie outside of the slice.
    seen : (n, level) bool tensor
        Less what the field of view has lost.
    """
    forward, offset = _motions(marks_px, spacing_mm, how, rng)
    moved = _moved(slices, forward, offset, size)
    where = torch.einsum("nij,nlj->nli", forward, marks_px) + offset[:, None]
    where = where + torch.tensor(size) / 2 - 0.5
    first, last = _field_of_view(where[..., 0], spacing_mm, how, rng)
    rows = torch.arange(size[0])[None]
    moved = moved * ((rows >= first) & (rows <= last))[..., None]
    seen = seen & (where[..., 0] >= first) & (where[..., 0] <= last)
    return _changed(moved, spacing_mm, how, rng), where, seen


def targets(
    marks_px: Tensor,
    across_mm: Tensor,
    seen: Tensor,
    spacing_mm: float,
    size: tuple[int, int],
    how: Marks,
) -> Tensor:
    """What a network should answer.

    Parameters
    ----------
    marks_px : (n, level, 2) float32 tensor
        Row and column of each landmark.
    across_mm : (n, level) float32 tensor
        Distance of the slice from each landmark.
    seen : (n, level) bool tensor
        What the field of view has lost is marked nowhere.

    Returns
    -------
    (n, 1 + level, row, column) float32 tensor
        Background and levels; sums to 1 over the channels.
    """
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in size)
    scale = -0.5 * (spacing_mm / how.sigma_mm) ** 2
    along = torch.exp(scale * (rows - marks_px[..., :1]) ** 2)
    aside = torch.exp(scale * (columns - marks_px[..., 1:]) ** 2)
    height = seen * how.peak * torch.exp(-0.5 * (across_mm / how.across_mm) ** 2)
    levels = (height[..., None] * along)[..., None] * aside[..., None, :]
    # Neighbouring levels never fill a pixel: 0.9 and discs 30 mm apart at a sigma of 4.5 mm.
    return torch.cat([1 - levels.sum(1, keepdim=True), levels], dim=1)


def _motions(
    marks_px: Tensor, spacing_mm: float, how: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Linear map (n, 2, 2) and offset (n, 2): slice pixels to pixels from the result's centre."""
    n = len(marks_px)
    angle = np.deg2rad(rng.uniform(-how.rotation_deg, how.rotation_deg, n))
    zoom = np.exp(rng.uniform(-how.zoom, how.zoom, n))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = torch.from_numpy((zoom * turn).transpose(2, 0, 1).astype(np.float32))
    shift = rng.uniform(-how.shift_mm, how.shift_mm, (n, 2)) / spacing_mm
    centre = torch.einsum("nij,nj->ni", forward, marks_px.mean(1))
    return forward, torch.from_numpy(shift.astype(np.float32)) - centre


def _moved(slices: Tensor, forward: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, row, column) of `size`: slices resampled linearly, 0 outside."""
    axes = [torch.arange(n, dtype=torch.float32) - n / 2 + 0.5 for n in size]
    target = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    back = torch.linalg.inv(forward)
    source = torch.einsum("nij,nrcj->nrci", back, target[None] - offset[:, None, None])
    span = torch.tensor(slices.shape[1:], dtype=torch.float32)
    # grid_sample counts columns first, from −1 to 1 between the outer edges of the outer pixels.
    grid = ((2 * source + 1) / span - 1).flip(-1)
    return functional.grid_sample(slices[:, None], grid, align_corners=False)[:, 0]


def _field_of_view(
    rows_px: Tensor, spacing_mm: float, how: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """First and last row (n, 1) of the field of view, from the rows (n, level) of landmarks."""
    n = len(rows_px)
    cut, bottom = rng.random(n) < how.cut, rng.random(n) < 0.5
    beyond = torch.from_numpy(rng.uniform(*how.cut_mm, n).astype(np.float32)) / spacing_mm
    nowhere = torch.full((n,), torch.inf)
    at_top, at_bottom = torch.from_numpy(cut & ~bottom), torch.from_numpy(cut & bottom)
    first = torch.where(at_top, rows_px.amin(1) - beyond, -nowhere)
    last = torch.where(at_bottom, rows_px.amax(1) + beyond, nowhere)
    return first[:, None], last[:, None]


def _changed(
    slices: Tensor, spacing_mm: float, how: Augmentation, rng: np.random.Generator
) -> Tensor:
    """Slices (n, row, column) with other intensities, as (n, 1, row, column)."""
    n = len(slices)
    gamma, gain = (_column(np.exp(rng.uniform(-s, s, n))) for s in (how.gamma, how.gain))
    found = slices.clamp(0, 1) ** gamma * gain * _bias(slices.shape, how.bias, rng)
    found = _blurred(found, float(rng.uniform(0, how.blur_mm)) / spacing_mm)
    sigma = _column(rng.uniform(0, how.noise, n))
    noise = torch.from_numpy(rng.standard_normal(found.shape, dtype=np.float32))
    # Black borders stay black: a scanner fills them with zeros, not with noise.
    return torch.where(slices > 0, found + sigma * noise, found).clamp(0, 1)[:, None]


def _bias(shape: torch.Size, deviation: float, rng: np.random.Generator) -> Tensor:
    """(n, row, column) smooth positive field around 1."""
    coarse = torch.from_numpy(rng.standard_normal((shape[0], 1, 4, 3), dtype=np.float32))
    field = functional.interpolate(coarse, list(shape[1:]), mode="bicubic", align_corners=True)
    return torch.exp(deviation * field[:, 0])


def _blurred(slices: Tensor, sigma_px: float) -> Tensor:
    """One blur a batch: it costs a pass, and batches are many."""
    if sigma_px < 0.3:
        return slices
    reach = round(3 * sigma_px)
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    along = functional.conv2d(slices[:, None], kernel[None, None, :, None], padding=(reach, 0))
    return functional.conv2d(along, kernel[None, None, None], padding=(0, reach))[:, 0]


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]
