"""Maps come back to where the image was, whatever grid the network worked on."""

import numpy as np
import pytest
import torch
from torch import nn

from jobs.heatmap_grid import divided, onto
from jobs.heatmaps.inference import VIEWS, Machine, Member, find_levels, prepare
from jobs.heatmaps.weights import PUBLIC_PREPARATION, Preparation
from lamstore.grid import Grid

MACHINE = Machine(batch=4)
PATCH = 160
OWN = Preparation(2.0, PATCH, (0.0, 100.0))


class Bright(nn.Module):
    """Answers with level k where a slice is as bright as (k + 1) / 5, surely."""

    def forward(self, slices):
        levels = torch.arange(1, 6).view(1, 5, 1, 1) / 5
        claims = 12 - 200 * (slices - levels).abs()
        return torch.cat([torch.zeros_like(slices), claims], dim=1)


class Bump(nn.Module):
    """Answers with level 0 as surely as a slice is bright."""

    def forward(self, slices):
        claims = 12 * slices - 6
        nothing = torch.full_like(slices, -20.0)
        return torch.cat([-claims, claims, *[nothing] * 4], dim=1)


def on_image(found, shape):
    """(member, level, slice, row, column) on the series' own pixels."""
    grid = Grid.of(shape, np.diag([4.0, 1.0, 1.0, 1.0]))
    heatmap = found.stack(shape[0])
    own = divided(grid, heatmap.shape[-3:])
    return np.stack([onto(member, own, grid) for member in heatmap])


def marked(shape=(5, 90, 70), size=9):
    """A series with a square of each brightness on its own slice, and the squares' centres."""
    rng = np.random.default_rng(3)
    stack = np.zeros(shape, np.float32)
    centres = []
    for k in range(5):
        row = 10 + 16 * k
        column = int(rng.integers(12, shape[2] - 12))
        half = size // 2
        at = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
        stack[k, at[0], at[1]] = 200 * (k + 1)
        centres.append((k, row, column))
    return stack, np.array(centres)


def bump(shape=(3, 130, 110), centre=(2, 41.3, 63.8), sigma=9.0):
    """A series with one smooth bright spot."""
    rows, columns = np.indices(shape[1:])
    stack = np.zeros(shape, np.float32)
    square = (rows - centre[1]) ** 2 + (columns - centre[2]) ** 2
    stack[centre[0]] = 500 * np.exp(-0.5 * square / sigma**2)
    return stack, centre


def centre_of(heatmap):
    weights = np.where(heatmap > heatmap.max() / 2, heatmap, 0)
    return np.average(np.indices(heatmap.shape).reshape(3, -1), axis=1, weights=weights.ravel())


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7), (1.0, 0.8), (2.0, 2.0), (2.6, 2.9)])
def test_a_mark_is_found_where_it_is(spacing_mm):
    stack, centre = bump()
    found = find_levels([Member(Bump(), OWN)], stack, spacing_mm, "all", MACHINE)
    heatmap = on_image(found, stack.shape)
    assert heatmap.shape == (1, 5, *stack.shape)
    assert heatmap[0, 0].max() > 0.9
    np.testing.assert_allclose(centre_of(heatmap[0, 0]), centre, atol=0.25)


@pytest.mark.parametrize("view", ["larger", "smaller"])
def test_a_zoomed_view_finds_it_at_the_same_place(view):
    stack, centre = bump()
    members = [Member(Bump(), OWN), Member(Bump(), OWN, VIEWS[view])]
    found = find_levels(members, stack, (1.0, 1.0), "all", MACHINE)
    np.testing.assert_allclose(centre_of(on_image(found, stack.shape)[1, 0]), centre, atol=0.3)


def test_gamma_changes_what_the_network_sees():
    stack, _ = marked()
    members = [Member(Bright(), OWN), Member(Bright(), OWN, VIEWS["brighter"])]
    plain, brighter = find_levels(members, stack, (2.0, 2.0), "all", MACHINE).maps
    assert float(plain[:, 2].max()) > 0.9 > float(brighter[:, 2].max())


def test_planes_are_of_the_slice_on_which_a_level_peaks():
    stack, centres = marked()
    found = find_levels([Member(Bright(), OWN)], stack, (2.0, 2.0), "all", MACHINE)
    planes = found.planes()
    assert planes.shape == (1, 5, 90, 70)
    for level, (_, row, column) in enumerate(centres):
        assert planes[0, level, row, column] > 0.9


def test_batches_do_not_change_the_answer():
    stack, _ = marked()
    one, four = (
        find_levels([Member(Bright(), OWN)], stack, (1.0, 1.0), "all", Machine(batch=n)).maps
        for n in (1, 4)
    )
    torch.testing.assert_close(one, four)


def test_middle_looks_at_the_middle_slice_scaled_over_the_volume():
    stack = np.zeros((4, 80, 40), np.float32)
    stack[2] = 100.0
    stack[0] = 255.0
    stack[1, 0, 0] = -45.0
    seen = prepare(stack, (1.0, 1.0), PUBLIC_PREPARATION, slices=(2,))
    assert tuple(seen.shape) == (1, 160, 160)
    # From -45 to 255: 100 is 145 / 300 of the range, cut to a whole number of 255.
    np.testing.assert_allclose(seen.numpy(), np.floor(145 / 300 * 255) / 255, rtol=1e-6)
    found = find_levels([Member(Bright(), OWN)], stack, (1.0, 1.0), "middle", MACHINE)
    assert found.slices == (2,)
    assert found.maps.shape[-2:] == (160, 160)
    heatmap = on_image(found, stack.shape)
    assert not heatmap[:, :, [0, 1, 3]].any()
    assert heatmap[:, :, 2].any()


def test_percentiles_are_of_the_series_and_clip():
    stack = np.linspace(0, 1000, 4 * 50 * 50, dtype=np.float32).reshape(4, 50, 50)
    seen = prepare(stack, (2.0, 2.0), Preparation(2.0, 0, (10.0, 90.0)))
    assert float(seen.min()) == 0
    assert float(seen.max()) == 1
    np.testing.assert_allclose(np.median(seen.numpy()), 0.5, atol=0.01)
    share = float((seen == 0).float().mean())
    assert share == pytest.approx(0.1, abs=0.01)


def test_a_series_of_one_value_is_black():
    for preparation in (OWN, PUBLIC_PREPARATION):
        seen = prepare(np.full((2, 20, 20), 7.0, np.float32), (1.0, 1.0), preparation)
        assert not seen.any()
