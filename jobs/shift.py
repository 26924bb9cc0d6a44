"""What would the scan look like from another scanner?

The suite ``shift_v1`` of MS-LAM (youzi-forge/ms-lam), after its published definition: contrast
(gamma), noise, blur and in-plane resolution, each at two strengths beside the identity. A `Shift`
records its parameters and replays bit for bit on one machine: the arithmetic is float32 and the
noise is seeded from labels alone.

The two levels of gamma are opposite directions (darker, brighter), not severities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from jobs.metrics.components import Spacing
from jobs.metrics.intensity import clip_range
from jobs.metrics.overlap import check_same_shape
from lamstore.errors import ConfigError
from lamstore.units import parse_shift_label

SUITE = "shift_v1"
CLIP_PERCENTILES = (1.0, 99.0)
BASELINE = "t0"
NONE = "none"

Image = NDArray[np.float32]
Mode = Literal["t1_only", "both"]

PARAMETERS: Mapping[str, Mapping[int, Mapping[str, float]]] = MappingProxyType(
    {
        "gamma": {
            1: {"gamma": 0.8, "brightness_shift": 0.02},
            2: {"gamma": 1.2, "brightness_shift": -0.02},
        },
        "noise": {1: {"sigma_rel": 0.01}, 2: {"sigma_rel": 0.03}},
        "blur": {1: {"sigma_mm": 0.5}, 2: {"sigma_mm": 1.0}},
        "resolution": {1: {"factor_xy": 1.5}, 2: {"factor_xy": 2.0}},
    }
)
"""Parameters by shift and level. Level 0 is the identity and leaves the image untouched."""


@dataclass(frozen=True)
class Shift:
    """One simulated change of scanner.

    Attributes
    ----------
    name : {"none", "gamma", "noise", "blur", "resolution"}
    level : {0, 1, 2}
        0 for ``none`` and only for it.
    mode : {"t1_only", "both"}
        Shift every timepoint but the baseline, or all of them.

    Raises
    ------
    ConfigError
        When there is no such shift.
    """

    name: str = NONE
    level: int = 0
    mode: Mode = "t1_only"

    def __post_init__(self) -> None:
        known = {(NONE, 0, "t1_only")} | {
            (name, level, mode)
            for name, levels in PARAMETERS.items()
            for level in levels
            for mode in ("t1_only", "both")
        }
        if (self.name, self.level, self.mode) not in known:
            raise ConfigError(
                "unknown shift",
                got=f"name {self.name!r}, level {self.level!r}, mode {self.mode!r}",
                expected="none, or {gamma|noise|blur|resolution}-{1|2}, or the same with -both",
            )

    @property
    def params(self) -> dict[str, float]:
        """What the shift does, by name; empty for the identity."""
        return {} if self.name == NONE else dict(PARAMETERS[self.name][self.level])

    @property
    def label(self) -> str:
        """``none``, ``gamma-1``, ``gamma-1-both``: the label in store and tables."""
        if self.name == NONE:
            return NONE
        return f"{self.name}-{self.level}" + ("-both" if self.mode == "both" else "")

    @classmethod
    def parse(cls, label: str) -> Shift:
        """The shift of a label; ConfigError when there is none."""
        if label == NONE:
            return cls()
        name, level, mode = parse_shift_label(label)
        shift = cls(name, level, "both" if mode == "both" else "t1_only")
        if shift.label != label:
            raise ConfigError("unknown shift", got=label, expected=f"for example {shift.label}")
        return shift

    def applies_to(self, timepoint: str, *, cross_sectional: bool = False) -> bool:
        """Whether the images of a timepoint are changed.

        A cross-sectional subject has no baseline to keep: its only image is shifted in any mode.
        """
        if self.name == NONE:
            return False
        return cross_sectional or self.mode == "both" or timepoint != BASELINE

    def record(self) -> dict[str, object]:
        """Everything that decides the result, for the provenance."""
        return {
            "suite": SUITE,
            "name": self.name,
            "level": self.level,
            "mode": self.mode,
            "params": self.params,
            "clip_percentiles": list(CLIP_PERCENTILES),
        }


def shift_suite(
    names: Sequence[str] = tuple(PARAMETERS),
    levels: Sequence[int] = (1, 2),
    modes: Sequence[Mode] = ("t1_only",),
) -> list[Shift]:
    """The identity, then every combination by mode, name and level, without repeats.

    Level 0 and the name ``none`` mean the identity, which is always there: it is the baseline
    that robustness is measured against.
    """
    wanted = [
        Shift(name, level, mode)
        for mode in modes
        for name in names
        for level in levels
        if level != 0 and name != NONE
    ]
    return list(dict.fromkeys([Shift(), *wanted]))


def seed(subject: str, shift: Shift, timepoint: str, modality: str) -> int:
    """Seed of the noise: first 4 bytes, little-endian, of the SHA-256 of the labels.

    The text is ``subject|mode|shift|level|timepoint|modality``, modality in lower case.
    """
    parts = (subject, shift.mode, shift.name, str(shift.level), timepoint, modality.lower())
    digest = hashlib.sha256("|".join(parts).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def apply(
    shift: Shift,
    image: Image,
    brainmask: NDArray[np.bool_],
    spacing_mm: Spacing,
    subject: str,
    timepoint: str,
    modality: str,
    *,
    cross_sectional: bool = False,
) -> Image:
    """The image of one modality as the shift would have it.

    Parameters
    ----------
    shift : Shift
    image : (x, y, z) float32 ndarray
    brainmask : (x, y, z) bool ndarray
        Where the percentiles are taken; the shift itself acts on the whole array.
    spacing_mm : (3,) tuple of float
    subject, timepoint, modality : str
        Seed the noise.
    cross_sectional : bool
        Whether the subject has this one timepoint only, see `Shift.applies_to`.

    Returns
    -------
    (x, y, z) float32 ndarray
        The image itself, unclipped and not copied, where the shift does not apply.

    Raises
    ------
    GridError
        When the shapes differ.
    VoxelError
        When the brain mask is empty, or the image is constant or not finite within it.
    """
    check_same_shape(image=image, brainmask=brainmask)
    image = image.astype(np.float32, copy=False)
    if not shift.applies_to(timepoint, cross_sectional=cross_sectional):
        return image
    if shift.name == "blur":
        return _clip(_blur(image, spacing_mm, **shift.params), brainmask)
    if shift.name == "resolution":
        return _clip(_resolution(image, **shift.params), brainmask)
    low, high = clip_range(image[brainmask], CLIP_PERCENTILES)
    if shift.name == "gamma":
        return _gamma(image, low, high, **shift.params)
    return _noise(image, low, high, seed(subject, shift, timepoint, modality), **shift.params)


def distorted(
    shift: Shift, image: Image, clip: tuple[float, float], spacing_mm: Spacing, number: int
) -> Image:
    """The image under a shift where its range in the brain is known, as of a patch of a scan.

    Parameters
    ----------
    shift : Shift
        Its mode does not matter; the identity gives the image back.
    image : (x, y, z) float32 ndarray
    clip : (low, high)
        1st and 99th percentile of the whole brain.
    spacing_mm : (3,) tuple of float
    number : int
        Seed of the noise.

    Returns
    -------
    (x, y, z) float32 ndarray
    """
    low, high = clip
    if shift.name == NONE:
        return image
    if shift.name == "gamma":
        return _gamma(image, low, high, **shift.params)
    if shift.name == "noise":
        return _noise(image, low, high, number, **shift.params)
    if shift.name == "blur":
        out = _blur(image, spacing_mm, **shift.params)
    else:
        out = _resolution(image, **shift.params)
    return np.clip(out, np.float32(low), np.float32(high), out=out)


def _clip(image: Image, brainmask: NDArray[np.bool_]) -> Image:
    """Clip, in place, to the percentiles that the (shifted) image itself has in the brain."""
    low, high = clip_range(image[brainmask], CLIP_PERCENTILES)
    return np.clip(image, np.float32(low), np.float32(high), out=image)


def _gamma(image: Image, low: float, high: float, gamma: float, brightness_shift: float) -> Image:
    span = np.float32(high - low)
    out = image - np.float32(low)
    out /= span
    np.clip(out, 0, 1, out=out)
    np.power(out, np.float32(gamma), out=out)
    out += np.float32(brightness_shift)
    np.clip(out, 0, 1, out=out)
    out *= span
    out += np.float32(low)
    return np.clip(out, np.float32(low), np.float32(high), out=out)


def _noise(image: Image, low: float, high: float, number: int, sigma_rel: float) -> Image:
    generator = np.random.default_rng(number)
    sigma = sigma_rel * (high - low)
    out = np.empty(image.shape, dtype=np.float32)
    draw = np.empty(image.shape[1:])
    # Slab by slab is the same stream as one draw of the whole grid, in cache instead of memory.
    for index, slab in enumerate(image):
        generator.standard_normal(out=draw)
        draw *= sigma
        np.add(slab, draw.astype(np.float32), out=out[index])
    return np.clip(out, np.float32(low), np.float32(high), out=out)


def _blur(image: Image, spacing_mm: Spacing, sigma_mm: float) -> Image:
    out = image
    for axis, step in enumerate(spacing_mm):
        # "mirror" reflects without repeating the edge voxel, like np.pad's "reflect".
        out = correlate1d(out, _gaussian(sigma_mm / step), axis, np.float32, mode="mirror")
    return np.asarray(out, dtype=np.float32)


def _gaussian(sigma: float) -> NDArray[np.float32]:
    """Gaussian weights out to ceil(3σ) voxels, float32, of sum 1."""
    radius = ceil(3 * sigma)
    at = np.arange(-radius, radius + 1, dtype=np.float32)
    weights: NDArray[np.float32] = np.exp(-(at**2) / np.float32(2 * sigma**2))
    weights /= weights.sum()
    return weights


def _resolution(image: Image, factor_xy: float) -> Image:
    sizes = image.shape[:2]
    out = image
    for axis, size in enumerate(sizes):
        out = _resize(out, max(2, round(size / factor_xy)), axis)
    for axis, size in enumerate(sizes):
        out = _resize(out, size, axis)
    # An axis too short to be thinned leaves the caller's own array, which is clipped in place next.
    return out.copy() if out is image else out


def _resize(image: Image, size: int, axis: int) -> Image:
    """Linear resampling of one axis to `size` samples, first and last samples aligned."""
    length = image.shape[axis]
    if size == length:
        return image
    at = np.linspace(0.0, length - 1.0, size, dtype=np.float32)
    below = np.floor(at).astype(np.int64)
    weight = np.expand_dims(at - below.astype(np.float32), [d for d in range(3) if d != axis])
    low = np.take(image, below, axis)
    out: Image = np.take(image, np.minimum(below + 1, length - 1), axis)
    out -= low
    out *= weight
    out += low
    return out
