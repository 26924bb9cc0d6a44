"""What does a scanner show of an anatomy?

Signals are relative to white matter (1) and in the order that the field knows: FLAIR has dark CSF
and grey matter brighter than white, T1W the reverse. A session adds gain, gamma, a bias field,
point spread and Rician noise (Gudbjartsson & Patz, Magn Reson Med 1995).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from jobs.phantom.anatomy import Anatomy
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field
from jobs.phantom.spec import Scanner

SIGNAL: dict[str, dict[str, float]] = {
    "flair": {
        "skin": 0.48,
        "fat": 0.45,
        "muscle": 0.30,
        "bone": 0.05,
        "marrow": 0.28,
        "air": 0.02,
        "vitreous": 0.10,
        "csf": 0.16,
        "dura": 0.55,
        "stem": 0.98,
        "cerebellum": 1.14,
        "cortex": 1.23,
        "white": 1.00,
        "caudate": 1.13,
        "putamen": 1.13,
        "pallidum": 0.97,
        "thalamus": 1.10,
        "ventricle": 0.14,
        "plexus": 0.95,
    },
    "t1w": {
        "skin": 0.75,
        "fat": 1.45,
        "muscle": 0.55,
        "bone": 0.10,
        "marrow": 0.95,
        "air": 0.02,
        "vitreous": 0.22,
        "csf": 0.26,
        "dura": 0.45,
        "stem": 0.96,
        "cerebellum": 0.80,
        "cortex": 0.72,
        "white": 1.00,
        "caudate": 0.75,
        "putamen": 0.77,
        "pallidum": 0.92,
        "thalamus": 0.83,
        "ventricle": 0.24,
        "plexus": 0.55,
    },
}
"""Signal of each tissue by modality; white matter is 1."""

GAIN = {"flair": 1.0, "t1w": 2.1}
"""Voxel values of a modality relative to FLAIR's, as on the scanners of open_ms_data."""


def render_tissues(
    anatomy: Anatomy,
    modality: str,
    texture: tuple[Field, Field],
) -> Field:
    """Noise-free signal of a head without lesions.

    Parameters
    ----------
    anatomy : Anatomy
    modality : {"flair", "t1w"}
    texture : tuple of two (x, y, z) float32 ndarray
        Coarse and fine unit-variance noise that varies the signal within a tissue.

    Returns
    -------
    (x, y, z) float32 ndarray
    """
    signal = np.full(anatomy.csf.shape, SIGNAL[modality]["air"], np.float32)
    for part in anatomy.layers:
        block = signal[part.box]
        block += part.share * (SIGNAL[modality][part.tissue] - block)
    signal *= 1 + 0.022 * texture[0] + 0.022 * texture[1]
    if modality == "flair":
        signal += _flair_rims(anatomy)
    return signal


def _flair_rims(anatomy: Anatomy) -> Field:
    """What glows on FLAIR without being a lesion: ventricular lining, caps, septum."""
    at, brain = anatomy.frame, anatomy.brain
    solid = 1 - anatomy.csf
    lining = np.exp(-np.maximum(brain.ventricle, 0) / 1.6)
    caps = _blob(at.y - 45, at.z - 2, 7, 9) + _blob(at.y + 52, at.z - 5, 12, 9)
    near = np.exp(-np.maximum(brain.ventricle, 0) / 3.5) * caps
    glow = 0.15 * lining + 0.30 * near
    return np.asarray(glow * solid * (brain.cerebrum < 0), np.float32)


def _blob(a: Field, b: Field, wide: float, high: float) -> Field:
    return np.asarray(np.exp(-((a / wide) ** 2 + (b / high) ** 2) / 2), np.float32)


def acquire(
    signal: Field,
    scanner: Scanner,
    modality: str,
    rng: np.random.Generator,
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.uint16]:
    """One image of a noise-free signal.

    Parameters
    ----------
    signal : (x, y, z) float32 ndarray
        White matter at 1.
    scanner : Scanner
    modality : {"flair", "t1w"}
    rng : Generator
        Decides bias field and noise.
    spacing_mm : tuple of float

    Returns
    -------
    (x, y, z) uint16 ndarray
    """
    shape = (signal.shape[0], signal.shape[1], signal.shape[2])
    seen: NDArray[np.floating] = signal
    if scanner.blur_mm > 0:
        sigma = (scanner.blur_mm / spacing_mm[0], scanner.blur_mm / spacing_mm[1], 0.0)
        seen = gaussian_filter(seen, sigma, truncate=3.0)
    seen = np.maximum(seen, 0) ** scanner.gamma
    bias = spline_noise(rng, shape, spacing_mm, 220.0)
    seen = seen * np.exp(scanner.bias * (bias - bias.mean()) / bias.std())
    real, imaginary = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    seen = np.hypot(seen + scanner.noise * real, scanner.noise * imaginary)
    values = np.rint(scanner.gain * GAIN[modality] * seen)
    return np.asarray(np.clip(values, 0, 65535), np.uint16)
