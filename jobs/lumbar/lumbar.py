"""What does the sagittal T2 series of one generated spine look like, and where are its levels?

Pure: arrays from a spec. Bones are painted on several sub-slices of each slice and averaged, which
gives thick slices their partial volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jobs.heatmaps import LEVELS
from jobs.lumbar.bodies import paint_bodies, paint_discs
from jobs.lumbar.canal import paint_canal, paint_foramina, place_canal
from jobs.lumbar.canvas import Canvas
from jobs.lumbar.chain import Chain, Vector, place_chain
from jobs.lumbar.posterior import paint_posterior, paint_transverse
from jobs.lumbar.scanner import acquire
from jobs.lumbar.soft import Outline, paint_soft, place_outline
from jobs.lumbar.spec import Kind, LumbarSpec
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field

_SUBSLICES = 3


@dataclass(frozen=True)
class Lumbar:
    """One generated series and its truth.

    Attributes
    ----------
    volume : (column, row, slice) int16 ndarray
        Columns run backwards, rows downwards, slices from left to right, as in DICOM.
    affine : (4, 4) float64 ndarray
        Voxel indices to RAS mm.
    landmarks : mapping of level to (3,) float64 ndarray
        RAS mm of the centres of the discs `LEVELS`, named by counting from the ribs; also of
        those that lie outside the volume, see `in_view`.
    centroids : mapping of vertebra to (3,) float64 ndarray
        RAS mm of the centres of the bodies that lie in the volume, from the top.
    kind : str
    spec : LumbarSpec
    """

    volume: NDArray[np.int16]
    affine: Vector
    landmarks: Mapping[str, Vector]
    centroids: Mapping[str, Vector]
    kind: Kind
    spec: LumbarSpec

    def voxel(self, level: str) -> Vector:
        """(3,) fractional column, row and slice of a level."""
        return np.asarray(np.linalg.inv(self.affine) @ [*self.landmarks[level], 1.0])[:3]

    def in_view(self, level: str) -> bool:
        """Whether the centre of a level lies in the volume."""
        at = self.voxel(level)
        return bool(np.all(at > -0.5) and np.all(at < np.array(self.volume.shape) - 0.5))


def generate_lumbar(spec: LumbarSpec) -> Lumbar:
    """Sagittal T2 series of a spec; the same spec gives the same bytes.

    Parameters
    ----------
    spec : LumbarSpec
        See `jobs.lumbar.draw.draw_spec`.

    Returns
    -------
    Lumbar
    """
    chain = place_chain(spec)
    outline = place_outline(spec, chain)
    canvas = render(sagittal_canvas(spec), spec, chain, outline, _sub_offsets(spec))
    image = acquire(canvas, spec, outline, stream=0)
    affine = scanner_affine(spec) @ grid_affine(spec)
    carried = scanner_affine(spec)
    centroids = {name: _carry(carried, place.centre) for name, place in chain.vertebrae.items()}
    inverse = np.asarray(np.linalg.inv(affine), np.float64)
    size = image.shape[::-1]
    seen = {n: c for n, c in centroids.items() if _inside(inverse, c, size)}
    landmarks = {level: _carry(carried, chain.discs[level].centre) for level in LEVELS}
    return Lumbar(image.transpose(2, 1, 0), affine, landmarks, seen, spec.kind, spec)


def grid_affine(spec: LumbarSpec) -> Vector:
    """(4, 4) from (column, row, slice) to patient space."""
    scanner = spec.scanner
    affine = np.zeros((4, 4))
    affine[1, 0] = affine[2, 1] = -scanner.spacing_mm
    affine[0, 2] = scanner.step_mm
    affine[3, 3] = 1.0
    columns, rows = scanner.matrix
    middle = np.array([columns - 1, rows - 1, scanner.slices - 1]) / 2
    affine[:3, 3] = np.array(scanner.centre_mm) - affine[:3, :3] @ middle
    return affine


def scanner_affine(spec: LumbarSpec) -> Vector:
    """(4, 4) rigid, from patient space to RAS mm of the scanner."""
    yaw, roll, pitch = np.deg2rad(
        [spec.scanner.yaw_deg, spec.scanner.roll_deg, spec.scanner.pitch_deg]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    about_y = np.array(
        [[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]]
    )
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x
    affine[:3, 3] = spec.scanner.origin_mm
    return affine


def sagittal_canvas(spec: LumbarSpec) -> Canvas:
    """Empty canvas of the sagittal series."""
    scanner = spec.scanner
    affine = grid_affine(spec)
    columns, rows = scanner.matrix
    y = affine[1, 3] + affine[1, 0] * np.arange(columns)
    z = affine[2, 3] + affine[2, 1] * np.arange(rows)
    x = affine[0, 3] + affine[0, 2] * np.arange(scanner.slices)
    return Canvas(
        np.full((scanner.slices, rows, columns), scanner.contrast.air, np.float32),
        x.astype(np.float32)[:, None, None],
        y.astype(np.float32)[None, None, :],
        z.astype(np.float32)[None, :, None],
        scanner.spacing_mm,
    )


def render(
    canvas: Canvas, spec: LumbarSpec, chain: Chain, outline: Outline, offsets_mm: list[Vector]
) -> Canvas:
    """Paint everything.

    Parameters
    ----------
    canvas : Canvas
        Empty.
    spec : LumbarSpec
    chain : Chain
    outline : Outline
    offsets_mm : list of (3,) ndarray
        Where in a voxel the bones are sampled; their mean is taken.

    Returns
    -------
    Canvas
        The painted one.
    """
    coarse, fine = _textures(canvas, spec)
    paint_soft(canvas, spec, outline, coarse)
    canal = place_canal(spec, chain)
    total = np.zeros_like(canvas.signal)
    for offset in offsets_mm:
        x, y, z = (
            c + np.float32(o) for c, o in zip((canvas.x, canvas.y, canvas.z), offset, strict=True)
        )
        part = Canvas(canvas.signal.copy(), x, y, z, canvas.edge_mm)
        paint_foramina(part, spec, chain)
        paint_posterior(part, spec, chain)
        paint_canal(part, spec, chain, canal)
        paint_discs(part, spec, chain)
        paint_bodies(part, spec, chain, fine)
        paint_transverse(part, spec, chain)
        total += part.signal
    total *= np.float32(1 / len(offsets_mm))
    total *= 1 + np.float32(0.03) * fine
    return replace(canvas, signal=total)


def _textures(canvas: Canvas, spec: LumbarSpec) -> tuple[Field, Field]:
    """Coarse and fine noise of unit variance over the canvas."""
    rng = np.random.default_rng([spec.seed, 10])
    shape = canvas.signal.shape
    sizes = (shape[0], shape[1], shape[2])
    steps = []
    for axis in range(3):
        along = next(c for c in (canvas.x, canvas.y, canvas.z) if c.shape[axis] == sizes[axis])
        flat = along.ravel()
        steps.append(float(abs(flat[-1] - flat[0]) / max(flat.size - 1, 1)))
    spacing = (steps[0], steps[1], steps[2])
    return spline_noise(rng, sizes, spacing, 28.0), spline_noise(rng, sizes, spacing, 4.0)


def _sub_offsets(spec: LumbarSpec) -> list[Vector]:
    """Sub-slices, evenly over the slice's thickness."""
    at = (np.arange(_SUBSLICES) + 0.5) / _SUBSLICES - 0.5
    return [np.array([a * spec.scanner.slice_mm, 0.0, 0.0]) for a in at]


def _carry(affine: Vector, point: Vector) -> Vector:
    return np.asarray(affine[:3, :3] @ point + affine[:3, 3])


def _inside(inverse: Vector, point: Vector, size: tuple[int, ...]) -> bool:
    at = _carry(inverse, point)
    return bool(np.all(at > -0.5) and np.all(at < np.array(size) - 0.5))
