"""What does one phantom subject look like at baseline and follow-up, and what truly changed?

Pure: arrays from a spec. Anatomy is laid out on twice as many slices as the image has and
averaged, which gives thick slices their partial volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.model import TIMEPOINTS
from jobs.phantom.anatomy import Anatomy, build_anatomy
from jobs.phantom.contrast import acquire, render_tissues
from jobs.phantom.lesions import Lesion, draw_lesions, lump_noise, place_lesions
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field, Frame
from jobs.phantom.spec import PhantomSpec
from lamstore.grid import Grid

MODALITIES = ("flair", "t1w")
_SUBSLICES = 2
_CENTRE_MM = (0.0, 4.0, 10.0)
"""Where the middle of the grid lies in head coordinates."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PhantomSubject:
    """One generated subject; every array is (x, y, z) on `grid`.

    Attributes
    ----------
    spec : PhantomSpec
    grid : Grid
    images : mapping of (timepoint, modality) to uint16 ndarray
        Skull on; timepoints ``t0`` and ``t1``, modalities ``flair`` and ``t1w``.
    brainmask : bool ndarray
    lesion_truth : mapping of timepoint to bool ndarray
        Empty masks for a subject without lesions.
    change_truth : bool ndarray
        Voxels in exactly one of the two lesion truths.
    lesions : tuple of Lesion
        Site, size and course of each lesion.
    """

    spec: PhantomSpec
    grid: Grid
    images: Mapping[tuple[str, str], NDArray[np.uint16]]
    brainmask: NDArray[np.bool_]
    lesion_truth: Mapping[str, NDArray[np.bool_]]
    change_truth: NDArray[np.bool_]
    lesions: tuple[Lesion, ...]


def generate_subject(spec: PhantomSpec) -> PhantomSubject:
    """Images and truths of one subject; the same spec gives the same bytes.

    Parameters
    ----------
    spec : PhantomSpec

    Returns
    -------
    PhantomSubject
    """
    grid = grid_of(spec)
    anatomy = build_anatomy(spec, _head_frame(spec, grid), _fine_spacing(spec))
    brainmask = _thick(anatomy.brain.hull) < 0
    lesions = place_lesions(anatomy, spec.lesions, np.random.default_rng([spec.seed, 2]))
    images: dict[tuple[str, str], NDArray[np.uint16]] = {}
    truth: dict[str, NDArray[np.bool_]] = {}
    tissue = _tissue_signals(spec, anatomy)
    lumps = lump_noise(
        np.random.default_rng([spec.seed, 4]), _fine_shape(spec), _fine_spacing(spec)
    )
    for i, timepoint in enumerate(TIMEPOINTS):
        drawn = draw_lesions(anatomy, lesions, i, lumps)
        truth[timepoint] = (_thick(drawn.share) >= 0.5) & brainmask
        for j, modality in enumerate(MODALITIES):
            signal = tissue[modality]
            signal = _thick(signal + drawn.share * (drawn.signal[modality] - signal))
            rng = np.random.default_rng([spec.seed, 5, i, j])
            images[timepoint, modality] = acquire(
                signal, spec.scanners[i], modality, rng, spec.spacing_mm
            )
    change = truth[TIMEPOINTS[0]] ^ truth[TIMEPOINTS[1]]
    return PhantomSubject(spec, grid, images, brainmask, truth, change, lesions)


def grid_of(spec: PhantomSpec) -> Grid:
    """Grid of a spec: its orientation and tilt, the head near the middle of the array."""
    sign = -1.0 if spec.orientation == "LPS" else 1.0
    angle = np.deg2rad(spec.tilt_deg)
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag([sign, sign, 1.0]) @ np.diag(spec.spacing_mm)
    middle = (np.array(spec.shape) - 1) / 2
    centre = np.array(_CENTRE_MM) * spec.head_scale
    affine[:3, 3] = centre - affine[:3, :3] @ middle
    return Grid.of(spec.shape, affine)


def _fine_shape(spec: PhantomSpec) -> tuple[int, int, int]:
    return spec.shape[0], spec.shape[1], spec.shape[2] * _SUBSLICES


def _fine_spacing(spec: PhantomSpec) -> Triple:
    return spec.spacing_mm[0], spec.spacing_mm[1], spec.spacing_mm[2] / _SUBSLICES


def _head_frame(spec: PhantomSpec, grid: Grid) -> Frame:
    """Head coordinates of every sub-voxel, scaled to the template's head."""
    i, j, k = (np.arange(n, dtype=np.float64) for n in _fine_shape(spec))
    k = (k + 0.5) / _SUBSLICES - 0.5
    m = grid.matrix

    def coordinate(row: int) -> Field:
        a, b, c = (m[row, 0] * i, m[row, 1] * j, m[row, 2] * k)
        world = a[:, None, None] + b[:, None] + c + m[row, 3]
        return np.asarray(world / spec.head_scale[row], np.float32)

    voxel_mm = max(spec.spacing_mm[0], spec.spacing_mm[1])
    return Frame(coordinate(0), coordinate(1), coordinate(2), voxel_mm)


def _thick(fine: Field) -> Field:
    """Average the sub-slices of each slice: (x, y, z * n) to (x, y, z)."""
    x, y, z = fine.shape
    return np.asarray(fine.reshape(x, y, z // _SUBSLICES, _SUBSLICES).mean(axis=3), np.float32)


def _tissue_signals(spec: PhantomSpec, anatomy: Anatomy) -> dict[str, Field]:
    """Noise-free signal of the head without lesions, by modality."""
    rng = np.random.default_rng([spec.seed, 3])
    coarse, fine = (
        spline_noise(rng, _fine_shape(spec), _fine_spacing(spec), mm) for mm in (45.0, 5.0)
    )
    return {m: render_tissues(anatomy, m, (coarse, fine)) for m in MODALITIES}
