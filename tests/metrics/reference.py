"""The longitudinal metrics written plainly, with scipy.ndimage on the full grid.

Independent of `jobs.metrics`: the tests check against it, the benchmarks measure against it.
"""

from __future__ import annotations

from math import ceil, isfinite

import numpy as np
from scipy import ndimage


def ball(spacing_mm, radius_mm):
    """Structuring element: offsets with d² ≤ r² + 1e-6."""
    half = [int(radius_mm / step + 1e-6) for step in spacing_mm]
    axes = np.meshgrid(*[np.arange(-n, n + 1) for n in half], indexing="ij")
    squared = sum((axis * step) ** 2 for axis, step in zip(axes, spacing_mm, strict=True))
    return squared <= radius_mm**2 + 1e-6


def dilate(mask, spacing_mm, radius_mm):
    return ndimage.binary_dilation(mask, ball(spacing_mm, radius_mm))


def label(mask, connectivity):
    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    return ndimage.label(mask, ndimage.generate_binary_structure(3, rank))


def drop_small(mask, least_voxels, connectivity=26):
    labels, count = label(mask, connectivity)
    sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
    keep = sizes >= least_voxels
    keep[0] = False
    return keep[labels]


def dice(a, b):
    total = a.sum() + b.sum()
    return 1.0 if total == 0 else float(2 * (a & b).sum() / total)


def proxies(m0, m1, spacing_mm, voxel_mm3):
    near0, near1 = dilate(m0, spacing_mm, 2.0), dilate(m1, spacing_mm, 2.0)
    least = ceil(10.0 / voxel_mm3)
    return {
        "new_raw": m1 & ~m0,
        "new_cons": drop_small(m1 & ~near0, least),
        "chg_sym_raw": m1 ^ m0,
        "chg_sym_cons": drop_small(m1 ^ near0, least),
        "chg_tight": drop_small((m1 & ~near0) | (m0 & ~near1), least),
    }


def scaled(image, brain):
    low, high = np.percentile(image[brain], 1.0), np.percentile(image[brain], 99.0)
    return np.clip((image - low) / (high - low), 0, 1)


def longitudinal_metrics(m0, m1, truth, brain, flair0, flair1, spacing_mm, voxel_mm3):
    v0, v1 = m0.sum() * voxel_mm3, m1.sum() * voxel_mm3
    found = proxies(m0, m1, spacing_mm, voxel_mm3)
    difference = np.abs(scaled(flair1, brain) - scaled(flair0, brain))[brain]
    median0, median1 = float(np.median(flair0[brain])), float(np.median(flair1[brain]))
    true = truth.sum()
    row = dict(zip(("voxel_spacing_x", "voxel_spacing_y", "voxel_spacing_z"), spacing_mm))  # noqa: B905
    row |= {
        "voxel_vol_mm3": voxel_mm3,
        "lesion_vol_t0_mm3": v0,
        "lesion_vol_t1_mm3": v1,
        "delta_lesion_vol_mm3": v1 - v0,
        "change_gt_vol_mm3": true * voxel_mm3,
        "gt_covered_by_t1_frac": (truth & m1).sum() / true if true else np.nan,
        "gt_outside_brain_frac": (truth & ~brain).sum() / true if true else np.nan,
    }
    for name, proxy in found.items():
        row[f"{name}_vol_mm3"] = proxy.sum() * voxel_mm3
        row[f"{name}_vol_err_mm3"] = proxy.sum() * voxel_mm3 - true * voxel_mm3
        row[f"dice_{name}"] = dice(proxy, truth)
    row |= {
        "intensity_diff_mean": float(difference.mean()),
        "intensity_diff_p95": float(np.percentile(difference, 95.0)),
        "intensity_diff_frac_gt": float((difference > 0.2).mean()),
        "t0_flair_median": median0,
        "t1_flair_median": median1,
        "t1_over_t0_median_ratio": median1 / median0,
    }
    return row


def surface_distances(a, b, spacing_mm):
    """Both directed lists of surface distances, by distance transforms of the full grid."""

    def surface(mask):
        return mask & ~ndimage.binary_erosion(mask)

    sa, sb = surface(a), surface(b)
    to_b = ndimage.distance_transform_edt(~sb, sampling=spacing_mm)[sa]
    to_a = ndimage.distance_transform_edt(~sa, sampling=spacing_mm)[sb]
    return to_b, to_a


def lesion_f1_shifts(truth, mask, threshold=0.5):
    """Lesion F1 of the Shifts 2022 challenge: TP and FP by predicted lesion, FN by true one."""

    def best(one, other):
        labels, n = label(one, 6)
        others, _ = label(other, 6)
        scores = []
        for i in range(1, n + 1):
            lesion = labels == i
            overlaps = [0.0]
            for j in np.unique(others[lesion]):
                if j:
                    twin = others == j
                    overlaps.append((lesion & twin).sum() / (lesion | twin).sum())
            scores.append(max(overlaps))
        return np.array(scores)

    predicted, true = best(mask, truth), best(truth, mask)
    tp, fp = (predicted >= threshold).sum(), (predicted < threshold).sum()
    fn = (true < threshold).sum()
    return 1.0 if tp + fp + fn == 0 else float(tp / (tp + (fp + fn) / 2))


def isfinite_or_both_nan(a, b, tolerance=1e-9):
    """Whether two numbers agree, nan with nan."""
    if not (isfinite(a) and isfinite(b)):
        return np.isnan(a) and np.isnan(b)
    return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
