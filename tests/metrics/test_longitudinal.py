"""The longitudinal table: its columns, known cubes, the plain scipy reference, a real pair."""

from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metrics.intensity import brain_intensity, percentiles
from jobs.metrics.longitudinal import (
    PROXIES,
    LongitudinalParams,
    change_proxies,
    longitudinal_metrics,
)
from lamstore.errors import GridError, VoxelError
from lamstore.grid import Grid

TABLES = Path(__file__).resolve().parents[2] / "../shared/data/mslam_tables"
TIGHT = ["chg_tight_vol_mm3", "chg_tight_vol_err_mm3", "dice_chg_tight"]
PARAMS = LongitudinalParams()
ISO = Grid.of((24, 21, 15), np.eye(4))


def flair(seed, shape=ISO.shape):
    return np.random.default_rng(seed).gamma(4, 50, shape).astype(np.float32)


def row(m0, m1, truth, grid=ISO, params=PARAMS):
    brain = np.ones(grid.shape, bool)
    brain[:2] = False
    images = flair(1, grid.shape), flair(2, grid.shape)
    return longitudinal_metrics(m0, m1, truth, brain, *images, grid, params)


def cubes():
    """A lesion of 4³ voxels, and the same with a second one of 5³ far away."""
    m0 = np.zeros(ISO.shape, bool)
    m0[3:7, 3:7, 3:7] = True
    m1 = m0.copy()
    m1[14:19, 10:15, 6:11] = True
    return m0, m1


@pytest.mark.real_data
def test_columns_are_the_published_ones():
    path = TABLES / "phase2_longitudinal_metrics.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    table = pd.read_csv(path, nrows=1).loc[:, "voxel_spacing_x":"t1_over_t0_median_ratio"]
    assert list(row(*cubes(), cubes()[1])) == [*table.columns, *TIGHT]


@pytest.mark.real_data
def test_published_rows_obey_the_relations_that_ours_do():
    """The published masks are not here; what binds its columns to each other is."""
    path = TABLES / "phase2_longitudinal_metrics.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    m0, m1 = cubes()
    ours = pd.DataFrame([row(m0, m1, m1 & ~m0), row(m1, m0, m0)])
    for table in (pd.read_csv(path), ours):
        change = table.lesion_vol_t1_mm3 - table.lesion_vol_t0_mm3
        assert np.allclose(table.delta_lesion_vol_mm3, change)
        # |m1 ^ m0| = 2 |m1 & ~m0| + |m0| - |m1|
        assert np.allclose(table.chg_sym_raw_vol_mm3, 2 * table.new_raw_vol_mm3 - change)
        ratio = table.t1_flair_median / table.t0_flair_median
        assert np.allclose(table.t1_over_t0_median_ratio, ratio)
        for proxy in PROXIES[:4]:
            error = table[f"{proxy}_vol_mm3"] - table.change_gt_vol_mm3
            assert np.allclose(table[f"{proxy}_vol_err_mm3"], error)


def test_a_new_cube_is_found_by_every_proxy_and_the_ring_by_one():
    m0, m1 = cubes()
    new = m1 & ~m0
    found = row(m0, m1, new)
    assert found["dice_new_raw"] == found["dice_new_cons"] == found["dice_chg_tight"] == 1.0
    assert found["new_cons_vol_mm3"] == found["change_gt_vol_mm3"] == 125
    assert found["new_raw_vol_err_mm3"] == found["chg_tight_vol_err_mm3"] == 0
    ring = row(m0, m0, np.zeros_like(m0))
    assert ring["chg_tight_vol_mm3"] == ring["chg_sym_raw_vol_mm3"] == 0
    assert ring["dice_chg_tight"] == 1.0
    # A cube of 4 grown by a ball of 2: 6 faces of 2 x 16, 12 edges of 4 x 1, no corners (3 > 2²
    # is false: the corner (1, 1, 1) is at √3), 8 of 1.
    assert ring["chg_sym_cons_vol_mm3"] == 6 * 32 + 12 * 4 + 8
    assert ring["dice_chg_sym_cons"] == 0


def test_conservative_proxies_drop_what_is_small():
    m0 = np.zeros(ISO.shape, bool)
    m1 = m0.copy()
    m1[2, 2, 2:11] = True  # 9 voxels of 1 mm³
    m1[12, 12, 2:12] = True  # 10
    found = row(m0, m1, m1)
    assert found["new_raw_vol_mm3"] == 19
    assert found["new_cons_vol_mm3"] == found["chg_tight_vol_mm3"] == 10
    loose = row(m0, m1, m1, params=LongitudinalParams(min_component_mm3=9.0))
    assert loose["new_cons_vol_mm3"] == 19


def test_fractions_of_the_truth():
    m0, m1 = cubes()
    truth = np.zeros_like(m0)
    truth[0:4, 3:7, 3:7] = True  # 64 voxels, half of them outside the brain, a quarter in m1
    found = row(m0, m1, truth)
    assert found["gt_covered_by_t1_frac"] == 0.25
    assert found["gt_outside_brain_frac"] == 0.5


def test_without_truth_its_columns_are_nan_and_an_empty_one_has_no_fractions():
    m0, m1 = cubes()
    blind = row(m0, m1, None)
    needs_truth = {name for name, value in blind.items() if isnan(value)}
    assert needs_truth == {
        "change_gt_vol_mm3",
        "gt_covered_by_t1_frac",
        "gt_outside_brain_frac",
        *(f"{proxy}_vol_err_mm3" for proxy in PROXIES),
        *(f"dice_{proxy}" for proxy in PROXIES),
    }
    stable = row(m0, m0, np.zeros_like(m0))
    assert isnan(stable["gt_covered_by_t1_frac"])
    assert isnan(stable["gt_outside_brain_frac"])
    assert stable["change_gt_vol_mm3"] == 0


def test_empty_lesion_masks():
    none = np.zeros(ISO.shape, bool)
    found = row(none, none, none)
    assert all(found[f"{proxy}_vol_mm3"] == 0 for proxy in PROXIES)
    assert all(found[f"dice_{proxy}"] == 1 for proxy in PROXIES)
    assert row(none, none, cubes()[0])["dice_new_raw"] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0, 1.0), (0.71875, 0.71875, 3.0)]))
def test_equals_the_plain_reference(reference, blobs, seed, spacing):
    m0, m1, truth = (blobs(seed + k, share=0.03) for k in range(3))
    grid = Grid.of(m0.shape, np.diag([*spacing, 1.0]))
    brain = blobs(seed + 3, share=0.7)
    images = flair(seed), flair(seed + 1)
    ours = longitudinal_metrics(m0, m1, truth, brain, *images, grid)
    theirs = reference.longitudinal_metrics(
        m0, m1, truth, brain, *images, grid.spacing_mm, grid.voxel_volume_mm3
    )
    assert set(ours) == set(theirs)
    assert all(reference.isfinite_or_both_nan(ours[k], theirs[k], 1e-6) for k in ours)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.permutations([0, 1, 2]), st.sets(st.integers(0, 2)))
def test_flips_transposes_and_padding_change_nothing(blobs, seed, order, flipped):
    masks = [blobs(seed + k, share=share) for k, share in enumerate((0.03, 0.03, 0.03, 0.7))]
    spacing = np.array([0.7, 1.0, 2.9])
    # With a margin: a grid that ends next to a lesion cuts its dilation, and padding would not.
    arrays = [np.pad(part, 3) for part in (*masks, flair(seed), flair(seed + 1))]

    def values(parts, steps):
        grid = Grid.of(parts[0].shape, np.diag([*steps, 1.0]))
        found = longitudinal_metrics(*parts, grid)
        return [value for name, value in found.items() if "spacing" not in name]

    turned = [np.pad(np.flip(part.transpose(order), tuple(flipped)), 2) for part in arrays]
    expected = values(arrays, spacing)
    # Sums run in another order, so float32 means differ in the last digits.
    assert values(turned, spacing[order]) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_proxies_are_the_masks_behind_the_volumes(blobs):
    m0, m1 = blobs(5), blobs(6)
    found = row(m0, m1, m1)
    masks = change_proxies(m0.astype(np.uint8), m1, ISO.spacing_mm)
    assert tuple(masks) == PROXIES
    assert all(masks[name].sum() == found[f"{name}_vol_mm3"] for name in PROXIES)
    assert np.array_equal(masks["chg_sym_raw"], m0 ^ m1)


def test_percentiles_and_medians_are_numpys(blobs):
    image, brain = flair(3), blobs(4, share=0.5)
    found = brain_intensity(image, brain)
    values = image[brain]
    assert found.low == np.percentile(values, 1.0)
    assert found.high == np.percentile(values, 99.0)
    assert found.median == np.median(values)
    assert percentiles(values, (95.0,)) == [np.percentile(values, 95.0)]
    scaled = found.scaled()
    assert (scaled.min(), scaled.max()) == (0, 1)


def test_intensity_is_blind_to_a_linear_rescaling():
    m0, m1 = cubes()
    image = flair(1)
    brain = np.ones(ISO.shape, bool)
    found = longitudinal_metrics(m0, m1, None, brain, image, 2 * image, ISO)
    assert found["intensity_diff_mean"] == pytest.approx(0, abs=1e-6)
    assert found["intensity_diff_frac_gt"] == 0
    assert found["t1_over_t0_median_ratio"] == pytest.approx(2)


def test_bad_input_is_refused():
    m0, m1 = cubes()
    image, brain = flair(1), np.ones(ISO.shape, bool)
    with pytest.raises(GridError, match="m1"):
        longitudinal_metrics(m0, m1[:-1], None, brain, image, image, ISO)
    with pytest.raises(VoxelError, match="empty"):
        longitudinal_metrics(m0, m1, None, np.zeros_like(brain), image, image, ISO)
    with pytest.raises(VoxelError, match="constant"):
        longitudinal_metrics(m0, m1, None, brain, image, np.ones_like(image), ISO)
    with pytest.raises(VoxelError, match="NaN"):
        longitudinal_metrics(m0, m1, None, brain, image, image * np.nan, ISO)


@pytest.mark.real_data
def test_a_real_pair_equals_the_plain_reference(reference, longitudinal_patient):
    real = longitudinal_patient
    grid = Grid.of(real["brain"].shape, real["affine"])
    m0, m1 = (
        reference.drop_small(
            (real[name] > np.percentile(real[name][real["brain"]], cut)) & real["brain"], 8
        )
        for name, cut in (("flair0", 99.8), ("flair1", 99.5))
    )
    parts = m0, m1, real["truth"], real["brain"], real["flair0"], real["flair1"]
    ours = longitudinal_metrics(*parts, grid)
    theirs = reference.longitudinal_metrics(*parts, grid.spacing_mm, grid.voxel_volume_mm3)
    assert m0.any()
    assert m1.any()
    assert all(reference.isfinite_or_both_nan(ours[k], theirs[k], 1e-6) for k in ours)
    # What the published row of this patient says and no model decides.
    assert ours["change_gt_vol_mm3"] == pytest.approx(3508.7642503217057, rel=1e-5)
    assert ours["gt_outside_brain_frac"] == 0
