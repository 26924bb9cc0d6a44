"""Which tissues fill each voxel of a phantom head?

Tissues are layers painted over one another from the outside in, each with the share of the voxel
that it covers. Layers are kept on their bounding box only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.phantom.brain import CORTEX_MM, Brain, build_brain
from jobs.phantom.head import head_layers
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field, Frame, Layer, ellipsoid, fraction, layer, nearby, union
from jobs.phantom.spec import PhantomSpec


@dataclass(frozen=True)
class Anatomy:
    """A phantom head on the sub-voxel grid.

    Attributes
    ----------
    frame : Frame
    brain : Brain
    layers : tuple of Layer
        In the order of painting.
    csf : Field
        Share of each voxel that is sulcal or ventricular CSF, within the brain's hull.
    """

    frame: Frame
    brain: Brain
    layers: tuple[Layer, ...]
    csf: Field


def build_anatomy(
    spec: PhantomSpec, frame: Frame, spacing_mm: tuple[float, float, float]
) -> Anatomy:
    """Fill a frame with one subject's tissues; the seed of the spec decides the details."""
    rng = np.random.default_rng([spec.seed, 1])
    at, bent = _warps(frame, rng, spacing_mm)
    brain = build_brain(
        at,
        bent,
        spacing_mm=spacing_mm,
        rng=rng,
        ventricle_scale=spec.ventricle_scale,
        sulcal_width_mm=spec.sulcal_width_mm,
    )
    w = frame.voxel_mm
    head = head_layers(at, brain, rng, spacing_mm)
    inner, csf = _brain_layers(bent, brain, w)
    return Anatomy(bent, brain, (*head, *inner), csf)


def _warps(
    frame: Frame, rng: np.random.Generator, spacing_mm: tuple[float, float, float]
) -> tuple[Frame, Frame]:
    """Bend the coordinates, gently and strongly, so that no two heads or hemispheres are alike."""
    size = (frame.x.shape[0], frame.x.shape[1], frame.x.shape[2])

    def bend(at: Frame, wavelength_mm: float, by_mm: tuple[float, float, float]) -> Frame:
        moved = [
            c + mm * spline_noise(rng, size, spacing_mm, wavelength_mm)
            for c, mm in zip((at.x, at.y, at.z), by_mm, strict=True)
        ]
        return Frame(moved[0], moved[1], moved[2], at.voxel_mm)

    gentle = bend(frame, 90.0, (1.2, 2.0, 1.5))
    return gentle, bend(gentle, 25.0, (1.0, 1.3, 1.2))


def _brain_layers(at: Frame, brain: Brain, w: float) -> tuple[list[Layer], Field]:
    """Parenchyma from the outside in, and the share of CSF within the hull."""
    cerebrum = fraction(brain.cerebrum, w)
    tissue = cerebrum * fraction(-brain.pial, w)
    white = cerebrum * fraction(CORTEX_MM - brain.pial, w)
    folia, clefts = _folia(at, brain)
    hindbrain = fraction(union(brain.cerebellum, brain.brainstem), w)
    ventricle = fraction(brain.ventricle, w) * np.maximum(cerebrum, hindbrain)
    layers = [
        layer("cerebellum", fraction(brain.cerebellum, w)),
        layer("csf", fraction(brain.cerebellum, w) * clefts),
        layer("white", fraction(brain.cerebellum, w) * folia),
        layer("stem", fraction(brain.brainstem, w)),
        layer("cortex", tissue),
        layer("white", white),
    ]
    deep = fraction(1.5 - brain.pial, w)
    layers += [layer(n, fraction(d, 1.6 * w) * deep) for n, d in brain.nuclei.items()]
    layers.append(layer("ventricle", ventricle))
    plexus = nearby(
        at.mirrored(),
        (20, -36, 3),
        (27, -22, 11),
        lambda part: ellipsoid(part, (23.5, -29, 7), (3.2, 7, 3.5)),
    )
    layers.append(layer("plexus", fraction(plexus, w) * ventricle))
    solid = np.maximum(tissue, hindbrain) * (1 - ventricle)
    return layers, fraction(brain.hull, w) - np.minimum(solid, fraction(brain.hull, w))


def _folia(at: Frame, brain: Brain) -> tuple[Field, Field]:
    """Cerebellar white matter, a core with leaves, and the clefts between the leaves."""
    depth = -brain.cerebellum
    radius = np.sqrt((at.y + 25) ** 2 + (at.z + 30) ** 2 + (0.35 * at.x) ** 2)
    angle = np.arctan2(at.z + 32, -(at.y + 22))
    leaves = np.cos(angle * 14 + 0.35 * radius)
    white = np.clip((depth - 8 + 6 * leaves) / 3, 0, 1)
    clefts = 0.45 * np.clip((-leaves - 0.7) * 4, 0, 1) * np.clip((9 - depth) / 4, 0, 1)
    return np.asarray(white, np.float32), np.asarray(clefts, np.float32)
