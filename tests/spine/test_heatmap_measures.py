"""Are the measures of heatmaps what pencil and paper say they are?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import heatmap_measures as hm
from jobs.heatmap_chain import best_chain, chain_measures
from lamstore.config import HeatmapConfig
from lamstore.grid import Grid

CONFIG = HeatmapConfig()
N = hm.PLANE[0] * hm.PLANE[1]
LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")


def sagittal_grid(shape=(60, 110, 7), spacing_mm=(1.5, 1.5, 4.0)):
    """Columns run backwards, rows down, slices to the left: as a sagittal DICOM series has it."""
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2] = -spacing_mm[0], -spacing_mm[1], -spacing_mm[2]
    affine[:, 3] = [12.0, 40.0, 80.0, 1.0]
    return Grid.of(shape, affine)


def world(grid):
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return voxels @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]


def blob(grid, center_mm, height=1.0, sigma_mm=4.0):
    """A Gaussian in world space."""
    far = ((world(grid) - center_mm) ** 2).sum(axis=-1)
    return (height * np.exp(-far / (2 * sigma_mm**2))).astype(np.float32)


def peak(z_mm, height=1.0, y_mm=0.0):
    return hm.Peak(height, np.array([0.0, y_mm, z_mm]))


class TestEntropy:
    def test_all_pixels_alike_give_ln_n(self):
        plane = np.full(hm.PLANE, 0.3, np.float32)
        # The 1e-9 within the logarithm moves each of n terms by n · 1e-9.
        assert hm.entropy(plane) == pytest.approx(np.log(N), abs=2 * N * 1e-9)
        assert hm.spatial_entropy(plane) == pytest.approx(np.log(256), abs=1e-6)

    def test_one_pixel_is_certain(self):
        plane = np.zeros(hm.PLANE)
        plane[31, 77] = 0.4
        assert hm.entropy(plane) == pytest.approx(0, abs=1e-8)
        assert hm.spatial_entropy(plane) == pytest.approx(0, abs=1e-8)

    def test_a_gaussian_has_the_entropy_of_a_gaussian(self):
        r, c = np.mgrid[:160, :160]
        plane = np.exp(-((r - 80) ** 2 + (c - 70) ** 2) / (2 * 5.0**2))
        assert hm.entropy(plane) == pytest.approx(np.log(2 * np.pi * np.e * 25), abs=1e-4)

    def test_it_is_the_formula_of_the_prior(self):
        plane = np.random.default_rng(0).random(hm.PLANE).astype(np.float32) ** 8
        p = plane.astype(float) / (plane.astype(float).sum() + 1e-9)
        assert hm.entropy(plane) == pytest.approx(-(p * np.log(p + 1e-9)).sum(), rel=1e-12)
        blocks = plane.astype(float).reshape(16, 10, 16, 10).sum(axis=(1, 3))
        q = blocks / (blocks.sum() + 1e-9)
        assert hm.spatial_entropy(plane) == pytest.approx(-(q * np.log(q + 1e-9)).sum(), rel=1e-9)

    def test_an_empty_map_knows_nothing(self):
        assert hm.entropy(np.zeros(hm.PLANE)) == pytest.approx(np.log(N))
        assert hm.spatial_entropy(np.zeros(hm.PLANE)) == pytest.approx(np.log(256))

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 1))
    def test_scale_and_order_of_pixels_do_not_matter(self, seed, scale):
        plane = np.random.default_rng(seed).random((20, 30)) ** 3
        found = hm.entropy(plane)
        assert 0 <= found <= np.log(600) + 1e-6
        assert hm.entropy(scale * plane) == pytest.approx(found, abs=1e-6)
        assert hm.entropy(plane.T[::-1]) == pytest.approx(found, abs=1e-9)

    def test_other_grids_are_brought_to_that_of_the_definition(self):
        """The same picture with four times the pixels has the same entropy, not ln 4 more."""
        r, c = np.mgrid[:320, :320]
        fine = np.exp(-((r - 159.5) ** 2 + (c - 159.5) ** 2) / (2 * 12.0**2))
        r, c = np.mgrid[:160, :160]
        coarse = np.exp(-((r - 79.5) ** 2 + (c - 79.5) ** 2) / (2 * 6.0**2))
        assert hm.entropy(fine) - hm.entropy(coarse) == pytest.approx(np.log(4), abs=1e-3)
        assert hm.level_measures(fine[None])["entropy"] == pytest.approx(
            hm.entropy(coarse), abs=0.01
        )


class TestMutualInformation:
    def test_equal_members_agree(self):
        one = np.random.default_rng(0).random((8, 8))
        assert hm.mutual_information(np.stack([one, one / 3])) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("members", [2, 5])
    def test_members_in_different_places_give_ln_members(self, members):
        planes = np.zeros((members, 8, 8))
        for m in range(members):
            planes[m, m] = 0.7
        assert hm.mutual_information(planes) == pytest.approx(np.log(members))

    def test_an_empty_member_is_anywhere(self):
        planes = np.zeros((2, 8, 8))
        planes[0] = 1
        assert hm.mutual_information(planes) == pytest.approx(0, abs=1e-12)


class TestPeaks:
    def test_two_gaussians_at_a_known_distance(self):
        grid = sagittal_grid()
        centers = np.array([[-2.0, 0.0, 40.0], [-2.0, 8.0, 6.0]])
        both = blob(grid, centers[0]) + blob(grid, centers[1], 0.6)
        found = hm.peaks(both, grid, CONFIG)
        assert len(found) == 2
        for got, wanted in zip(found, centers, strict=True):
            np.testing.assert_allclose(got.position_mm, wanted, atol=0.4)
        values = hm.peak_measures(found)
        distance = np.linalg.norm(centers[0] - centers[1])
        assert values["second_peak"] == pytest.approx(0.6, abs=0.03)
        assert values["second_peak_mm"] == pytest.approx(distance, abs=0.4)
        assert values["peak_z_mm"] == pytest.approx(40, abs=0.4)

    def test_the_centroid_lies_between_thick_slices(self):
        grid = sagittal_grid()
        (found,) = hm.peaks(blob(grid, [-2.0, 0.0, 10.0], sigma_mm=5), grid, CONFIG)
        assert found.position_mm[0] == pytest.approx(-2.0, abs=0.3)

    def test_maxima_that_are_near_or_faint_are_none(self):
        grid = sagittal_grid()
        center = np.array([0.0, 0.0, 20.0])
        near = blob(grid, center, 1, 2.5) + blob(grid, center - np.array([0, 0, 9]), 0.8, 2.5)
        assert len(hm.peaks(near, grid, CONFIG)) == 1
        faint = blob(grid, center) + blob(grid, center - np.array([0, 0, 40]), 0.04)
        assert len(hm.peaks(faint, grid, CONFIG)) == 1

    def test_an_empty_map_has_no_place(self):
        grid = sagittal_grid((8, 8, 3))
        assert hm.peaks(np.zeros(grid.shape, np.float32), grid, CONFIG) == []
        values = hm.peak_measures([])
        assert np.isnan(values["peak_z_mm"])
        assert values["second_peak"] == 0
        assert np.isnan(values["second_peak_mm"])

    def test_a_flat_map_is_not_an_error(self):
        grid = sagittal_grid((20, 30, 5))
        assert 0 < len(hm.peaks(np.full(grid.shape, 0.2, np.float32), grid, CONFIG)) <= 6

    def test_spread_of_members(self):
        grid = sagittal_grid()
        members = np.zeros((2, *grid.shape), np.float32)
        members[0, 10, 20, 3] = members[1, 10, 24, 3] = 1
        assert hm.peak_spread_mm(members, grid) == pytest.approx(3.0)  # 6 mm apart
        members[1] = 0
        assert np.isnan(hm.peak_spread_mm(members, grid))


def test_slices_are_cut_where_the_mean_peaks():
    grid = sagittal_grid()
    assert hm.left_right_axis(grid) == 2
    maps = np.zeros((2, 1, *grid.shape), np.float32)
    maps[0, 0, 30, 50, 2] = 0.4
    maps[1, 0, :, :, 5] = 0.5  # the mean is highest here
    cut = hm.peak_planes(maps, 2)
    assert cut.shape == (2, 1, 160, 160)
    assert not cut[0].any()
    np.testing.assert_allclose(cut[1], 0.5, rtol=1e-6)


class TestLabelEntropy:
    place = np.array([-4.0, 0.0, 20.0])

    def test_one_level_alone_is_certain(self):
        grid = sagittal_grid()
        maps = np.stack([blob(grid, self.place), blob(grid, self.place - np.array([0, 0, 40]))])
        assert hm.label_entropy(maps, self.place, grid) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("share", [0.5, 0.25])
    def test_two_levels_at_one_place(self, share):
        grid = sagittal_grid()
        maps = np.stack([blob(grid, self.place, share), blob(grid, self.place, 1 - share)])
        expected = -(share * np.log(share) + (1 - share) * np.log(1 - share))
        assert hm.label_entropy(maps, self.place, grid) == pytest.approx(expected, abs=1e-6)

    def test_no_heat_at_all_could_be_any(self):
        grid = sagittal_grid()
        nothing = np.zeros((5, *grid.shape), np.float32)
        assert hm.label_entropy(nothing, self.place, grid) == pytest.approx(np.log(5))

    def test_a_place_at_the_edge_of_the_field_of_view(self):
        grid = sagittal_grid()
        corner = grid.matrix[:3, 3]
        maps = np.stack([blob(grid, corner), np.zeros(grid.shape, np.float32)])
        assert hm.label_entropy(maps, corner, grid) == pytest.approx(0, abs=1e-6)


class TestMass:
    def test_half_of_the_mass_is_elsewhere(self):
        grid = sagittal_grid()
        center = np.array([0.0, 0.0, 30.0])
        both = blob(grid, center) + blob(grid, center - np.array([0, 0, 40]))
        assert hm.mass_beyond(both, center, 15, grid, 0.05) == pytest.approx(0.5, abs=0.01)
        assert hm.mass_beyond(both, center, 80, grid, 0.05) == 0

    def test_a_faint_rest_does_not_outweigh_the_peak(self):
        grid = sagittal_grid()
        center = np.array([0.0, 0.0, 30.0])
        rest = blob(grid, center) + np.float32(0.01)
        assert hm.mass_beyond(rest, center, 15, grid, 0.05) == 0

    def test_all_of_nothing_is_beyond(self):
        grid = sagittal_grid((8, 8, 3))
        assert hm.mass_beyond(np.zeros(grid.shape), np.zeros(3), 15, grid, 0.05) == 1


class TestChain:
    SPINE = (70.0, 37.0, 3.0, -32.0, -66.0)

    def test_a_normal_spine_is_its_own_chain(self):
        candidates = [[peak(z)] for z in self.SPINE]
        assert best_chain(candidates, CONFIG) == tuple(c[0] for c in candidates)

    def test_the_lower_peak_is_taken_where_the_higher_one_breaks_the_order(self):
        candidates = [[peak(z)] for z in self.SPINE]
        candidates[4] = [peak(-32.0, 0.9), peak(-66.0, 0.5)]  # the highest lies on l4_l5
        assert best_chain(candidates, CONFIG)[4].position_mm[2] == -66

    def test_a_level_without_place_is_left_out_and_the_others_stay(self):
        candidates = [[peak(z)] for z in self.SPINE]
        candidates[2] = [peak(200.0)]
        chain = best_chain(candidates, CONFIG)
        assert [p is not None for p in chain] == [True, True, False, True, True]

    def test_no_peak_at_all(self):
        assert best_chain([[], []], CONFIG) == (None, None)

    def measured(self, tops, extra=()):
        grid = sagittal_grid((40, 140, 5))
        maps = np.stack([blob(grid, [4.0, 0.0, z]) for z in tops])
        for level, z, height in extra:
            maps[level] += blob(grid, [4.0, 0.0, z], height)
        candidates = [hm.peaks(m, grid, CONFIG) for m in maps]
        return chain_measures(LEVELS, maps, candidates, grid, CONFIG)

    def test_columns_of_a_normal_spine(self):
        found = self.measured(self.SPINE)
        assert found["chain_levels"] == 5
        assert found["order_violations"] == 0
        assert found["l5_s1_off_chain_mass"] < 0.01
        assert np.isnan(found["l1_l2_spacing_mm"])
        assert found["l4_l5_spacing_mm"] == pytest.approx(35, abs=0.3)
        others = np.median([33, 34, 35])
        assert found["l5_s1_spacing_deviation"] == pytest.approx(abs(np.log(34 / others)), abs=0.01)

    def test_a_second_place_for_the_last_level(self):
        found = self.measured(self.SPINE, [(4, -30.0, 0.8)])
        assert found["l5_s1_off_chain_mass"] == pytest.approx(0.8 / 1.8, abs=0.03)
        assert found["l4_l5_off_chain_mass"] < 0.01

    def test_two_levels_in_one_place(self):
        found = self.measured((70.0, 37.0, 3.0, -32.0, -31.0))
        assert found["order_violations"] == 1
        assert found["chain_levels"] == 4
        assert found["l5_s1_spacing_deviation"] > 2

    def test_empty_maps_have_no_spacing_and_all_mass_off_the_chain(self):
        grid = sagittal_grid((8, 8, 3))
        nothing = np.zeros((5, *grid.shape), np.float32)
        found = chain_measures(LEVELS, nothing, [[]] * 5, grid, CONFIG)
        assert found["chain_levels"] == 0
        assert found["l5_s1_off_chain_mass"] == 1
        assert np.isnan(found["l5_s1_spacing_deviation"])
