"""What does a scanner make of the tissues' signal?

Sensitivity of a surface coil behind the patient, a saturation band in front, what is left of the
bias field, then complex noise in an incompletely acquired k-space: Rician, correlated and ringing
as in a magnitude image (Gudbjartsson & Patz, Magn Reson Med 1995).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from jobs.lumbar.canvas import Canvas
from jobs.lumbar.soft import Outline
from jobs.lumbar.spec import LumbarSpec, Scanner
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field


def acquire(canvas: Canvas, spec: LumbarSpec, outline: Outline, stream: int) -> NDArray[np.int16]:
    """Image of a painted canvas.

    Parameters
    ----------
    canvas : Canvas
    spec : LumbarSpec
    outline : Outline
    stream : int
        Tells the noise of several series of one patient apart.

    Returns
    -------
    (slice, row, column) int16 ndarray
    """
    rng = np.random.default_rng([spec.seed, 20, stream])
    seen = canvas.signal * sensitivity(canvas, spec.scanner, outline)
    seen *= _bias(canvas, spec.scanner, rng)
    seen = _magnitude(seen, spec.scanner, rng)
    values = np.rint(np.float32(spec.scanner.gain) * seen)
    return np.asarray(np.clip(values, 0, 32767), np.int16)


def sensitivity(canvas: Canvas, scanner: Scanner, outline: Outline) -> Field:
    """Of coil and saturation band, 1 at the centre of L3; (1 or slice, row, column)."""
    y, z = canvas.y, canvas.z
    deep = y - outline.at("skin", z)
    reference = np.float32(-np.interp(0.0, outline.z, outline.skin))
    coil = np.clip(np.exp2((reference - deep) / np.float32(scanner.coil_mm)), 0, 3)
    ahead = y - outline.at("front", z) - np.float32(scanner.saturation_mm)
    band = np.clip(ahead / 14 + np.float32(0.5), 0, 1)
    return np.asarray(coil * (1 - np.float32(1 - scanner.saturation) * band), np.float32)


def _bias(canvas: Canvas, scanner: Scanner, rng: np.random.Generator) -> Field:
    slices, rows, columns = canvas.signal.shape
    coarse = spline_noise(rng, (slices, rows // 8 + 1, columns // 8 + 1), (4.0, 6.0, 6.0), 220.0)
    field = np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)[:, :rows, :columns]
    return np.asarray(np.exp(np.float32(scanner.bias) * field), np.float32)


def _magnitude(signal: Field, scanner: Scanner, rng: np.random.Generator) -> Field:
    """Add complex noise, leave out the outer k-space along the phase encoding (rows)."""
    shape = signal.shape
    noisy = np.empty(shape, np.complex64)
    scale = np.float32(scanner.noise)
    noisy.real = signal + scale * rng.standard_normal(shape, dtype=np.float32)
    noisy.imag = scale * rng.standard_normal(shape, dtype=np.float32)
    spectrum = fft.fft(noisy, axis=1, overwrite_x=True)
    frequency = np.abs(fft.fftfreq(shape[1])) * 2
    # A soft cut (Fermi filter) rings a little, as scanners do.
    kept = 1 / (1 + np.exp((frequency - scanner.resolution) / 0.03))
    spectrum *= kept.astype(np.float32)[None, :, None]
    return np.asarray(np.abs(fft.ifft(spectrum, axis=1, overwrite_x=True)), np.float32)
