"""Which series does a generated study hold besides the sagittal T2?

A sagittal T1-like series and a short axial T2-like stack through the discs, from the same geometry
at half the resolution: enough that a reader must choose the right series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jobs.heatmaps import LEVELS
from jobs.lumbar.canvas import Canvas
from jobs.lumbar.chain import Vector, place_chain
from jobs.lumbar.lumbar import Lumbar, grid_affine, render, sagittal_canvas, scanner_affine
from jobs.lumbar.scanner import acquire
from jobs.lumbar.soft import place_outline
from jobs.lumbar.spec import Contrast, LumbarSpec

T1 = Contrast(
    csf=0.13,
    cord=0.34,
    root=0.30,
    fat=1.0,
    marrow=0.55,
    muscle=0.26,
    annulus=0.22,
    nucleus=0.12,
    cortex=0.06,
    vessel=0.06,
    bowel=0.25,
    skin=0.3,
    joint=0.2,
)
"""Signals on T1; fat is 1."""

_AXIAL_FIELD_MM = 170.0
_AXIAL_STEP_MM = 4.5
_AXIAL_PER_LEVEL = 3


@dataclass(frozen=True)
class Series:
    """One series of a study.

    Attributes
    ----------
    description : str
        As in the challenge's table of series: ``Sagittal T2/STIR``, ``Sagittal T1``, ``Axial T2``.
    weighting : {"T1", "T2"}
    slice_mm : float
    volume : (column, row, slice) int16 ndarray
    affine : (4, 4) float64 ndarray
        Voxel indices to RAS mm.
    """

    description: str
    weighting: str
    slice_mm: float
    volume: NDArray[np.int16]
    affine: Vector


def study_series(lumbar: Lumbar) -> tuple[Series, Series, Series]:
    """Sagittal T2, sagittal T1 and axial T2 of one generated spine."""
    spec = lumbar.spec
    first = Series("Sagittal T2/STIR", "T2", spec.scanner.slice_mm, lumbar.volume, lumbar.affine)
    return first, sagittal_t1(spec), axial_t2(spec)


def sagittal_t1(spec: LumbarSpec) -> Series:
    """T1-like series on the slices of the T2 series, at half its matrix."""
    scanner = spec.scanner
    columns, rows = scanner.matrix
    half = replace(
        scanner,
        matrix=(columns // 2, rows // 2),
        spacing_mm=scanner.spacing_mm * 2,
        contrast=T1,
    )
    changed = replace(spec, scanner=half)
    volume = _image(sagittal_canvas(changed), changed, stream=1).transpose(2, 1, 0)
    affine = scanner_affine(changed) @ grid_affine(changed)
    return Series("Sagittal T1", "T1", scanner.slice_mm, volume, affine)


def axial_t2(spec: LumbarSpec) -> Series:
    """T2-like stack from L1/2 to L5/S1, evenly spaced and not tilted to the discs."""
    chain = place_chain(spec)
    top = chain.discs[LEVELS[0]].centre
    bottom = chain.discs[LEVELS[-1]].centre
    count = len(LEVELS) * _AXIAL_PER_LEVEL
    step = (top[2] - bottom[2]) / (count - 1)
    n = max(spec.scanner.matrix[0] // 2, 16)
    spacing = _AXIAL_FIELD_MM / n
    middle = (top + bottom) / 2
    # Columns run to the patient's left, rows backwards, slices upwards.
    affine = np.zeros((4, 4))
    affine[0, 0], affine[1, 1], affine[2, 2], affine[3, 3] = -spacing, -spacing, step, 1.0
    start = np.array([middle[0], middle[1] - 15.0, bottom[2]])
    affine[:3, 3] = start + np.array([spacing, spacing, 0.0]) * (n - 1) / 2
    x, y = (affine[a, 3] - spacing * np.arange(n, dtype=np.float32) for a in (0, 1))
    z = bottom[2] + step * np.arange(count)
    canvas = Canvas(
        np.full((count, n, n), spec.scanner.contrast.air, np.float32),
        x.astype(np.float32)[None, None, :],
        y.astype(np.float32)[None, :, None],
        z.astype(np.float32)[:, None, None],
        spacing,
    )
    volume = _image(canvas, spec, stream=2).transpose(2, 1, 0)
    return Series("Axial T2", "T2", _AXIAL_STEP_MM, volume, scanner_affine(spec) @ affine)


def _image(canvas: Canvas, spec: LumbarSpec, stream: int) -> NDArray[np.int16]:
    chain = place_chain(spec)
    outline = place_outline(spec, chain)
    painted = render(canvas, spec, chain, outline, [np.zeros(3)])
    return acquire(painted, spec, outline, stream)
