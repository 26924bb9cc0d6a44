"""Are effect sizes, intervals and corrections what their definitions say?"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis import paired, stats

RNG = np.random.default_rng(3)


def test_correlations_agree_with_scipy():
    x, y = RNG.normal(size=30), RNG.integers(0, 5, 30).astype(float)
    table = pd.DataFrame({"x": x, "y": y})
    for method, oracle in (
        ("spearman", scipy_stats.spearmanr),
        ("pearson", scipy_stats.pearsonr),
    ):
        got, want = stats.correlate(table, "x", "y", method), oracle(x, y)
        assert got.estimate.value == pytest.approx(want.statistic)
        assert got.p_value == pytest.approx(want.pvalue)
        assert got.estimate.low < got.estimate.value < got.estimate.high


def test_partial_correlation_of_a_common_cause_vanishes():
    z = np.arange(200.0)
    x, y = z + RNG.normal(0, 20, 200), z + RNG.normal(0, 20, 200)
    table = pd.DataFrame({"x": x, "y": y, "z": z})
    assert stats.correlate(table, "x", "y").estimate.value > 0.8
    partial = stats.correlate_given(table, "x", "y", "z")
    # Oracle: correlate what a line through the ranks of z leaves of the ranks of x and y.
    ranks = [scipy_stats.rankdata(v) for v in (x, y, z)]
    left = [r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    assert partial.estimate.value == pytest.approx(np.corrcoef(*left)[0, 1])
    assert partial.estimate.low < 0 < partial.estimate.high


def test_incomplete_subjects_do_not_count():
    table = pd.DataFrame({"x": [1, 2, 3, 4, 5, np.nan, 7], "y": [2, 1, 4, 3, 6, 5, np.nan]})
    assert stats.correlate(table, "x", "y").estimate.n == 5


def test_constant_column_and_few_subjects_give_nan_and_say_why():
    table = pd.DataFrame({"x": np.ones(9), "y": np.arange(9.0)})
    got = stats.correlate(table, "x", "y")
    assert np.isnan(got.estimate.value)
    assert np.isnan(got.p_value)
    few = stats.correlate(pd.DataFrame({"x": [1.0, 2, 3], "y": [1.0, 3, 2]}), "x", "y")
    assert few.estimate.value == pytest.approx(0.5)
    assert np.isnan(few.estimate.low)
    assert np.isnan(few.p_value)
    assert "fewer than 5" in str(few.estimate)


def test_bootstrap_covers_the_mean():
    """A 95 % interval of the mean of normal samples must hold the truth in most of 60 cohorts."""
    hits = 0
    for seed in range(60):
        x = np.random.default_rng(seed).normal(5, 2, 25)
        e = stats.bootstrap("mean", stats.mean, x, seed=seed, resamples=400)
        hits += e.low <= 5 <= e.high
    assert 50 <= hits <= 60


def test_bootstrap_is_seeded_and_names_its_method():
    x = RNG.normal(size=20)
    first, second = (stats.bootstrap("m", stats.median, x, seed=1) for _ in range(2))
    assert first == second
    assert first.method.startswith("BCa")
    assert first != stats.bootstrap("m", stats.median, x, seed=2)


def test_wilson_interval():
    got = stats.wilson("sensitivity", 2, 5)
    # Wilson's formula by hand: centre (k + z²/2) / (n + z²).
    assert (got.low, got.high) == pytest.approx((0.1176, 0.7693), abs=1e-4)
    assert stats.wilson("s", 0, 5).high > 0.4
    assert np.isnan(stats.wilson("s", 0, 0).value)


def test_holm_by_hand():
    got = paired.holm([0.01, 0.04, 0.03, np.nan])
    assert got[:3].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(got[3])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p):
    got = paired.holm(p)
    assert (got >= np.array(p) - 1e-15).all()
    assert (got <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(got[order]) >= 0).all()


def test_rank_biserial_by_hand():
    # Ranks 1 (−1), 2 (+2), 3 (+3), zeros out: (5 − 1) / 6.
    assert paired.rank_biserial(np.array([-1.0, 2.0, 3.0, 0.0])) == pytest.approx(4 / 6)
    assert paired.rank_biserial(np.zeros(4)) == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=6, max_size=12))
def test_exchanging_the_pair_turns_the_sign(d):
    a = np.array(d)
    forward = paired.compare_paired(a, 0 * a, ("a", "b"))
    backward = paired.compare_paired(0 * a, a, ("b", "a"))
    assert forward.effect == pytest.approx(-backward.effect)
    assert forward.p_value == pytest.approx(backward.p_value)


def test_paired_t_agrees_with_scipy():
    a, b = RNG.normal(1, 1, 15), RNG.normal(0, 1, 15)
    got, want = paired.compare_paired(a, b, ("a", "b"), "t"), scipy_stats.ttest_rel(a, b)
    assert (got.statistic, got.p_value) == pytest.approx((want.statistic, want.pvalue))
    assert got.effect == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
    assert got.effect_name == "cohen_dz"


def test_equal_and_few_pairs():
    same = paired.compare_paired(np.ones(8), np.ones(8), ("a", "b"))
    assert (same.p_value, same.effect, same.n_nonzero) == (1.0, 0.0, 0)
    few = paired.compare_paired([1.0, 2.0], [0.0, 0.0], ("a", "b"))
    assert np.isnan(few.p_value)
    assert few.median_difference == 1.5


def test_ranks_are_those_of_scipy():
    x = RNG.integers(0, 6, (40, 3, 9)).astype(float)
    x[0, 0, :2] = np.inf
    for ties in ("average", "max"):
        assert np.array_equal(stats.ranks(x, ties), scipy_stats.rankdata(x, method=ties, axis=-1))


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (2, 7), (30, 90), (1, 1)])
def test_wilson_is_that_of_scipy(hits, n):
    wanted = scipy_stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    found = stats.wilson("p", hits, n)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
