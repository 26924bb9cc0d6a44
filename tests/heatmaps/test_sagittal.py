"""Whatever way an array lies in space, its slices come out upright, and the way back is exact."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.heatmaps.sagittal import sagittal_view
from lamstore.errors import GridError
from lamstore.grid import Grid

SHAPE = (3, 4, 5)
"""Voxels to the right, anterior, superior."""


def oriented(order, signs, tilt_deg=0.0):
    """A grid whose array axis i runs along world axis order[i], forwards or backwards."""
    affine = np.eye(4)
    spacing = np.array([2.0, 1.0, 1.5])
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = 0
        affine[world, axis] = sign * spacing[world]
    angle = np.deg2rad(tilt_deg)
    turn = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    affine[:3, :3] = np.array(turn) @ affine[:3, :3]
    return Grid.of(tuple(SHAPE[world] for world in order), affine)


@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.floats(-30, 30),
)
@settings(max_examples=60, deadline=None)
def test_rows_run_down_and_columns_run_backwards(order, signs, tilt_deg):
    grid = oriented(order, signs, tilt_deg)
    view = sagittal_view(grid)
    world = np.einsum("ij,jxyz->ixyz", grid.matrix[:3, :3], np.indices(grid.shape))
    right, anterior, superior = (view.stack(axis) for axis in world)
    assert right.shape == (SHAPE[0], SHAPE[2], SHAPE[1])
    assert (np.diff(superior, axis=1) < 0).all()
    assert (np.diff(anterior, axis=2) < 0).all()
    assert view.spacing_mm == pytest.approx((2.0, 1.5, 1.0))


@pytest.mark.parametrize("order", permutations(range(3)))
@pytest.mark.parametrize("signs", product((-1, 1), repeat=3))
def test_there_and_back_for_voxels_and_positions(order, signs):
    grid = oriented(order, signs)
    view = sagittal_view(grid)
    volume = np.arange(np.prod(SHAPE)).reshape(grid.shape)
    np.testing.assert_array_equal(view.volume(view.stack(volume)), volume)
    np.testing.assert_array_equal(view.volume(np.stack([view.stack(volume)] * 2))[1], volume)
    voxel = np.array([[0, 1, 2], [2, 0, 1]])
    index = view.index(voxel, grid.shape)
    for v, i in zip(voxel, index.astype(int), strict=True):
        assert view.stack(volume)[tuple(i)] == volume[tuple(v)]
    np.testing.assert_array_equal(view.voxel(index, grid.shape), voxel)


def test_an_axial_series_is_refused_with_what_its_slices_would_be():
    grid = Grid.of((20, 20, 10), np.diag([0.5, 0.5, 4.0, 1.0]))
    with pytest.raises(GridError, match="not a sagittal series") as caught:
        sagittal_view(grid)
    assert "4.00" in str(caught.value)
