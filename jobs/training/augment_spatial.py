"""How is a patch turned, scaled and bent, in one resampling?

MONAI has affine and elastic transforms, but they resample one after the other, image and masks
apart; that costs several times what the network leaves of a core. Here image, truth and brain mask
go through one `grid_sample` whose grid is the affine with smooth displacements added.
"""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from jobs.training.config import AugmentConfig, Edges, Spacing

Random = np.random.Generator

KNOTS = 5
"""Displacements are drawn on so many points along each axis, and interpolated between."""


def spatial(
    stack: Tensor, edges: Edges, spacing_mm: Spacing, config: AugmentConfig, random: Random
) -> Tensor:
    """Crop to the wanted size around the centre; flipped, and maybe turned, scaled and bent.

    Parameters
    ----------
    stack : (c, X, Y, Z) float32 Tensor
        Images and masks, larger than `edges` or equal.
    edges : (3,) tuple of int
    spacing_mm : (3,) tuple of float

    Returns
    -------
    (c, *edges) float32 Tensor
        Masks come out as shares of a voxel.
    """
    flips = [
        i + 1
        for i, a in enumerate("xyz")
        if random.random() < config.flip * (a in config.flip_axes)
    ]
    if random.random() < config.affine:
        stack = _resampled(stack, edges, spacing_mm, config, random)
    else:
        stack = cropped(stack, edges)
    return stack.flip(flips) if flips else stack.contiguous()


def cropped(stack: Tensor, edges: Edges) -> Tensor:
    """The centre of a (c, X, Y, Z) tensor, as a view."""
    spans = tuple(
        slice((size - edge) // 2, (size - edge) // 2 + edge)
        for size, edge in zip(stack.shape[1:], edges, strict=True)
    )
    return stack[(slice(None), *spans)]


def _resampled(
    stack: Tensor, edges: Edges, spacing_mm: Spacing, config: AugmentConfig, random: Random
) -> Tensor:
    size_mm = np.array(stack.shape[1:]) * spacing_mm
    share = np.array(edges) / np.array(stack.shape[1:])
    turn = _turn(random.uniform(-1, 1, 3) * radians(config.rotate_deg))
    zoom = np.diag(np.exp(random.uniform(-1, 1, 3) * np.log1p(config.scale)))
    # grid_sample counts in half edges of the whole, not in mm.
    matrix = np.diag(1 / size_mm) @ turn @ zoom @ np.diag(size_mm) @ np.diag(share)
    # Its axes run backwards: z, y, x.
    theta = torch.zeros(1, 3, 4)
    theta[0, :, :3] = torch.from_numpy(matrix[::-1, ::-1].astype(np.float32).copy())
    grid = functional.affine_grid(theta, [1, 1, *edges], align_corners=False)
    if config.elastic_mm:
        grid = grid + _bend(edges, config.elastic_mm / (size_mm / 2), random)
    return functional.grid_sample(stack[None], grid, padding_mode="border", align_corners=False)[0]


def _bend(edges: Edges, by: NDArray[np.float64], random: Random) -> Tensor:
    knots = random.standard_normal((1, 3, KNOTS, KNOTS, KNOTS), np.float32)
    knots *= by[::-1].astype(np.float32)[None, :, None, None, None]
    smooth = functional.interpolate(
        torch.from_numpy(knots), size=list(edges), mode="trilinear", align_corners=True
    )
    return smooth.permute(0, 2, 3, 4, 1)


def _turn(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for (i, j), angle in zip(((0, 1), (0, 2), (1, 2)), angles, strict=True):
        step = np.eye(3)
        step[i, i] = step[j, j] = cos(angle)
        step[i, j], step[j, i] = -sin(angle), sin(angle)
        turn = turn @ step
    return turn
