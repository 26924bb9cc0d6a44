"""What surrounds a phantom's brain: skull, scalp, face, and the CSF between brain and bone?"""

from __future__ import annotations

import numpy as np

from jobs.phantom.brain import Brain
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import (
    Field,
    Frame,
    Layer,
    ellipsoid,
    fraction,
    layer,
    nearby,
    union,
    within,
)


def head_layers(
    at: Frame, brain: Brain, rng: np.random.Generator, spacing_mm: tuple[float, float, float]
) -> list[Layer]:
    """Tissues outside the brain, from the skin inwards to the CSF that bathes it.

    Parameters
    ----------
    at : Frame
        Gently warped head coordinates.
    brain : Brain
    rng : Generator
        Decides the bone's thickness and the patchwork of the face.
    spacing_mm : tuple of float
        Of the frame's voxels.
    """
    size = (at.x.shape[0], at.x.shape[1], at.x.shape[2])
    lumps, grain = (spline_noise(rng, size, spacing_mm, mm) for mm in (28.0, 9.0))
    vault = np.maximum(ellipsoid(at, (0, 0, 9), (60, 82, 57)), -18 - at.z)
    cavity = union(brain.hull, vault, 7.0) - 2
    skin = union(cavity - 10, _face(at), 12.0)
    w = at.voxel_mm
    flesh = fraction(np.maximum(skin + 5, 9 - cavity), w)
    return [
        layer("skin", fraction(skin, w)),
        layer("fat", fraction(skin + 2, w)),
        layer("muscle", flesh * np.clip(0.5 + 1.5 * (lumps + grain), 0, 1)),
        *_skull(at, cavity - 0.7 * lumps, lumps),
        *_orbits_and_sinuses(at, cavity, skin, grain),
        layer("csf", fraction(cavity, w)),
        # Dura, and the veins along it.
        layer("dura", within(cavity, -0.8, 0.8, w) * np.clip(0.25 + 0.35 * grain, 0, 0.8)),
    ]


def _face(at: Frame) -> Field:
    """Signed distance to face and neck, below the level of the brain's base."""
    front, back = (
        ellipsoid(at, (0, 22, -45), (66, 76, 62)),
        ellipsoid(at, (0, -25, -55), (58, 62, 70)),
    )
    return np.asarray(np.maximum(union(front, back, 20.0), at.z + 5), np.float32)


def _skull(at: Frame, table: Field, lumps: Field) -> list[Layer]:
    """Two tables of bone with marrow between; thick above, thin at the base."""
    thick = 7 - 3 * np.clip((-12 - at.z) / 10, 0, 1)
    bone = np.asarray(table - thick, np.float32)
    marrow = within(table, 2.2, 5.0, at.voxel_mm) * np.clip(0.6 + 0.5 * lumps, 0, 1)
    return [layer("bone", fraction(bone, at.voxel_mm)), layer("marrow", marrow)]


def _orbits_and_sinuses(at: Frame, cavity: Field, skin: Field, grain: Field) -> list[Layer]:
    def sinuses(part: Frame) -> Field:
        nose = ellipsoid(part, (0, 58, -36), (15, 24, 22))
        return union(nose, ellipsoid(part, (0, 22, -32), (13, 13, 9)))

    w, sides = at.voxel_mm, at.mirrored()
    air = nearby(at, (-15, 9, -58), (15, 82, -14), sinuses) + 2.5 * grain
    fat = nearby(
        sides, (14, 42, -45), (48, 86, -15), lambda p: ellipsoid(p, (31, 64, -30), (17, 22, 15))
    )
    eye = nearby(
        sides,
        (20, 59, -42),
        (44, 83, -18),
        lambda p: ellipsoid(p, (32, 71, -30), (11.5, 11.5, 11.5)),
    )
    outside = fraction(3 - cavity, w)
    return [
        layer("air", fraction(air, w) * outside),
        layer("fat", fraction(fat, w) * outside * fraction(skin + 3, w)),
        layer("vitreous", fraction(eye, w) * outside),
    ]
