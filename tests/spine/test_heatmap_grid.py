"""Maps of fewer pixels lie where they were seen, on the image's grid as on their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.heatmap_grid import FAINT, divided, onto
from lamstore.errors import GridError
from lamstore.grid import Grid

AFFINE = np.array([[0, 0, 4.4, -30], [0.7, 0.02, 0, 10], [-0.02, -0.7, 0, 95], [0, 0, 0, 1.0]])
IMAGE = Grid.of((64, 48, 5), AFFINE)


def outer_corners(grid):
    voxels = np.array([*np.ndindex(2, 2, 2)]) * np.array(grid.shape) - 0.5
    return voxels @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]


def centroid_mm(values, grid):
    at = np.average(np.indices(values.shape).reshape(3, -1), axis=1, weights=values.ravel())
    return grid.matrix[:3, :3] @ at + grid.matrix[:3, 3]


@given(st.tuples(*[st.integers(1, 70)] * 3))
def test_a_divided_grid_spans_the_same_field_of_view(shape):
    own = divided(IMAGE, shape)
    assert own.shape == shape
    np.testing.assert_allclose(outer_corners(own), outer_corners(IMAGE), atol=1e-9)


@given(
    st.tuples(st.integers(8, 64), st.integers(8, 48)),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
)
@settings(max_examples=30, deadline=None)
def test_a_blob_stays_where_it_is(shape, share):
    own = divided(IMAGE, (*shape, 5))
    rows, columns = np.indices(shape)
    at = [s * n for s, n in zip(share, shape, strict=True)]
    blob = np.zeros((1, *own.shape), np.float32)
    square = (rows - at[0]) ** 2 + (columns - at[1]) ** 2
    blob[0, :, :, 2] = np.exp(-square / (2 * 0.9**2))
    found = onto(blob, own, IMAGE)
    assert found.shape == (1, *IMAGE.shape)
    apart_mm = np.linalg.norm(centroid_mm(found[0], IMAGE) - centroid_mm(blob[0], own))
    assert apart_mm < 0.35


def test_interpolation_is_linear_and_steps_are_kept():
    """A ramp along each axis comes back as the same ramp, within the outer voxels' centres."""
    own = divided(IMAGE, (16, 12, 5))
    world = np.moveaxis(np.indices(own.shape), 0, -1) @ own.matrix[:3, :3].T + own.matrix[:3, 3]
    low, high = world.min(), world.max()
    ramp = 0.1 + 0.8 * (world - low) / (high - low)
    found = onto(np.moveaxis(ramp, -1, 0).astype(np.float32), own, IMAGE)
    fine = np.moveaxis(np.indices(IMAGE.shape), 0, -1) @ IMAGE.matrix[:3, :3].T
    wanted = 0.1 + 0.8 * (fine + IMAGE.matrix[:3, 3] - low) / (high - low)
    inner = (slice(None), slice(2, -2), slice(2, -2), slice(None))
    np.testing.assert_allclose(found[inner], np.moveaxis(wanted, -1, 0)[inner], atol=1e-5)
    stepped = onto(np.moveaxis(ramp, -1, 0), own, IMAGE, np.float16, 16)
    assert stepped.dtype == np.float16
    np.testing.assert_array_equal(stepped * 16, np.round(stepped * 16))


def test_the_same_grid_gives_the_same_values_and_faint_levels_are_zero():
    maps = np.random.default_rng(0).random((2, *IMAGE.shape), np.float32)
    maps[1] *= 2e-4
    found = onto(maps, IMAGE, IMAGE)
    np.testing.assert_array_equal(found[0], maps[0])
    assert not found[1].any()


def test_every_step_is_stored_as_it_is():
    steps = np.arange(2049, dtype=np.float32).reshape(1, 1, 683, 3) / 2048
    grid = Grid.of(steps.shape[1:], np.eye(4))
    np.testing.assert_array_equal(onto(steps, grid, grid, np.float16, 2048), steps)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(96, 71, 9), (32, 24, 5), (20, 15, 3)]))
@settings(max_examples=20, deadline=None)
def test_boxes_leave_nothing_out(seed, shape):
    """Scattered marks, some at the border, on finer, equal and coarser grids: as if in one box."""
    draw = np.random.default_rng(seed)
    own = divided(IMAGE, shape)
    marks = draw.uniform(0.1, 0.9, (2, *own.shape))
    maps = np.where(draw.random(marks.shape) < 0.004, marks, 0)
    sparse = onto(maps, own, IMAGE)
    whole = onto(maps + FAINT, own, IMAGE) - FAINT
    np.testing.assert_allclose(sparse, whole, atol=1e-6)


def test_axes_that_are_not_parallel_are_refused():
    turned = AFFINE.copy()
    turned[:3, :2] = AFFINE[:3, [1, 0]]
    with pytest.raises(GridError, match="axes"):
        onto(np.ones((1, *IMAGE.shape)), Grid.of(IMAGE.shape, turned), IMAGE)
