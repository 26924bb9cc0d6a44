"""Do reliability and retention give their known values, however the voxels are cut in chunks?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import calibration as cal
from lamstore.errors import AnalysisError

RNG = np.random.default_rng(0)


def test_ece_by_hand():
    # Bin [0.2, 0.3): 10 voxels at 0.25, 5 lesion (gap 0.25); bin [0.9, 1]: 30 at 0.9, 27 lesion.
    p = np.r_[np.full(10, 0.25), np.full(30, 0.9)]
    t = np.r_[np.arange(10) < 5, np.arange(30) < 27]
    got = cal.reliability(p, t, bins=10)
    assert got.ece == pytest.approx(10 / 40 * 0.25)
    assert got.count.tolist() == [0, 0, 10, 0, 0, 0, 0, 0, 0, 30]
    assert got.accuracy[[2, 9]].tolist() == pytest.approx([0.5, 0.9])
    assert np.isnan(got.accuracy[0])
    assert got.brier == pytest.approx(((p - t) ** 2).mean())


def test_what_is_dropped_is_counted():
    got = cal.reliability([0.0, 0.005, 0.5, 1.0], [0, 1, 1, 1], minimum_probability=0.01)
    assert (got.n, got.dropped, got.dropped_truth) == (2, 2, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_chunks_add_up(n, cut):
    rng = np.random.default_rng(n)
    p, t, u = rng.random(n), rng.random(n) < 0.3, rng.random(n) * 0.25
    cut, edges = min(cut, n), cal.uncertainty_edges(0.25)
    whole = cal.reliability(p, t)
    parts = cal.reliability(p[:cut], t[:cut]) + cal.reliability(p[cut:], t[cut:])
    assert (whole.count == parts.count).all()
    assert whole.sum_probability == pytest.approx(parts.sum_probability)
    if n:
        assert whole.ece == pytest.approx(parts.ece)
    kept = cal.retention_histogram(u, p > 0.5, t, edges)
    pieces = [cal.retention_histogram(u[s], p[s] > 0.5, t[s], edges)
              for s in (slice(0, cut), slice(cut, n))]  # fmt: skip
    assert (kept.outcome == (pieces[0] + pieces[1]).outcome).all()


def test_unlike_histograms_do_not_add():
    with pytest.raises(AnalysisError):
        cal.reliability([0.5], [1]) + cal.reliability([0.5], [1], minimum_probability=0.1)
    histograms = [
        cal.retention_histogram([0.1], [1], [1], cal.uncertainty_edges(u)) for u in (1, 2)
    ]
    with pytest.raises(AnalysisError):
        histograms[0] + histograms[1]


def test_perfect_uncertainty_reaches_the_oracle():
    truth = RNG.random(20_000) < 0.2
    predicted = truth ^ (RNG.random(20_000) < 0.1)
    wrong = predicted != truth
    curve = cal.retention_curve(
        cal.retention_histogram(
            np.where(wrong, 0.2, 1e-6), predicted, truth, cal.uncertainty_edges(0.25)
        )
    )
    assert curve.area == pytest.approx(curve.area_oracle)
    assert curve.gain == pytest.approx(1)
    assert curve.error[-1] == pytest.approx(wrong.mean())


def test_constant_uncertainty_is_chance():
    truth, predicted = RNG.random(1000) < 0.2, RNG.random(1000) < 0.2
    histogram = cal.retention_histogram(
        np.full(1000, 0.1), predicted, truth, cal.uncertainty_edges(1)
    )
    curve = cal.retention_curve(histogram)
    assert curve.gain == pytest.approx(0)


def test_dice_ends_where_the_model_is_and_starts_perfect():
    truth, predicted = RNG.random(5000) < 0.3, RNG.random(5000) < 0.3
    histogram = cal.retention_histogram(
        RNG.random(5000), predicted, truth, cal.uncertainty_edges(1)
    )
    curve = cal.retention_curve(histogram)
    assert curve.dice[0] == 1
    assert curve.dice[-1] == pytest.approx(
        2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
    )


def test_area_matches_sorting_voxel_by_voxel():
    n = 4000
    truth, predicted = RNG.random(n) < 0.3, RNG.random(n) < 0.3
    u = RNG.random(n) * (0.2 + 0.8 * (truth != predicted))
    wrong = (truth != predicted)[np.argsort(u)]
    exact = np.trapezoid(np.r_[0, np.cumsum(wrong)] / n, dx=1 / n)
    edges = cal.uncertainty_edges(1, bins=2000)
    got = cal.retention_curve(cal.retention_histogram(u, predicted, truth, edges)).area
    assert got == pytest.approx(exact, rel=5e-3)


def test_nothing_gives_nan():
    empty = cal.reliability([], [])
    assert np.isnan(empty.ece)
    assert np.isnan(empty.brier)
    curve = cal.retention_curve(cal.retention_histogram([], [], [], cal.uncertainty_edges(1)))
    assert np.isnan(curve.area)


@pytest.mark.parametrize("p", [[1.2], [-0.1], [float("nan")]])
def test_no_probability_is_refused(p):
    with pytest.raises(AnalysisError):
        cal.reliability(p, [1])
    with pytest.raises(AnalysisError):
        cal.retention_histogram([-1.0], [1], [1], cal.uncertainty_edges(1))
    with pytest.raises(AnalysisError, match="length"):
        cal.reliability([0.5, 0.5], [1])


@pytest.mark.parametrize("upper", [0.25, float(np.log(1e6))])
def test_stored_halves_fall_into_the_bins_of_their_values(upper):
    every = np.arange(0x7C00, dtype=np.uint16).view(np.float16)  # all finite ones from 0 on
    edges = cal.uncertainty_edges(upper)
    t, m = RNG.random(every.size) < 0.5, RNG.random(every.size) < 0.5
    halves = cal.retention_histogram(every, m, t, edges)
    doubles = cal.retention_histogram(every.astype(np.float64), m, t, edges)
    assert np.array_equal(halves.outcome, doubles.outcome)
    with pytest.raises(AnalysisError):
        cal.retention_histogram(np.array([-0.5], np.float16), [1], [1], edges)
