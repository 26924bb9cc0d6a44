"""Dilation in mm and connected components: exact, and the same as scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.metrics import components as c
from lamstore.errors import ConfigError, GridError

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
MASKS = SHAPES.flatmap(lambda shape: arrays(bool, shape))
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.71875, 1.0, 1.3, 2.0, 3.0])] * 3)
RADII = st.sampled_from([0.0, 0.4, 1.0, 2.0, 2.5, 3.7])


def brute_dilation(mask, spacing, radius):
    """The definition, voxel pair by voxel pair, in exact integers of 1e-5 mm where it matters."""
    grid = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1) * spacing
    lesion = grid[mask]
    if not len(lesion):
        return np.zeros_like(mask)
    squared = ((grid[..., None, :] - lesion) ** 2).sum(-1)
    return squared.min(-1) <= radius**2 + 1e-6


@settings(max_examples=150, deadline=None)
@given(MASKS, SPACINGS, RADII)
def test_dilation_is_its_definition(mask, spacing, radius):
    assert np.array_equal(c.dilate_mm(mask, spacing, radius), brute_dilation(mask, spacing, radius))


def test_dilation_at_exactly_the_radius_counts():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    ball = c.dilate_mm(mask, (1.0, 1.0, 1.0), 2.0)
    assert ball.sum() == 33
    assert ball[4, 4, 6]
    assert not ball[4, 5, 6]
    # 0.1 has no exact float: 20 steps of it are 2 mm all the same.
    line = np.zeros((1, 1, 41), bool)
    line[0, 0, 20] = True
    assert c.dilate_mm(line, (1.0, 1.0, 0.1), 2.0).all()


def test_dilation_of_nothing_is_nothing_and_a_negative_radius_is_refused():
    empty = np.zeros((4, 5, 6), bool)
    assert not c.dilate_mm(empty, (1.0, 1.0, 1.0), 2.0).any()
    with pytest.raises(ConfigError):
        c.dilate_mm(empty, (1.0, 1.0, 1.0), -1.0)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.permutations([0, 1, 2]), st.sets(st.integers(0, 2)))
def test_bounding_box_is_tight_in_every_memory_order(mask, order, flipped):
    view = np.flip(mask.transpose(order), tuple(flipped))
    box = c.bounding_box(view)
    if not mask.any():
        assert box is None
        return
    expected = [(hits.min(), hits.max() + 1) for hits in np.nonzero(view)]
    assert [(side.start, side.stop) for side in box] == expected


@settings(max_examples=60, deadline=None)
@given(MASKS, st.sampled_from([6, 18, 26]), st.integers(1, 4))
def test_components_equal_scipy(reference, mask, connectivity, least):
    ours, count = c.label(mask, connectivity)
    theirs, expected = reference.label(mask, connectivity)
    assert count == expected
    pairs = {(int(a), int(b)) for a, b in zip(ours.ravel(), theirs.ravel(), strict=True)}
    assert len(pairs) == len(np.unique(ours))
    assert np.array_equal(
        c.drop_small(mask, least, connectivity), reference.drop_small(mask, least, connectivity)
    )


def test_connectivity_joins_corners_edges_faces():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[1, 2, 2] = mask[1, 2, 3] = True
    assert [c.label(mask, n)[1] for n in (6, 18, 26)] == [3, 2, 1]
    with pytest.raises(ConfigError):
        c.label(mask, 8)


def test_min_voxels_rounds_up_but_not_for_float_noise():
    assert c.min_voxels(10.0, 1.5498) == 7
    assert c.min_voxels(10.0, 1.0) == 10
    assert c.min_voxels(10.0, 0.99999999) == 10
    assert c.min_voxels(10.0, 2.0) == 5
    assert c.min_voxels(0.0, 1.0) == 1


def test_a_mask_of_numbers_is_read_as_nonzero_and_a_4d_one_refused():
    assert c.as_mask(np.array([[[0, 2]]], np.uint8)).tolist() == [[[False, True]]]
    with pytest.raises(GridError, match="3D"):
        c.as_mask(np.zeros((1, 2, 3, 4), bool))


@pytest.mark.real_data
def test_real_lesions_equal_scipy(reference, gold_standards):
    mask, affine = gold_standards[-1]
    spacing = tuple(np.abs(np.diag(affine)[:3]).tolist())
    assert np.array_equal(c.dilate_mm(mask, spacing, 2.0), reference.dilate(mask, spacing, 2.0))
    assert np.array_equal(c.drop_small(mask, 10), reference.drop_small(mask, 10))
