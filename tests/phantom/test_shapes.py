"""Do the primitives that anatomy is built from measure what they say?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.phantom.noise import labyrinth, spline_noise
from jobs.phantom.shapes import (
    NEARBY_MM,
    Frame,
    bounding_box,
    ellipsoid,
    fraction,
    nearby,
    tube,
    union,
    within,
)


def frame(n: int = 21, step: float = 2.0) -> Frame:
    axis = (np.arange(n, dtype=np.float32) - n // 2) * step
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return Frame(x, y, z, step)


def ball(at: Frame, radius: float):
    return np.sqrt(at.x**2 + at.y**2 + at.z**2) - radius


@given(radius=st.floats(2.0, 20.0))
def test_ball_as_ellipsoid_and_as_tube(radius):
    at = frame()
    # At its very centre an ellipsoid has no nearest surface point to follow.
    away = ball(at, 0.0) > 0
    measured = ellipsoid(at, (0, 0, 0), (radius, radius, radius))
    assert np.allclose(measured[away], ball(at, radius)[away], atol=1e-2)
    pinned = tube(at, ((0.0, 0.0, 0.0, radius), (1e-3, 0.0, 0.0, radius)))
    assert np.allclose(pinned, ball(at, radius), atol=1e-2)


def test_tube_tapers_along_its_axis():
    at = frame()
    d = tube(at, ((-20.0, 0.0, 0.0, 2.0), (20.0, 0.0, 0.0, 6.0)))
    assert np.allclose(d[:, 10, 10], -np.linspace(2, 6, 21), atol=1e-4)


def test_blended_union_fills_the_crease_and_nothing_else():
    a, b = np.float32([[0.0, 5.0]]), np.float32([[0.0, -5.0]])
    assert np.allclose(union(a, b, 4.0), [[-1.0, -5.0]])
    assert np.array_equal(union(a, b), np.minimum(a, b))


def test_fraction_of_a_ball_sums_to_its_volume():
    at = frame(41, 1.0)
    filled = fraction(ball(at, 12.0).astype(np.float32), 1.0).sum()
    assert filled == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.01)


def test_layer_between_offsets_adds_up():
    d = ball(frame(), 10.0).astype(np.float32)
    whole = within(d, -4.0, 0.0, 2.0) + within(d, 0.0, 4.0, 2.0)
    assert np.allclose(whole, within(d, -4.0, 4.0, 2.0), atol=1e-6)


def test_nearby_equals_the_full_distance_up_to_its_limit():
    at = frame(41, 2.0)
    full = ellipsoid(at, (4, 0, -6), (6, 8, 5))
    near = nearby(at, (-2, -8, -11), (10, 8, -1), lambda p: ellipsoid(p, (4, 0, -6), (6, 8, 5)))
    close = full < 6
    assert np.array_equal(near[close], full[close])
    assert near.max() == NEARBY_MM


def test_box_of_nothing_is_empty():
    box = bounding_box(np.zeros((3, 4, 5), bool))
    assert np.zeros((3, 4, 5))[box].size == 0


@pytest.mark.parametrize("wavelength", [10.0, 24.0])
def test_spline_noise_has_unit_variance_at_any_wavelength(wavelength):
    field = spline_noise(np.random.default_rng(0), (120, 100, 90), (2.0, 2.0, 3.0), wavelength)
    assert abs(field.mean()) < 0.05
    assert field.std() == pytest.approx(1.0, abs=0.05)


def test_spline_noise_depends_on_place_not_on_resolution():
    coarse = spline_noise(np.random.default_rng(5), (10, 11, 12), (4.0, 4.0, 4.0), 20.0)
    fine = spline_noise(np.random.default_rng(5), (19, 21, 23), (2.0, 2.0, 2.0), 20.0)
    assert np.allclose(fine[::2, ::2, ::2], coarse, atol=1e-5)


def test_labyrinth_sheets_are_half_a_wavelength_apart():
    field = labyrinth(np.random.default_rng(0), 64, 2.0, 16.0)
    # Rice: a line crosses zero 2 f / sqrt(3) times a mm in an isotropic field of frequency f.
    crossings = (np.diff(np.sign(field), axis=0) != 0).mean() / 2.0
    assert crossings == pytest.approx(2 / 16.0 / np.sqrt(3), rel=0.12)
