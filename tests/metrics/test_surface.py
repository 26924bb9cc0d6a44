"""Surface distances: two cubes with known distances, scipy's distance transform, real lesions."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metrics import surface as s


def cubes(gap_voxels=0):
    a, b = np.zeros((2, 20, 12, 12), bool)
    a[2:5, 3:6, 3:6] = True
    b[5 + gap_voxels : 8 + gap_voxels, 3:6, 3:6] = True
    return a, b


def test_cubes_three_millimetres_apart():
    # 3 voxels wide, 1 mm voxels, 3 mm from face to face along x (two voxels between them).
    distances = s.surface_distances(*cubes(gap_voxels=2), (1.0, 1.0, 1.0))
    assert distances.to_truth_mm.size == 26  # all but the centre is surface
    assert distances.to_truth_mm.min() == 3.0
    assert s.hd_mm(distances) == 5.0
    assert s.hd95_mm(distances) == 5.0
    # The centre is not surface, so the middle column looks past its own middle voxel.
    assert s.assd_mm(distances) == pytest.approx((9 * 3 + 8 * 4 + 9 * 5) / 26)


def test_spacing_is_in_millimetres():
    iso = s.surface_distances(*cubes(), (1.0, 1.0, 1.0))
    wide = s.surface_distances(*cubes(), (2.5, 1.0, 1.0))
    assert s.hd_mm(wide) == 2.5 * s.hd_mm(iso)


def test_equal_masks_and_empty_masks():
    a, _ = cubes()
    none = np.zeros_like(a)
    same = s.surface_distances(a, a, (1.0, 2.0, 3.0))
    assert (s.hd_mm(same), s.hd95_mm(same), s.assd_mm(same)) == (0, 0, 0)
    both = s.surface_distances(none, none, (1.0, 1.0, 1.0))
    assert (s.hd_mm(both), s.hd95_mm(both), s.assd_mm(both)) == (0, 0, 0)
    for pair in ((a, none), (none, a)):
        one = s.surface_distances(*pair, (1.0, 1.0, 1.0))
        assert all(map(isnan, (s.hd_mm(one), s.hd95_mm(one), s.assd_mm(one))))


def test_a_mask_that_fills_the_grid_has_its_edge_as_surface():
    assert len(s.surface_points_mm(np.ones((4, 4, 4), bool), (1.0, 1.0, 1.0))) == 64 - 8


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0, 1.0), (0.72, 0.72, 3.0)]))
def test_random_blobs_equal_scipy(reference, blobs, seed, spacing):
    a, b = blobs(seed), blobs(seed + 1)
    ours = s.surface_distances(a, b, spacing)
    to_b, to_a = reference.surface_distances(a, b, spacing)
    assert np.allclose(np.sort(ours.to_truth_mm), np.sort(to_b))
    assert np.allclose(np.sort(ours.to_mask_mm), np.sort(to_a))
    assert s.hd95_mm(ours) == pytest.approx(np.percentile(np.hstack([to_a, to_b]), 95))
    assert s.assd_mm(ours) == pytest.approx((to_a.mean() + to_b.mean()) / 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations([0, 1, 2]), st.sets(st.integers(0, 2)))
def test_flips_transposes_exchange_and_padding_change_nothing(blobs, seed, order, flipped):
    a, b = blobs(seed), blobs(seed + 1)
    spacing = (0.7, 1.1, 3.0)

    def values(one, other, steps):
        distances = s.surface_distances(one, other, steps)
        return [s.hd_mm(distances), s.hd95_mm(distances), s.assd_mm(distances)]

    def turned(mask):
        return np.pad(np.flip(mask.transpose(order), tuple(flipped)), 2)

    expected = values(a, b, spacing)
    assert values(turned(a), turned(b), tuple(spacing[k] for k in order)) == pytest.approx(expected)
    assert values(b, a, spacing) == pytest.approx(expected)


@pytest.mark.real_data
@pytest.mark.slow
def test_real_lesions_equal_scipy(reference, gold_standards):
    (a, affine), (b, _) = gold_standards[-2:]
    spacing = tuple(np.abs(np.diag(affine)[:3]).tolist())
    ours = s.surface_distances(a, b, spacing)
    to_b, to_a = reference.surface_distances(a, b, spacing)
    assert s.hd_mm(ours) == pytest.approx(max(to_a.max(), to_b.max()))
    assert s.hd95_mm(ours) == pytest.approx(np.percentile(np.hstack([to_a, to_b]), 95))
