"""Where do cerebrum, folds, ventricles, nuclei, cerebellum and brainstem of a phantom lie?

Millimetre positions follow a standard adult brain, shifted so that the cerebrum is centred. The
cortex is a ribbon that lines the cerebrum's hull and every sulcus; sulci are the zero level sets
of a labyrinth field, laid over the hull and followed inwards to a varying depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from jobs.phantom.noise import labyrinth
from jobs.phantom.shapes import Field, Frame, ellipsoid, nearby, tube, union

CORTEX_MM = 2.9
FOLD_MM = 18.0
"""Wavelength of the folds: neighbouring sulci are about half of it apart."""
_NODE_MM, _NODES = 2.5, 72

_VENTRICLE = (
    (15.0, 45.0, -1.0, 2.0),
    (12.0, 41.0, 3.0, 4.0),
    (7.5, 30.0, 9.0, 5.6),
    (6.8, 14.0, 15.0, 5.2),
    (9.0, -4.0, 18.0, 5.0),
    (17.0, -20.0, 15.0, 5.8),
    (24.0, -29.0, 8.0, 6.6),
    (26.0, -43.0, 5.0, 4.2),
    (23.0, -58.0, 4.0, 1.6),
)
_TEMPORAL_HORN = ((24.0, -27.0, 6.0, 5.0), (33.0, -14.0, -10.0, 3.2), (31.0, 5.0, -18.0, 2.2))
_BRAINSTEM = (
    (0.0, -5.0, -2.0, 9.0),
    (0.0, -9.0, -12.0, 12.0),
    (0.0, -9.0, -32.0, 12.5),
    (0.0, -20.0, -55.0, 7.5),
    (0.0, -26.0, -100.0, 6.0),
)


@dataclass(frozen=True)
class Brain:
    """Signed distances (mm, negative inside) to the parts of one brain, each (x, y, z).

    Attributes
    ----------
    hull : Field
        The whole brain with its sulci filled.
    pial : Field
        Depth below the pia, positive in tissue, negative in sulcal CSF.
    ventricle, cerebrum, cerebellum, brainstem : Field
    nuclei : mapping of name to Field
        Caudate, putamen, pallidum, thalamus.
    """

    hull: Field
    pial: Field
    ventricle: Field
    cerebrum: Field
    cerebellum: Field
    brainstem: Field
    nuclei: dict[str, Field]


def build_brain(
    at: Frame,
    bent: Frame,
    *,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
    ventricle_scale: float,
    sulcal_width_mm: float,
) -> Brain:
    """Lay out one brain.

    Parameters
    ----------
    at, bent : Frame
        Head coordinates, warped gently (for outer shapes, which are smooth) and strongly (for
        folds, fissures, ventricles and nuclei).
    spacing_mm : tuple of float
        Of the frames' voxels.
    rng : Generator
        Decides the folds.
    ventricle_scale : float
    sulcal_width_mm : float
        Half-width of the sulci.
    """
    sides = at.mirrored()
    cerebellum = _cerebellum(sides)
    brainstem = tube(at, _BRAINSTEM)
    pons = ellipsoid(at, (0, -5, -30), (17, 12, 15))
    peduncle = tube(sides, ((9.0, -10.0, -31.0, 8.0), (20.0, -36.0, -37.0, 7.0)))
    brainstem = union(union(brainstem, pons, 4.0), peduncle, 4.0)
    cerebrum = _cerebrum(sides)
    # The tentorium: a cleft of CSF where the cerebrum would otherwise touch the hindbrain.
    cerebrum = np.maximum(cerebrum, 2.2 - cerebellum)
    cerebrum = np.maximum(cerebrum, -_cisterns(bent, brainstem))
    sides = bent.mirrored()
    nuclei = {
        name: nearby(sides, (0, -18, -9), (32, 42, 25), shape) for name, shape in _NUCLEI.items()
    }
    ventricle = _ventricles(sides, nuclei, ventricle_scale)
    hull = union(union(cerebrum, cerebellum), brainstem)
    pial = _pial_depth(bent, cerebrum, spacing_mm, rng, sulcal_width_mm)
    return Brain(hull, pial, ventricle, cerebrum, cerebellum, brainstem, nuclei)


def _cerebrum(sides: Frame) -> Field:
    dome = ellipsoid(sides, (10, 0, 11), (55, 85, 58))
    dome = -union(-dome, sides.z - _floor(sides), 16.0)
    temporal = ellipsoid(sides, (42, 2, -17), (21, 42, 24))
    return union(dome, temporal, 6.0)


def _floor(sides: Frame) -> Field:
    """Height (mm) of the base of the frontal, parietal and occipital lobes."""
    return np.asarray(-17 - 0.06 * (sides.y + 20), np.float32)


def _cerebellum(sides: Frame) -> Field:
    hemisphere = ellipsoid(sides, (21, -49, -38), (30, 27, 23))
    vermis = ellipsoid(sides, (0, -45, -33), (13, 22, 20))
    return union(hemisphere, vermis, 5.0)


def _cisterns(at: Frame, brainstem: Field) -> Field:
    """CSF around the midbrain and above the sella."""
    ambient = union(brainstem, ellipsoid(at, (0, -22, -9), (9, 7, 6)), 3.0) - 2.2
    ambient = np.maximum(ambient, at.z + 7.5 + 0.25 * (at.y + 9))
    sylvian_stem = tube(at.mirrored(), ((0.0, 15.0, -17.0, 5.5), (26.0, 19.0, -13.0, 1.6)))
    return union(ambient, union(sylvian_stem, ellipsoid(at, (0, 15, -18), (8, 8, 8)), 3.0), 3.0)


_CAUDATE = (
    (12.5, 36.0, 4.0, 5.5),
    (13.5, 26.0, 10.0, 5.5),
    (16.0, 8.0, 19.0, 3.6),
    (21.0, -12.0, 20.0, 2.2),
)
_NUCLEI: dict[str, Callable[[Frame], Field]] = {
    "caudate": lambda sides: tube(sides, _CAUDATE),
    "putamen": lambda sides: ellipsoid(sides, (26, 19, 2), (5.5, 16, 9)),
    "pallidum": lambda sides: ellipsoid(sides, (19.5, 13, 0), (4.5, 9, 6.5)),
    "thalamus": lambda sides: ellipsoid(sides, (10.5, -3, 7), (8.5, 14.5, 8.5)),
}


def _ventricles(sides: Frame, nuclei: dict[str, Field], scale: float) -> Field:
    def shape(part: Frame) -> Field:
        lateral = [
            tube(part, tuple((x, y, z, r * scale) for x, y, z, r in nodes))
            for nodes in (_VENTRICLE, _TEMPORAL_HORN)
        ]
        return union(lateral[0], lateral[1])

    lateral = nearby(sides, (0, -60, -20), (36, 48, 25), shape)
    # Caudate and thalamus bulge into the lateral ventricle; the septum parts left from right.
    for name in ("caudate", "thalamus"):
        lateral = np.maximum(lateral, 0.3 - nuclei[name])
    lateral = np.maximum(lateral, 1.2 - sides.x)

    def midline(part: Frame) -> Field:
        third = ellipsoid(part, (0, 5, 0), (2.2 * scale, 15, 10))
        return union(third, ellipsoid(part, (0, -24, -32), (7 * scale, 4.5, 10)))

    return union(lateral, nearby(sides, (0, -30, -43), (10, 20, 10), midline))


def _pial_depth(
    at: Frame,
    cerebrum: Field,
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
    width_mm: float,
) -> Field:
    """Depth (mm) below the pia of hull, fissures and sulci, positive in tissue."""
    outer = np.minimum(-cerebrum, _fissures(at))
    fold, depth = _fold_fields(at, rng)
    gradient = np.gradient(fold, *spacing_mm)
    slope = np.sqrt(sum(g * g for g in gradient) + 0.006)
    sheet = np.abs(fold) / slope
    reach = np.clip(13 + 3.5 * depth, 8, 20)
    # Neither the core of the brain nor the floor of a fissure is folded.
    core = np.sqrt(at.x**2 + (0.72 * (at.y - 8)) ** 2 + (1.2 * (at.z - 5)) ** 2)
    core = np.maximum(35 - core, 0)
    sheet = np.sqrt(sheet**2 + np.maximum(outer - reach, 0) ** 2 + core**2)
    # Sulci gape at the surface and close towards their floor.
    gape = width_mm * np.clip(1.6 - outer / 14, 0.3, 1.6)
    return np.asarray(np.minimum(outer, sheet - gape), np.float32)


def _fissures(at: Frame) -> Field:
    """Distance (mm) to the surface of the longitudinal and lateral (Sylvian) fissures."""
    callosum = np.hypot((at.y - 12) / 40, (at.z - 4) / 25)
    inside = np.maximum(1 - callosum, 0) * 28
    longitudinal = np.hypot(at.x, inside) - 0.9
    sides = at.mirrored()
    ridge = (sides.z + 4 - 0.35 * (20 - sides.y)) * 0.94
    beyond = np.maximum(np.abs(sides.y - 10) - 38, 0)
    cleft = np.sqrt(ridge**2 + np.maximum(38 - sides.x, 0) ** 2 + beyond**2)
    rise, run = np.maximum(np.abs(ridge - 3) - 10, 0), np.maximum(np.abs(sides.y - 20) - 19, 0)
    wall = sides.x - 39 + 0.008 * (sides.y - 18) ** 2
    insula = np.sqrt(wall**2 + rise**2 + run**2)
    lateral = np.minimum(cleft, insula) - 1.3
    return np.asarray(np.minimum(longitudinal, lateral), np.float32)


def _fold_fields(at: Frame, rng: np.random.Generator) -> tuple[Field, Field]:
    """Labyrinth over the hull, and a smooth field that varies the sulci's depth.

    Points are carried radially onto an ellipsoid, less so the deeper they lie, so that sheets
    run inwards from the surface as sulci do.
    """
    x, y, z = at.x, at.y, at.z - 8
    radius = np.sqrt((x / 64) ** 2 + (y / 84) ** 2 + (z / 62) ** 2) + 1e-3
    carried = (0.55 / radius + 0.45) / _NODE_MM
    nodes = np.stack([c * carried for c in (x, y, z)]) + np.float32(_NODES / 2)
    lattice = labyrinth(rng, _NODES, _NODE_MM, FOLD_MM)
    slow = labyrinth(rng, _NODES, _NODE_MM, 55.0)
    fields = [
        map_coordinates(f, nodes, order=1, mode="grid-wrap", output=np.float32)
        for f in (lattice, slow)
    ]
    return fields[0], fields[1]
