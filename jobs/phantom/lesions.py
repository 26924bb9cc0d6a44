"""Where do a phantom's white-matter lesions lie, and what does the follow-up show of each?

Sites follow what is typical of multiple sclerosis (Filippi et al., Brain 2019): periventricular
with the long axis away from the ventricle, juxtacortical, and deep white matter. A lesion is an
ellipsoid with a surface deformed by noise and a soft edge; it changes by scaling its radii.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.phantom.anatomy import Anatomy
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field, Frame
from jobs.phantom.spec import LesionPlan
from lamstore.errors import ConfigError

SITES = {"periventricular": 0.45, "deep": 0.3, "juxtacortical": 0.25}
"""Kinds of site and the share of lesions at each."""
_EDGE_MM = 2.4
"""Width of a lesion's soft edge; the truth is its middle."""
_HALO_MM = 5.0
_LUMPINESS = 0.22
_CANDIDATES = 12
_SITES_SAMPLED = 4000


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes
    ----------
    centre_mm : tuple of float
        In the anatomy's (warped) head coordinates.
    radii_mm : tuple of float
        Along the lesion's own axes, at scale 1.
    axes : (3, 3) tuple of tuples of float
        Rows are the lesion's axes.
    scales : tuple of float
        Of the radii at baseline and follow-up; 0 is absent.
    flair, t1w : float
        Signal at the centre, white matter at 1.
    """

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    axes: tuple[tuple[float, ...], ...]
    scales: tuple[float, float]
    flair: float
    t1w: float


def place_lesions(
    anatomy: Anatomy, plan: LesionPlan, rng: np.random.Generator
) -> tuple[Lesion, ...]:
    """Choose sites, shapes, signals and courses of all lesions of a plan.

    Of some random candidates for a site the one farthest from earlier lesions is taken, so that
    most lesions stay apart and heavy loads run together.
    """
    pools = _site_pools(anatomy, rng)
    kinds = rng.choice(list(SITES), size=plan.count, p=list(SITES.values()))
    low, high = np.log(plan.radius_mm)
    sizes = np.exp(rng.uniform(low, high, plan.count))
    placed: list[Lesion] = []
    for kind, radius, scales in zip(kinds, sizes, _courses(plan, rng), strict=True):
        pool = pools[str(kind)]
        some = pool[rng.integers(0, len(pool), _CANDIDATES)]
        centre = some[np.argmax(_clearance(some, placed))]
        placed.append(_shape(centre, float(radius), str(kind), scales, rng))
    return tuple(placed)


def _courses(plan: LesionPlan, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Scales at baseline and follow-up, one pair a lesion, in random order."""
    pairs = [(1.0, 1.0)] * plan.stable + [(0.0, 1.0)] * plan.new + [(1.0, 0.0)] * plan.vanished
    pairs += [(1.0, float(s)) for s in rng.uniform(1.35, 1.75, plan.grown)]
    pairs += [(1.0, float(s)) for s in rng.uniform(0.5, 0.72, plan.shrunk)]
    return [pairs[i] for i in rng.permutation(len(pairs))]


def _site_pools(anatomy: Anatomy, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """(candidates, 3) head coordinates (mm) of random voxels at each kind of site."""
    at, brain = anatomy.frame, anatomy.brain
    white = (brain.pial > 3.5) & (brain.cerebrum < -5) & (at.z > -20) & (np.abs(at.x) > 6)
    for distance in brain.nuclei.values():
        white &= distance > 3.0
    sites = {
        "periventricular": white & (brain.ventricle > 0.5) & (brain.ventricle < 4.0) & (at.z > 0),
        "deep": white & (brain.ventricle > 9.0) & (brain.pial > 5.5),
        "juxtacortical": white & (brain.ventricle > 12.0) & (brain.pial < 5.0),
    }
    pools = {}
    for kind, mask in sites.items():
        index = np.flatnonzero(mask)
        if index.size == 0:
            raise ConfigError(
                f"this phantom has no place for {kind} lesions",
                got=f"shape {mask.shape}",
                expected="a grid that covers the head, with voxels of a few mm",
            )
        index = index[rng.integers(0, index.size, _SITES_SAMPLED)]
        pools[kind] = np.stack([c.ravel()[index] for c in (at.x, at.y, at.z)], axis=1)
    return pools


def _clearance(points: NDArray[np.float32], placed: list[Lesion]) -> NDArray[np.float32]:
    """(n,) mm from each point to the nearest earlier lesion's surface."""
    if not placed:
        return np.zeros(len(points), np.float32)
    centres = np.array([x.centre_mm for x in placed], np.float32)
    reach = np.array([max(x.radii_mm) * max(x.scales) for x in placed], np.float32)
    gaps = np.linalg.norm(points[:, None] - centres[None], axis=2) - reach
    return np.asarray(gaps.min(axis=1), np.float32)


def _shape(
    centre: NDArray[np.float32],
    radius: float,
    kind: str,
    scales: tuple[float, float],
    rng: np.random.Generator,
) -> Lesion:
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    stretch = rng.uniform(1.0, 1.3)
    if kind == "periventricular":
        # Dawson's fingers: along the medullary veins, perpendicular to the ventricle.
        away = np.array([centre[0], 0.35 * centre[1], 0.15 * abs(centre[2])])
        axes = np.linalg.qr(np.column_stack([away, axes[:, :2]]))[0].T
        stretch = rng.uniform(1.3, 1.9)
    if kind == "juxtacortical":
        # The white matter of a gyrus has room for small lesions only.
        radius = min(radius, 4.0)
    radii = radius * np.array([stretch, stretch**-0.5, stretch**-0.5])
    x, y, z = (float(c) for c in centre)
    return Lesion(
        (x, y, z),
        (float(radii[0]), float(radii[1]), float(radii[2])),
        tuple(tuple(float(v) for v in row) for row in axes),
        scales,
        flair=float(rng.uniform(1.28, 1.75)),
        t1w=float(rng.uniform(0.6, 0.9)),
    )


@dataclass(frozen=True)
class LesionMap:
    """What all lesions cover at one timepoint, each (x, y, z).

    Attributes
    ----------
    share : float32 ndarray in [0, 1]
        Soft membership; 0.5 is the lesion's surface.
    signal : mapping of modality to float32 ndarray
        Signal of the lesion that covers a voxel most.
    """

    share: Field
    signal: dict[str, Field]


def draw_lesions(
    anatomy: Anatomy,
    lesions: tuple[Lesion, ...],
    timepoint: int,
    lumps: Field,
) -> LesionMap:
    """Paint the lesions of one timepoint (0 or 1) on the anatomy's grid.

    Parameters
    ----------
    lumps : (x, y, z) float32 ndarray
        Unit-variance noise that deforms the surfaces, the same at both timepoints.
    """
    shape = anatomy.csf.shape
    out = LesionMap(
        np.zeros(shape, np.float32),
        {m: np.ones(shape, np.float32) for m in ("flair", "t1w")},
    )
    for lesion in lesions:
        if lesion.scales[timepoint] > 0:
            _draw(anatomy.frame, lesion, lesion.scales[timepoint], lumps, out)
    allowed = (1 - anatomy.csf) * np.clip((anatomy.brain.pial - 1.2) / 1.5, 0, 1)
    np.multiply(out.share, allowed, out=out.share)
    return out


def _draw(at: Frame, lesion: Lesion, scale: float, lumps: Field, out: LesionMap) -> None:
    reach = 1.6 * max(lesion.radii_mm) * scale + _HALO_MM
    x, y, z = lesion.centre_mm
    box = at.around((x - reach, y - reach, z - reach), (x + reach, y + reach, z + reach))
    part = at[box]
    offset = np.stack([part.x - x, part.y - y, part.z - z])
    unit = np.tensordot(np.array(lesion.axes) / np.array(lesion.radii_mm)[:, None], offset, 1)
    mean_mm = float(np.prod(lesion.radii_mm)) ** (1 / 3) * scale
    level = 1 - np.sqrt((unit**2).sum(axis=0)) / scale + _LUMPINESS * lumps[box]
    share = np.clip(0.5 + level * mean_mm / _EDGE_MM, 0, 1).astype(np.float32)
    block = out.share[box]
    stronger = share > block
    for modality, value in (("flair", lesion.flair), ("t1w", lesion.t1w)):
        out.signal[modality][box][stronger] = value
    np.maximum(block, share, out=block)


def lump_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> Field:
    """Noise that deforms the lesions' surfaces."""
    coarse = spline_noise(rng, shape, spacing_mm, 12.0)
    return (coarse + spline_noise(rng, shape, spacing_mm, 6.0)) / 1.4142
