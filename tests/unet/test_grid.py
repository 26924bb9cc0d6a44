"""Do intensities and voxels reach the network as in training, and come back?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.unet.normalize import RANGE, BrainScale, brain_scale, normalized
from jobs.unet.resample import Placement
from lamstore.errors import VoxelError
from lamstore.grid import Grid


def brain_image(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, (12, 14, 10)).astype(np.float32)
    image[2:4] = 5  # fluid
    brain = np.zeros(image.shape, bool)
    brain[1:-1, 1:-1, 1:-1] = True
    return image, brain


def test_normal_tissue_has_mean_0_and_width_1():
    image, brain = brain_image()
    z = normalized(image, brain, brain_scale(image, brain))
    tissue = z[4:-1, 1:-1, 1:-1]
    assert abs(float(np.median(tissue))) < 0.1
    assert float(tissue.std()) == pytest.approx(1, abs=0.1)
    assert (z[2:4, 1:-1, 1:-1] == RANGE[0]).all()
    assert not z[~brain].any()


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(0.01, 100), offset=st.floats(-500, 500), seed=st.integers(0, 99))
def test_gain_and_offset_of_the_scanner_are_taken_out(gain, offset, seed):
    image, brain = brain_image(seed)
    other = (gain * image.astype(np.float64) + offset).astype(np.float32)
    a, b = (normalized(i, brain, brain_scale(i, brain)) for i in (image, other))
    np.testing.assert_allclose(a, b, atol=0.02)


def test_a_patch_is_normalized_as_the_whole():
    image, brain = brain_image()
    scale = brain_scale(image, brain)
    part = (slice(3, 9), slice(2, 7), slice(0, 5))
    np.testing.assert_array_equal(
        normalized(image[part], brain[part], scale), normalized(image, brain, scale)[part]
    )


def test_empty_and_constant_brains_are_zeros():
    image, brain = brain_image()
    none = np.zeros_like(brain)
    assert brain_scale(image, none) == BrainScale(0, 0)
    flat = np.full_like(image, 3)
    assert brain_scale(flat, brain) == BrainScale(3, 0)
    assert not normalized(flat, brain, brain_scale(flat, brain)).any()


def test_intensities_without_scale_are_refused():
    image, brain = brain_image()
    for bad in (np.nan, np.inf):
        spoiled = image.copy()
        spoiled[5, 5, 5] = bad
        with pytest.raises(VoxelError, match="NaN"):
            brain_scale(spoiled, brain)
        spoiled = np.where(brain, image, bad).astype(np.float32)
        brain_scale(spoiled, brain)
    with pytest.raises(VoxelError, match="no scale"):
        brain_scale(np.where(image > 110, 2, 1).astype(np.float32), brain)


def test_where_spacing_and_axes_agree_nothing_is_touched():
    image, brain = brain_image()
    grid = Grid.of(image.shape, np.diag([1.005, 1, 1, 1]))
    placement = Placement.of(grid, grid.shape, (1.0, 1.0, 1.0))
    assert np.shares_memory(placement.to_training(image), image)
    assert np.shares_memory(placement.to_subject(image), image)
    assert np.shares_memory(placement.mask_to_training(brain), brain)


def test_a_ramp_survives_the_way_there_and_back():
    """Linear interpolation is exact on a ramp, away from the rim."""
    shape = (18, 20, 8)
    affine = np.array([[0, 0, -3, 0], [0.8, 0, 0, 0], [0, 0.7, 0, 0], [0, 0, 0, 1]], float)
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    ramp = (2 * x - y + 3 * z).astype(np.float32)
    placement = Placement.of(Grid.of(shape, affine), shape, (1.0, 1.0, 1.0))
    there = placement.to_training(ramp)
    assert there.shape == (24, 15, 14)  # R along z, A along x, S along y; a corner is kept
    steps = [float(np.diff(there, axis=a)[4:-4, 4:-4, 4:-4].mean()) for a in range(3)]
    # Per mm: z runs towards the left, 3 mm a voxel.
    np.testing.assert_allclose(steps, [-3 / 3, 2 / 0.8, -1 / 0.7], rtol=1e-4)
    back = placement.to_subject(there)
    inner = (slice(3, -3), slice(3, -3), slice(2, -2))
    np.testing.assert_allclose(back[inner], ramp[inner], atol=1e-3)


def test_masks_keep_their_volume():
    shape = (30, 30, 10)
    mask = np.zeros(shape, bool)
    mask[6:24, 9:21, 3:7] = True
    grid = Grid.of(shape, np.diag([1, 1, 3, 1]))
    there = Placement.of(grid, shape, (1.0, 1.0, 1.0)).mask_to_training(mask)
    assert there.shape == (30, 30, 30)
    assert there.sum() == mask.sum() * 3
