"""What would another scanner have made of the same patch?

Every channel is changed on its own. MONAI's transforms do what they have (bias field, noise,
contrast, low resolution); the shifts are those of the suite by which models are audited,
`jobs.shift`, with the percentiles of the whole brain in place of the patch's.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms.intensity.array import RandBiasField, RandGaussianNoise
from monai.transforms.spatial.array import RandSimulateLowResolution
from torch import Tensor
from torch.nn.functional import avg_pool1d, interpolate, pad

from jobs.shift import PARAMETERS, Shift, distorted
from jobs.training.config import AugmentConfig, Spacing

Random = np.random.Generator

CURVE_RANGE, CURVE_STEPS = (-5.0, 8.0), 1300
"""Of the random curve: all that normalization leaves."""
RANGE = (-2.5, 3.0)
"""Normalized brain intensities between which gamma bends: about the 1st and 99th percentile."""


def intensity(image: Tensor, spacing_mm: Spacing, config: AugmentConfig, random: Random) -> Tensor:
    """One normalized channel (x, y, z), changed as drawn; the input may be overwritten."""
    if random.random() < config.bias_field:
        image = _bias(image, config.bias_strength, random)
    if random.random() < config.curve:
        image = _curve(image, config.curve_knots, config.curve_slope, random)
    if random.random() < config.gamma:
        image = _gamma(image, random.uniform(*config.gamma_range))
    if random.random() < config.gain:
        image = image * float(1 + random.uniform(-1, 1) * config.gain_by)
        image += float(random.uniform(-1, 1) * config.offset_by)
    if random.random() < config.low_resolution:
        image = _low_resolution(image, config.low_resolution_zoom, random)
    if random.random() < config.thick_slices:
        axis = "xyz".index(config.slice_axes[random.integers(len(config.slice_axes))])
        count = round(random.uniform(*config.slice_mm) / spacing_mm[axis])
        image = _thick_slices(image, axis, count, int(random.integers(max(count, 1))))
    if random.random() < config.shift_suite:
        image = _shift(image, spacing_mm, random)
    if random.random() < config.noise:
        image = _noise(image, config.noise_std, random)
    return image


def _seed(random: Random) -> int:
    return int(random.integers(2**32))


def _bias(image: Tensor, strength: float, random: Random) -> Tensor:
    # A field multiplies a scan's intensities, which are not zero where the normalized ones are.
    field = RandBiasField(degree=3, coeff_range=(-strength, strength), prob=1.0)
    field.set_random_state(_seed(random))
    raised = image[None] - RANGE[0]
    return torch.as_tensor(field(raised))[0] + RANGE[0]


def _curve(image: Tensor, knots: int, slope: tuple[float, float], random: Random) -> Tensor:
    """A monotone curve that keeps 0, where normalization puts the middle of normal tissue."""
    at = np.linspace(*CURVE_RANGE, knots)
    lowest, highest = np.log(slope)
    slopes = np.exp(random.uniform(lowest, highest, knots - 1))
    values = np.concatenate([[0.0], np.cumsum(slopes * np.diff(at))])
    values -= np.interp(0, at, values)
    # A step of the table is 0.01: finer than what bf16 resolves of a lesion's intensity.
    table = np.interp(np.linspace(*CURVE_RANGE, CURVE_STEPS + 1), at, values).astype(np.float32)
    low, high = CURVE_RANGE
    index = ((image - low) * (CURVE_STEPS / (high - low))).clamp_(0, CURVE_STEPS)
    return torch.from_numpy(table)[index.to(torch.int32)]


def _gamma(image: Tensor, gamma: float) -> Tensor:
    low, high = RANGE
    scaled = (image - low) / (high - low)
    # Beyond the range the curve goes on along its tangent's chord: lesions are not clipped.
    bent = torch.where(scaled > 1, 1 + (scaled - 1) * gamma, scaled.clamp(0, 1) ** gamma)
    return torch.where(scaled < 0, image, bent * (high - low) + low)


def _low_resolution(image: Tensor, zoom: tuple[float, float], random: Random) -> Tensor:
    lower = RandSimulateLowResolution(prob=1.0, zoom_range=zoom, downsample_mode="trilinear")
    lower.set_random_state(_seed(random))
    return torch.as_tensor(lower(image[None]))[0]


def _thick_slices(image: Tensor, axis: int, count: int, phase: int) -> Tensor:
    """Means of `count` voxels along `axis`, brought back linearly, as inference does it."""
    if count < 2:
        return image
    rows = image.movedim(axis, -1)
    length = rows.shape[-1]
    padded = pad(rows, (phase, -(phase + length) % count), mode="replicate")
    means = avg_pool1d(padded, count)
    fine = interpolate(means, size=padded.shape[-1], mode="linear", align_corners=False)
    return fine[..., phase : phase + length].movedim(-1, axis)


def _noise(image: Tensor, std: float, random: Random) -> Tensor:
    noise = RandGaussianNoise(prob=1.0, std=std, sample_std=True)
    noise.set_random_state(_seed(random))
    return torch.as_tensor(noise(image))


def _shift(image: Tensor, spacing_mm: Spacing, random: Random) -> Tensor:
    names = sorted(PARAMETERS)
    name, level = names[random.integers(len(names))], int(random.integers(1, 3))
    changed = distorted(Shift(name, level), image.numpy(), RANGE, spacing_mm, _seed(random))
    return torch.from_numpy(np.ascontiguousarray(changed))
