"""How much did the lesions change between two scans, and does the change agree with the truth?

The columns are those of MS-LAM's published table (phase 2), in its order, followed by those of the
change proxy `chg_tight`, which does not count the dilation ring itself as change.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, prod

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import (
    Box,
    Connectivity,
    Mask,
    Spacing,
    as_mask,
    dilate_mm,
    drop_small_box,
    grow_box,
    min_voxels,
    reach,
    union_box,
)
from jobs.metrics.intensity import brain_intensity, difference_stats
from jobs.metrics.overlap import Confusion, check_same_shape, dice
from lamstore.grid import Grid

PROXIES = ("new_raw", "new_cons", "chg_sym_raw", "chg_sym_cons", "chg_tight")
"""Masks that stand for change, in the order of the table."""


@dataclass(frozen=True)
class LongitudinalParams:
    """What decides the longitudinal metrics beside the images.

    Attributes
    ----------
    dilation_radius_mm : float
        A voxel this near to a lesion of the other scan is no conservative change.
    min_component_mm3 : float
        Smaller connected components of a conservative proxy are dropped.
    connectivity : {6, 18, 26}
    intensity_percentiles : (2,) tuple of float
        Brain percentiles that are scaled to 0 and 1 before images are compared.
    diff_threshold : float
        |difference| of the scaled images above which a voxel counts as changed.
    """

    dilation_radius_mm: float = 2.0
    min_component_mm3: float = 10.0
    connectivity: Connectivity = 26
    intensity_percentiles: tuple[float, float] = (1.0, 99.0)
    diff_threshold: float = 0.2


def change_proxies(
    m0: NDArray[np.generic],
    m1: NDArray[np.generic],
    spacing_mm: Spacing,
    params: LongitudinalParams = LongitudinalParams(),
) -> dict[str, Mask]:
    """Masks of change between a baseline and a follow-up lesion mask.

    With D the dilation by `dilation_radius_mm`:

    - ``new_raw``: m1 & ~m0
    - ``new_cons``: m1 & ~D(m0), less small components
    - ``chg_sym_raw``: m1 ^ m0
    - ``chg_sym_cons``: m1 ^ D(m0), less small components; counts the ring D(m0) & ~m0 as change
    - ``chg_tight``: (m1 & ~D(m0)) | (m0 & ~D(m1)), less small components

    Parameters
    ----------
    m0, m1 : (x, y, z) ndarray
        Bool, or numbers of which nonzero is lesion.
    spacing_mm : (3,) tuple of float

    Returns
    -------
    dict of name to (x, y, z) bool ndarray, in the order of `PROXIES`; all empty for empty masks
    """
    m0, m1 = as_mask(m0), as_mask(m1)
    check_same_shape(m0=m0, m1=m1)
    box = _working_box(m0, m1, spacing_mm, params)
    least = min_voxels(params.min_component_mm3, prod(spacing_mm))
    full = {}
    for name, part in _proxies(m0[box], m1[box], spacing_mm, least, params).items():
        full[name] = np.zeros(m0.shape, dtype=bool)
        full[name][box] = part
    return full


def _working_box(m0: Mask, m1: Mask, spacing_mm: Spacing, params: LongitudinalParams) -> Box:
    """Box of both masks with room for the dilation; one voxel of background for empty masks."""
    box = union_box(m0, m1) or (slice(0, 1), slice(0, 1), slice(0, 1))
    return grow_box(box, reach(spacing_mm, params.dilation_radius_mm), m0.shape)


def _proxies(
    m0: Mask, m1: Mask, spacing_mm: Spacing, least_voxels: int, params: LongitudinalParams
) -> dict[str, Mask]:
    near0 = dilate_mm(m0, spacing_mm, params.dilation_radius_mm)
    near1 = dilate_mm(m1, spacing_mm, params.dilation_radius_mm)
    new = m1 & ~near0

    def conservative(mask: Mask) -> Mask:
        return drop_small_box(mask, least_voxels, params.connectivity)

    return {
        "new_raw": m1 & ~m0,
        "new_cons": conservative(new),
        "chg_sym_raw": m1 ^ m0,
        "chg_sym_cons": conservative(m1 ^ near0),
        "chg_tight": conservative(new | (m0 & ~near1)),
    }


def longitudinal_metrics(
    m0: NDArray[np.generic],
    m1: NDArray[np.generic],
    change_truth: NDArray[np.generic] | None,
    brainmask: NDArray[np.generic],
    flair_t0: NDArray[np.float32],
    flair_t1: NDArray[np.float32],
    grid: Grid,
    params: LongitudinalParams = LongitudinalParams(),
) -> dict[str, float]:
    """The longitudinal table's row of one subject under one shift.

    Parameters
    ----------
    m0, m1 : (x, y, z) ndarray
        Lesion masks at baseline and follow-up.
    change_truth : (x, y, z) ndarray or None
        Without it every column that needs it is nan.
    brainmask : (x, y, z) ndarray
    flair_t0, flair_t1 : (x, y, z) float32 ndarray
    grid : Grid
        Of all of them.
    params : LongitudinalParams

    Returns
    -------
    dict of column to float
        Volumes in mm³, spacing in mm. Dice is 1 when proxy and truth are both empty and 0 when
        one is; the two fractions of an empty truth are nan; a volume error is proxy − truth.

    Raises
    ------
    GridError
        When shapes differ.
    VoxelError
        When the brain mask is empty, or an image is constant or not finite within it.

    References
    ----------
    MS-LAM (youzi-forge/ms-lam), phase 2; `chg_tight` is this project's own.
    """
    masks = [as_mask(mask) for mask in (m0, m1, brainmask)]
    truth = None if change_truth is None else as_mask(change_truth)
    check_same_shape(
        m0=m0, m1=m1, change_truth=truth, brainmask=brainmask, flair_t0=flair_t0,
        flair_t1=flair_t1, grid=np.broadcast_to(0, grid.shape),
    )  # fmt: skip
    change = _change_columns(masks[0], masks[1], truth, grid, params)
    tight = {name: change.pop(name) for name in list(change) if "chg_tight" in name}
    sx, sy, sz = grid.spacing_mm
    return {
        "voxel_spacing_x": sx,
        "voxel_spacing_y": sy,
        "voxel_spacing_z": sz,
        "voxel_vol_mm3": grid.voxel_volume_mm3,
        **_volume_columns(masks[0], masks[1], truth, masks[2], grid.voxel_volume_mm3),
        **change,
        **_intensity_columns(flair_t0, flair_t1, masks[2], params),
        **tight,
    }


def _volume_columns(
    m0: Mask, m1: Mask, truth: Mask | None, brainmask: Mask, voxel_mm3: float
) -> dict[str, float]:
    v0, v1 = np.count_nonzero(m0) * voxel_mm3, np.count_nonzero(m1) * voxel_mm3
    total = 0 if truth is None else int(np.count_nonzero(truth))
    covered = outside = nan
    if truth is not None and total:
        covered = np.count_nonzero(truth & m1) / total
        outside = 1 - np.count_nonzero(truth & brainmask) / total
    return {
        "lesion_vol_t0_mm3": v0,
        "lesion_vol_t1_mm3": v1,
        "delta_lesion_vol_mm3": v1 - v0,
        "change_gt_vol_mm3": nan if truth is None else total * voxel_mm3,
        "gt_covered_by_t1_frac": covered,
        "gt_outside_brain_frac": outside,
    }


def _change_columns(
    m0: Mask, m1: Mask, truth: Mask | None, grid: Grid, params: LongitudinalParams
) -> dict[str, float]:
    box = _working_box(m0, m1, grid.spacing_mm, params)
    least = min_voxels(params.min_component_mm3, grid.voxel_volume_mm3)
    proxies = _proxies(m0[box], m1[box], grid.spacing_mm, least, params)
    volumes, errors, dices = {}, {}, {}
    true = nan if truth is None else int(np.count_nonzero(truth))
    for name, proxy in proxies.items():
        found = int(np.count_nonzero(proxy))
        volumes[f"{name}_vol_mm3"] = found * grid.voxel_volume_mm3
        errors[f"{name}_vol_err_mm3"] = (found - true) * grid.voxel_volume_mm3
        dices[f"dice_{name}"] = nan if truth is None else _proxy_dice(proxy, truth[box], int(true))
    return volumes | errors | dices


def _proxy_dice(proxy: Mask, truth_in_box: Mask, true: int) -> float:
    # The truth may reach beyond the box, where no proxy can be: its count is the whole grid's.
    both, found = int(np.count_nonzero(proxy & truth_in_box)), int(np.count_nonzero(proxy))
    return dice(Confusion(tp=both, fp=found - both, fn=true - both, tn=0))


def _intensity_columns(
    flair_t0: NDArray[np.float32],
    flair_t1: NDArray[np.float32],
    brainmask: Mask,
    params: LongitudinalParams,
) -> dict[str, float]:
    before = brain_intensity(flair_t0, brainmask, params.intensity_percentiles)
    after = brain_intensity(flair_t1, brainmask, params.intensity_percentiles)
    return {
        **difference_stats(before, after, params.diff_threshold),
        "t0_flair_median": before.median,
        "t1_flair_median": after.median,
        "t1_over_t0_median_ratio": after.median / before.median if before.median else nan,
    }
