"""What do vertebral bodies and discs look like?

A body is a waisted, kidney-shaped block with concave endplates and a dark cortical shell; a disc
fills what lies between two endplates, with a bright nucleus in a dark annulus.
"""

from __future__ import annotations

import numpy as np

from jobs.lumbar.canvas import Canvas, box_of, paint_shape, rounded
from jobs.lumbar.chain import Chain, Placed
from jobs.lumbar.spec import Contrast, Disc, LumbarSpec, Vertebra
from jobs.phantom.shapes import Field, Frame, ellipsoid, fraction

_CORTEX_MM = 0.9
_HOLLOW = 0.06
"""How far the posterior wall is hollowed towards the canal, as a share of half the depth."""


def body_distance(at: Frame, vertebra: Vertebra) -> Field:
    """Signed distance (mm, negative inside) to the surface of a body, in its own frame."""
    half = vertebra.height_mm / 2
    level = np.clip(at.z / np.float32(half), -1, 1)
    sacral = vertebra.name.startswith("S")
    waist = np.float32(0.03 if sacral else 0.07)
    shape = 1 - waist * (1 - level * level)
    narrowing = 1 - np.float32((1 - vertebra.taper) / 2) * (1 - level)
    # The posterior wall stays put; a tapering body loses its depth in front.
    depth = np.float32(vertebra.depth_mm / 2)
    b = depth * narrowing * shape
    a = np.float32(vertebra.width_mm / 2) * (0.5 + 0.5 * narrowing) * shape
    middle = depth * (narrowing - np.float32((1 + vertebra.taper) / 2))
    u, v = at.x / a, (at.y - middle) / b
    # Kidney: the posterior wall is hollowed towards the canal.
    v = v - np.float32(_HOLLOW) * np.clip(1 - u * u, 0, 1) * (v < 0)
    u2, v2 = u * u, v * v
    square = u2 + v2
    fourth = np.sqrt(u2 * u2 + v2 * v2)
    norm = np.sqrt(np.float32(0.45) * square + np.float32(0.55) * fourth)
    side = (norm - 1) * np.minimum(a, b)
    hollow = np.float32(0.4 if sacral else 1.5 * min(1.0, vertebra.height_mm / 26))
    wedge = np.float32(np.tan(np.deg2rad(vertebra.wedge_deg / 2))) * at.y
    end = np.abs(at.z) - np.float32(half) - wedge + hollow * np.clip(1 - square, 0, 1)
    return rounded(side, end, 2.2)


def paint_bodies(canvas: Canvas, spec: LumbarSpec, chain: Chain, texture: Field) -> None:
    """Paint every body in view.

    Parameters
    ----------
    canvas : Canvas
    spec : LumbarSpec
    chain : Chain
    texture : (slice, row, column) float32 ndarray
        Noise of unit variance that varies the marrow.
    """
    for i, vertebra in enumerate(spec.vertebrae):
        modic = (spec.discs[i - 1].modic if i else 0.0, spec.discs[min(i, 15)].modic)
        _paint_body(canvas, chain.vertebrae[vertebra.name], vertebra, spec, modic, texture)


def _paint_body(
    canvas: Canvas,
    place: Placed,
    vertebra: Vertebra,
    spec: LumbarSpec,
    modic: tuple[float, float],
    texture: Field,
) -> None:
    radius = 0.62 * max(vertebra.width_mm, vertebra.depth_mm, vertebra.height_mm) + 2
    box = box_of(canvas, place, [(0, 0, 0, radius)], 0.0)
    if box is None:
        return
    contrast = spec.scanner.contrast
    at = canvas.local(box, place)
    d = body_distance(at, vertebra)
    canvas.paint(box, fraction(d, canvas.edge_mm), contrast.cortex)
    marrow = np.float32(contrast.marrow) * (1 + np.float32(0.05) * texture[box])
    for change, sign in zip(modic, (1, -1), strict=True):
        if change > 0:
            near = np.clip(1 - (vertebra.height_mm / 2 - sign * at.z) / 8, 0, 1)
            marrow = marrow + np.float32(0.6 * change) * near * (contrast.fat - marrow)
    canvas.paint(box, fraction(d + np.float32(_CORTEX_MM), canvas.edge_mm), marrow)
    _paint_vein(canvas, place, vertebra, contrast)


def _paint_vein(canvas: Canvas, place: Placed, vertebra: Vertebra, contrast: Contrast) -> None:
    """The basivertebral vein enters the middle of the posterior wall."""
    if vertebra.name.startswith("S"):
        return
    back = -0.37 * vertebra.mean_depth_mm
    reach = 0.15 * vertebra.mean_depth_mm

    def vein(at: Frame) -> Field:
        return ellipsoid(at, (0, back, 0), (5.0, reach, 1.7))

    bright = 0.5 * (contrast.fat + contrast.marrow)
    paint_shape(canvas, place, [(0, back, 0, reach + 1)], vein, [(0.0, bright)])


def paint_discs(canvas: Canvas, spec: LumbarSpec, chain: Chain) -> None:
    """Paint every disc in view, and the bone that bridges rudimentary ones."""
    for i, disc in enumerate(spec.discs):
        place = chain.discs[disc.name]
        _paint_disc(canvas, place, disc, (spec.vertebrae[i], spec.vertebrae[i + 1]), spec)


def _paint_disc(
    canvas: Canvas, place: Placed, disc: Disc, ends: tuple[Vertebra, Vertebra], spec: LumbarSpec
) -> None:
    contrast = spec.scanner.contrast
    upper, lower = ends
    # Annulus and bridge reach between the rounded corners of the bodies.
    full_b = (upper.depth_mm * upper.taper + lower.depth_mm) / 4
    full_a = (upper.width_mm + lower.width_mm) / 4
    box = box_of(canvas, place, [(0, 0, 0, max(full_a, full_b) + 4)], 0.0)
    if box is None:
        return
    at = canvas.local(box, place)
    half = disc.height_mm / 2
    wedge = np.float32(np.tan(np.deg2rad(place.opening_deg / 2))) * at.y
    end = np.abs(at.z) - np.float32(half) - wedge
    if disc.depth_ratio < 0.9:
        bridge = rounded(_oval(at, full_a * 0.96, full_b * 0.96, 0.0), end - 5, 1.0)
        canvas.paint(box, fraction(bridge, canvas.edge_mm), contrast.cortex)
        inner = fraction(bridge + np.float32(_CORTEX_MM), canvas.edge_mm)
        canvas.paint(box, inner, contrast.marrow)
    a, b = full_a * disc.depth_ratio, full_b * disc.depth_ratio
    whole = disc.depth_ratio >= 0.9
    side = _oval(at, a + 0.2, b + 0.2, disc.bulge_mm)
    annulus = rounded(side, end - np.float32(2.2 if whole else 0.8), 2.0)
    canvas.paint(box, fraction(annulus, canvas.edge_mm), contrast.annulus)
    canvas.paint(box, _nucleus(at, a, b, end), _nucleus_signal(at, disc, contrast))


def _oval(at: Frame, a: float, b: float, bulge_mm: float) -> Field:
    """Signed distance (mm) to an oval column whose back stands out by a bulge."""
    u = at.x / np.float32(a)
    v = (at.y + np.float32(bulge_mm / 2)) / np.float32(b + bulge_mm / 2)
    u2 = u * u
    v = v - np.float32(_HOLLOW) * np.clip(1 - u2, 0, 1) * (v < 0)
    v2 = v * v
    norm = np.sqrt(np.float32(0.45) * (u2 + v2) + np.float32(0.55) * np.sqrt(u2 * u2 + v2 * v2))
    return np.asarray((norm - 1) * np.float32(min(a, b)), np.float32)


def _nucleus(at: Frame, a: float, b: float, end: Field) -> Field:
    """Share of nucleus: softly fading into the annulus, with a thin dark line at the endplates."""
    u, v = at.x / np.float32(0.82 * a), (at.y + np.float32(0.06 * b)) / np.float32(0.78 * b)
    inside = np.clip((1 - np.sqrt(u * u + v * v)) / np.float32(0.35), 0, 1)
    # Concave endplates give the nucleus more room in its middle.
    room = np.clip((np.float32(1.4) * inside - end - np.float32(0.6)) / np.float32(1.0), 0, 1)
    return np.asarray(inside * room, np.float32)


def _nucleus_signal(at: Frame, disc: Disc, contrast: Contrast) -> Field:
    """Bright with a darker cleft at mid-height, as in most adults."""
    bright = np.float32(contrast.annulus + contrast.nucleus * disc.signal)
    thin = np.float32(max(0.16 * disc.height_mm, 0.5))
    cleft = np.float32(0.35) * np.exp(-((at.z / thin) ** 2))
    return np.asarray(bright * (1 - cleft), np.float32)
