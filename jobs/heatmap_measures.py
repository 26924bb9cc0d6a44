"""How sure is a localizer of each level, and what does its maximum hide?

Pure functions of heatmaps. Confidence and both entropies are those of the prior system, which looks
at one sagittal slice as its network saw it, 160 × 160 pixels whatever the field of view. An entropy
depends on the number of pixels (at most ln 25600 = 10.15 nats here), and the risk groups of
study.yaml are numbers on that scale. So of a whole series they are taken on the slice on which the
level peaks, and on 160 × 160 pixels: the network's own where it has as many, otherwise the slice's
field of view divided into as many. With the middle slice alone the measures are the prior's.

Everything else is read from the heatmap on the subject's own grid, in mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lamstore.config import HeatmapConfig
from lamstore.grid import Grid

Floats = NDArray[np.floating]
Point = NDArray[np.float64]

PLANE = (160, 160)
"""Pixels on which confidence and entropies are defined."""
BLOCK = 10
"""Edge of the blocks of the spatial entropy, in pixels of that plane."""
EPS = 1e-9
MOST_PEAKS = 6
"""Of one map; a map with more is flat, and says so by its entropy."""
PEAK_RADIUS_MM = 10.0
"""Around a maximum; what is above half of it within is its centroid."""


@dataclass(frozen=True)
class Peak:
    """One maximum of a heatmap.

    Attributes
    ----------
    height : float
        Value of the highest voxel.
    position_mm : (3,) float64 ndarray
        RAS. Centroid of what is above half the height within `PEAK_RADIUS_MM`, so that it may lie
        between two thick slices.
    """

    height: float
    position_mm: Point


def entropy(plane: Floats) -> float:
    """Shannon entropy in nats of a map normalized to sum 1, ``-Σ p ln(p + 1e-9)``.

    Parameters
    ----------
    plane : ndarray of values ≥ 0, any shape

    Returns
    -------
    float
        From 0 (one pixel) to ln n (all n alike). An all-zero map gives ln n: what points nowhere
        knows nothing, whereas the bare formula would call it certain.
    """
    values = np.asarray(plane, dtype=np.float64)
    total = values.sum()
    if total <= 0:
        return float(np.log(values.size))
    p = values / (total + EPS)
    return max(0.0, float(-(p * np.log(p + EPS)).sum()))


def spatial_entropy(plane: Floats, block: int = BLOCK) -> float:
    """`entropy` of the sums over blocks of `block` × `block` pixels; ln of their number when empty.

    Parameters
    ----------
    plane : (row, column) ndarray
        A last block that is not whole counts as it is.
    """
    edges = [np.arange(0, n, block) for n in plane.shape]
    rows = np.add.reduceat(np.asarray(plane, dtype=np.float64), edges[0], axis=0)
    return entropy(np.add.reduceat(rows, edges[1], axis=1))


def mutual_information(planes: Floats) -> float:
    """How much the members' places differ: nats, from 0 (alike) to ln members (disjoint).

    Each member's map normalized to sum 1 is where that member puts the level. The mutual
    information of place and member is the entropy of the mean less the mean entropy (the
    Jensen–Shannon divergence): disagreement among members, apart from the width of each.

    Parameters
    ----------
    planes : (member, row, column) ndarray
        An all-zero member is anywhere: it counts as uniform.
    """
    flat = np.asarray(planes, dtype=np.float64).reshape(len(planes), -1)
    total = flat.sum(axis=1, keepdims=True)
    p = np.divide(flat, total, out=np.full_like(flat, 1 / flat.shape[1]), where=total > 0)
    found = _plain_entropy(p.mean(axis=0)) - np.mean([_plain_entropy(one) for one in p])
    return float(np.clip(found, 0, np.log(len(p))))


def _plain_entropy(p: NDArray[np.float64]) -> float:
    some = p[p > 0]
    return float(-(some * np.log(some)).sum())


def on_plane(plane: Floats, shape: tuple[int, int] = PLANE) -> NDArray[np.float32]:
    """A (row, column) map whose field of view is divided into `shape` pixels, linearly."""
    values = np.asarray(plane, dtype=np.float32)
    if values.shape == shape:
        return values
    factors = [wanted / n for wanted, n in zip(shape, values.shape, strict=True)]
    zoomed = ndimage.zoom(values, factors, order=1, mode="nearest", grid_mode=True)
    return np.asarray(zoomed, dtype=np.float32)


def peak_planes(heatmap: Floats, axis: int) -> NDArray[np.float32]:
    """Of each level the slice across `axis` on which the mean over members peaks, on `PLANE`.

    For engines that do not say what their network saw.

    Parameters
    ----------
    heatmap : (member, level, x, y, z) ndarray
    axis : int
        Voxel axis (0, 1, 2) that runs from left to right.

    Returns
    -------
    (member, level, 160, 160) float32 ndarray
    """
    cut = np.empty((*heatmap.shape[:2], *PLANE), np.float32)
    for level in range(heatmap.shape[1]):
        mean = heatmap[:, level].mean(axis=0)
        index = np.unravel_index(int(mean.argmax()), mean.shape)[axis]
        for member, one in enumerate(heatmap[:, level]):
            cut[member, level] = on_plane(one.take(index, axis=axis))
    return cut


def left_right_axis(grid: Grid) -> int:
    """Voxel axis nearest to left-right: across it a sagittal series is cut."""
    directions = grid.matrix[:3, :3] / np.asarray(grid.spacing_mm)
    return int(np.abs(directions[0]).argmax())


def peaks(level_map: Floats, grid: Grid, config: HeatmapConfig) -> list[Peak]:
    """Maxima of one map, highest first, at least ``apart_mm`` from each higher one.

    Parameters
    ----------
    level_map : (x, y, z) ndarray
    grid : Grid
    config : HeatmapConfig
        Maxima below ``floor`` times the highest are none.

    Returns
    -------
    list of Peak
        Empty for an all-zero map.
    """
    top = float(level_map.max())
    if top <= 0:
        return []
    box, part = _above(level_map, config.floor * top)
    # Its own neighbours alone: a plateau gives several voxels, of which one is kept below.
    summits = (part >= ndimage.maximum_filter(part, size=3)) & (part >= config.floor * top)
    voxels = np.argwhere(summits)
    order = np.argsort(-part[summits], kind="stable")
    offset = np.array([side.start for side in box])
    found: list[Peak] = []
    for voxel in voxels[order]:
        at = _world(grid, voxel + offset)
        if _all_far(at, found, config.apart_mm):
            peak = Peak(float(part[tuple(voxel)]), _centroid(part, voxel, offset, grid))
            if _all_far(peak.position_mm, found, config.apart_mm):
                found.append(peak)
        if len(found) == MOST_PEAKS:
            break
    return found


def _all_far(place: Point, found: Sequence[Peak], apart_mm: float) -> bool:
    return all(_mm(place - known.position_mm) >= apart_mm for known in found)


def _above(level_map: Floats, floor: float) -> tuple[tuple[slice, ...], Floats]:
    """Box around the voxels that reach `floor`, one voxel wider, and what is in it."""
    high = level_map >= floor
    box = []
    for axis in range(3):
        hit = np.flatnonzero(high.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(0, int(hit[0]) - 1), int(hit[-1]) + 2))
    return tuple(box), level_map[tuple(box)]


def _centroid(
    part: Floats, voxel: NDArray[np.int64], offset: NDArray[np.int64], grid: Grid
) -> Point:
    reach = np.ceil(PEAK_RADIUS_MM / np.asarray(grid.spacing_mm)).astype(int)
    low = np.maximum(voxel - reach, 0)
    near = part[tuple(slice(a, b) for a, b in zip(low, voxel + reach + 1, strict=True))]
    inside = np.argwhere(near >= part[tuple(voxel)] / 2)
    weights = near[tuple(inside.T)].astype(np.float64)
    places = _world(grid, inside + low + offset)
    close = _mm(places - _world(grid, voxel + offset)) <= PEAK_RADIUS_MM
    mean: Point = np.average(places[close], axis=0, weights=weights[close])
    return mean


def _world(grid: Grid, voxels: NDArray[np.integer]) -> Point:
    """(…, 3) voxel indices to RAS mm."""
    points: Point = voxels @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    return points


def _mm(vectors: Point) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def mass_beyond(
    level_map: Floats, center_mm: Point, radius_mm: float, grid: Grid, floor: float
) -> float:
    """Share of a map's mass that lies farther than `radius_mm` from a point, 0 to 1.

    What is below `floor` times the map's maximum is left out: the faint rest of a softmax, summed
    over a volume, would outweigh any peak. An all-zero map has all its mass beyond: 1.
    """
    top = float(level_map.max())
    if top <= 0:
        return 1.0
    box, part = _above(level_map, floor * top)
    voxels = np.argwhere(part >= floor * top)
    weights = part[tuple(voxels.T)].astype(np.float64)
    offset = np.array([side.start for side in box])
    far = _mm(_world(grid, voxels + offset) - center_mm) > radius_mm
    return float(weights[far].sum() / weights.sum())


def label_entropy(heatmap: Floats, place_mm: Point, grid: Grid) -> float:
    """How unsure it is which level is at a place: entropy in nats of the levels' shares there.

    A disc that could be L4/L5 or L5/S1 has two maps of half the height at one place, each with a
    single peak: neither map's own shape shows it.

    Parameters
    ----------
    heatmap : (level, x, y, z) ndarray
    place_mm : (3,) ndarray
        RAS. What lies within `PEAK_RADIUS_MM` of it counts.
    grid : Grid

    Returns
    -------
    float
        0 when all heat there is of one level, ln levels when all have the same, or there is none.
    """
    center = np.linalg.inv(grid.matrix) @ [*place_mm, 1.0]
    reach = np.ceil(PEAK_RADIUS_MM / np.asarray(grid.spacing_mm)) + 1
    low = np.clip(np.floor(center[:3] - reach), 0, None).astype(int)
    high = (np.ceil(center[:3] + reach) + 1).astype(int)
    near = heatmap[:, *(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))]
    voxels = np.moveaxis(np.indices(near.shape[1:]), 0, -1) + low
    inside = _mm(_world(grid, voxels) - place_mm) <= PEAK_RADIUS_MM
    return entropy(near[:, inside].sum(axis=1, dtype=np.float64))


def level_measures(planes: Floats) -> dict[str, float]:
    """Confidence and entropies of one level, on its slice.

    Parameters
    ----------
    planes : (member, row, column) ndarray
        As the network saw them; brought to `PLANE` where they are not.

    Returns
    -------
    dict
        ``confidence`` (maximum, 0 to 1), ``entropy``, ``spatial_entropy`` (nats) of the mean over
        members; with several members ``mutual_information`` (nats).
    """
    on_grid = np.stack([on_plane(one) for one in planes])
    mean = on_grid.mean(axis=0)
    found = {
        "confidence": float(mean.max()),
        "entropy": entropy(mean),
        "spatial_entropy": spatial_entropy(mean),
    }
    if len(on_grid) > 1:
        found["mutual_information"] = mutual_information(on_grid)
    return found


def peak_measures(found: Sequence[Peak]) -> dict[str, float]:
    """Where a level is, and what else its map offers.

    Returns
    -------
    dict
        ``peak_x_mm``, ``peak_y_mm``, ``peak_z_mm`` (RAS; NaN for an empty map);
        ``second_peak``: height of the second maximum relative to the first, 0 without one;
        ``second_peak_mm``: their distance, NaN without one.
    """
    place = found[0].position_mm if found else np.full(3, np.nan)
    second = found[1] if len(found) > 1 else None
    return {
        **dict(zip(("peak_x_mm", "peak_y_mm", "peak_z_mm"), place.tolist(), strict=True)),
        "second_peak": second.height / found[0].height if second else 0.0,
        "second_peak_mm": float(_mm(second.position_mm - place)) if second else float("nan"),
    }


def peak_spread_mm(members: Floats, grid: Grid) -> float:
    """Root mean square distance of the members' maxima from their mean; NaN when one is empty.

    Parameters
    ----------
    members : (member, x, y, z) ndarray
    """
    if not all(one.any() for one in members):
        return float("nan")
    at = [np.unravel_index(int(one.argmax()), one.shape) for one in members]
    places = _world(grid, np.array(at))
    return float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=1).mean()))


def named(level: str, values: Mapping[str, float]) -> dict[str, float]:
    """Columns of one level: ``l5_s1_entropy``."""
    return {f"{level}_{name}": value for name, value in values.items()}
