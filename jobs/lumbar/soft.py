"""What surrounds the spine: skin, fat, muscle, vessels, abdomen?

Everything here follows the chain by height: where the bodies' front is, where the skin of the back.
It changes little across a slice, so it is painted once a slice, before the bones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from jobs.lumbar.canvas import Canvas
from jobs.lumbar.chain import Chain, Vector
from jobs.lumbar.spec import LumbarSpec
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field, fraction

_STEP_MM = 2.0
_EVERY = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Outline:
    """Surfaces by height, in patient space.

    Attributes
    ----------
    z, x, front, back, skin, belly : (n,) float64 ndarray
        Height; then the chain's deviation to the right, the bodies' front and back, the skin of
        the back and that of the belly as anterior positions (mm).
    """

    z: Vector
    x: Vector
    front: Vector
    back: Vector
    skin: Vector
    belly: Vector

    def at(self, name: str, z: Field) -> Field:
        """One of the curves at heights `z`."""
        return np.asarray(np.interp(z, self.z, getattr(self, name)), np.float32)


def place_outline(spec: LumbarSpec, chain: Chain) -> Outline:
    """Surfaces of a spec's patient around the chain."""
    patient = spec.patient
    rows = []
    for vertebra in spec.vertebrae:
        place = chain.vertebrae[vertebra.name]
        half = vertebra.mean_depth_mm / 2
        tip = _tip(vertebra.name, patient.size)
        rows.append((place.centre[2], place.centre[0], place.at(0, half, 0)[1],
                     place.at(0, -half, 0)[1], place.at(0, -half - tip, 0)[1]))  # fmt: skip
    z, x, front, back, tips = np.array(rows)[::-1].T
    fine = np.arange(z[0] - 80, z[-1] + 80, _STEP_MM)
    curves = [np.interp(fine, z, c) for c in (x, front, back, tips)]
    x, front, back = (gaussian_filter1d(c, 5 / _STEP_MM, mode="nearest") for c in curves[:3])
    low = np.clip((z[4] - fine) / 90, 0, 1)
    skin = gaussian_filter1d(curves[3], 22 / _STEP_MM, mode="nearest")
    skin = skin - patient.fat_mm * (1 + 0.6 * low) - 5
    middle = np.interp(0.0, fine, (front + back) / 2)
    slope = ((fine + 30) / 260) ** 2
    belly = middle + patient.belly_mm * (1 - np.clip(slope, 0, 0.6) * 0.35)
    return Outline(fine, x, front, back, skin, np.maximum(belly, front + 35))


def _tip(name: str, size: float) -> float:
    """How far the spinous process or crest stands out behind the body (mm)."""
    sacral = {"S1": 34.0, "S2": 26.0, "S3": 22.0, "S4": 20.0, "S5": 24.0}
    return size * sacral.get(name, 44.0 if name == "L5" else 51.0)


def paint_soft(canvas: Canvas, spec: LumbarSpec, outline: Outline, texture: Field) -> None:
    """Paint the whole background of a canvas.

    Parameters
    ----------
    canvas : Canvas
    spec : LumbarSpec
    outline : Outline
    texture : (slice, row, column) float32 ndarray
        Noise of unit variance, coarse.
    """
    contrast, patient = spec.scanner.contrast, spec.patient
    edge = canvas.edge_mm
    x, y, z = canvas.x, canvas.y, canvas.z
    furrow = np.float32(5.0) * (1 - np.exp(-((x / 16) ** 2)))
    skin = outline.at("skin", z) - furrow
    wall = outline.at("belly", z) - np.float32(0.004) * x * x
    depth: Field = np.minimum(y - skin, wall - y)
    canvas.paint(_EVERY, fraction(-depth, edge), contrast.skin)
    fat = np.float32(contrast.fat) * (1 + np.float32(0.07) * texture)
    canvas.paint(_EVERY, fraction(2.0 - depth, edge), fat)
    low = np.clip((np.float32(outline.z[40]) - z) / 90, 0, 1)
    behind = np.asarray(
        y - skin - np.float32(patient.fat_mm) * (1 + np.float32(0.6) * low), np.float32
    )
    inside = np.minimum(behind, wall - y - np.float32(0.8 * patient.fat_mm + 6))
    canvas.paint(_EVERY, fraction(-inside, edge), contrast.cortex)
    canvas.paint(_EVERY, fraction(1.2 - inside, edge), _muscle(spec, canvas, texture))
    _paint_midline(canvas, spec, outline, inside)
    _paint_abdomen(canvas, spec, outline, inside, texture)
    _paint_psoas(canvas, spec, outline)
    _paint_vessels(canvas, spec, outline)


def _lattice(canvas: Canvas, spec: LumbarSpec, stream: int, mm: tuple[float, ...]) -> Field:
    """Noise with its own wavelength along x, y and z."""
    shape = canvas.signal.shape
    spacing = [0.0, 0.0, 0.0]
    for coordinate, wavelength in zip((canvas.x, canvas.y, canvas.z), mm, strict=True):
        axis = int(np.argmax(coordinate.shape))
        flat = coordinate.ravel()
        spacing[axis] = float(abs(flat[-1] - flat[0]) / max(flat.size - 1, 1) / wavelength)
    rng = np.random.default_rng([spec.seed, 12, stream])
    sizes = (shape[0], shape[1], shape[2])
    steps = (max(spacing[0], 1e-3), max(spacing[1], 1e-3), max(spacing[2], 1e-3))
    return spline_noise(rng, sizes, steps, 1.0)


def _muscle(spec: LumbarSpec, canvas: Canvas, texture: Field) -> Field:
    """Muscle with streaks of fat along its fibres."""
    contrast = spec.scanner.contrast
    streaks = _lattice(canvas, spec, 0, (12.0, 4.5, 32.0))
    threshold = np.float32(1.7 - 1.9 * spec.patient.muscle_fat)
    fatty = np.clip((streaks + np.float32(0.5) * texture - threshold) * 0.8, 0, 1)
    muscle = np.float32(contrast.muscle)
    return np.asarray(muscle + fatty * np.float32(0.7 * contrast.fat - contrast.muscle))


def _paint_midline(canvas: Canvas, spec: LumbarSpec, outline: Outline, inside: Field) -> None:
    """Between the spinous processes: fat and the grey interspinous ligaments."""
    contrast = spec.scanner.contrast
    x, y, z = canvas.x, canvas.y, canvas.z
    near = np.exp(-(((x - outline.at("x", z)) / np.float32(5.5)) ** 2))
    zone = fraction(y - outline.at("back", z) + 12, 6.0) * fraction(3.0 - inside, 3.0)
    streaks = _lattice(canvas, spec, 1, (12.0, 22.0, 7.0))
    value = np.clip(np.float32(0.42) + np.float32(0.3) * streaks, 0.05, 1)
    canvas.paint(_EVERY, near * zone, value * np.float32(contrast.fat))


def _paint_abdomen(
    canvas: Canvas, spec: LumbarSpec, outline: Outline, inside: Field, texture: Field
) -> None:
    """Retroperitoneal fat, then bowel and organs in mesenteric fat, then the abdominal wall."""
    contrast = spec.scanner.contrast
    y, z = canvas.y, canvas.z
    ahead = y - outline.at("front", z)
    loops = _lattice(canvas, spec, 2, (40.0, 26.0, 34.0))
    folds = _lattice(canvas, spec, 3, (25.0, 7.0, 9.0))
    organ = np.clip(np.float32(0.75) + np.float32(0.45) * loops + np.float32(0.2) * folds, 0, 1)
    fat = np.float32(0.6 * contrast.fat) * (1 + np.float32(0.08) * texture)
    content = np.float32(contrast.bowel) * np.clip(
        np.float32(0.85) + np.float32(0.3) * folds - np.float32(0.3) * loops, 0.1, 2
    )
    value = fat + organ * (content - fat)
    front = fraction(6.0 - inside, 1.5)
    canvas.paint(_EVERY, fraction(-ahead + 2, 2.0) * front, value)
    strip = fraction(np.abs(ahead - np.float32(3.0)) - np.float32(3.2), 1.5)
    canvas.paint(_EVERY, strip * np.float32(0.85), contrast.fat)
    if spec.patient.bladder > 0:
        _paint_bladder(canvas, spec, outline)


def _paint_bladder(canvas: Canvas, spec: LumbarSpec, outline: Outline) -> None:
    contrast, radius = spec.scanner.contrast, np.float32(spec.patient.bladder)
    low = np.float32(outline.z[0] + 80)
    ahead = np.float32(np.interp(low, outline.z, outline.front)) + 62 + radius
    x, y, z = canvas.x, canvas.y, canvas.z
    far = np.sqrt((0.7 * x) ** 2 + (y - ahead) ** 2 + (1.2 * (z - low)) ** 2) - radius
    canvas.paint(_EVERY, fraction(far - 3, canvas.edge_mm), contrast.muscle)
    canvas.paint(_EVERY, fraction(far, canvas.edge_mm), 1.05 * contrast.csf)


def _paint_psoas(canvas: Canvas, spec: LumbarSpec, outline: Outline) -> None:
    """Psoas beside the bodies, thicker downwards, and the fat around it."""
    contrast, size = spec.scanner.contrast, spec.patient.size
    x, y, z = canvas.x, canvas.y, canvas.z
    aside = np.abs(x - outline.at("x", z))
    down = np.clip((np.float32(85 * size) - z) / np.float32(150 * size), 0, 1)
    middle = (outline.at("front", z) + outline.at("back", z)) / 2
    lateral = np.clip((aside - np.float32(20 * size)) / 4, 0, 1)
    around = np.abs(y - middle) - np.float32(20)
    canvas.paint(_EVERY, lateral * fraction(around, 3.0), 0.85 * contrast.fat)
    wide = (2 + 20 * np.sqrt(down)) * np.float32(size)
    across = (aside - np.float32(25 * size) - wide + 2) / wide
    along = (y - middle - 2 - 12 * np.clip(down - 0.6, 0, 1) * 2) / (3 + 19 * np.sqrt(down))
    muscle = (np.sqrt(across**2 + along**2) - 1) * wide * (down > 0.02)
    canvas.paint(_EVERY, fraction(muscle, 1.5) * (down > 0.02), contrast.muscle)


def _paint_vessels(canvas: Canvas, spec: LumbarSpec, outline: Outline) -> None:
    """Aorta to the left, vena cava to the right; below L4 the iliac vessels part."""
    contrast, size = spec.scanner.contrast, spec.patient.size
    z = canvas.z
    fork = np.float32(-40 * size)
    spread = np.clip((fork - z) / 70, 0, 1)
    for side, apart, radius in ((-1.0, 9.0, 8.0), (1.0, 14.0, 9.0)):
        cx = outline.at("x", z) + np.float32(side * size) * (apart + 32 * spread)
        cy = outline.at("front", z) + np.float32((radius + 3.5) * size)
        r = np.float32(radius * size) * (1 - np.float32(0.4) * spread)
        across = (canvas.x - cx) / (r * np.float32(1.1))
        along = (canvas.y - cy) / r
        d = np.asarray((np.sqrt(across**2 + along**2) - 1) * r, np.float32)
        flow = contrast.vessel if side < 0 else 1.6 * contrast.vessel
        canvas.paint(_EVERY, fraction(d, 1.2), flow)
