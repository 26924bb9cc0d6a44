"""Are AUROC, its variance and its test those of the definitions, computed in other ways?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from analysis.screening.delong import (
    auroc_estimate,
    delong,
    newcombe_interval,
    paired_p_value,
)
from analysis.screening.discrimination import average_precision, average_precision_estimate


def cohort(seed, m=13, n=21, ties=True, k=3):
    rng = np.random.default_rng(seed)
    positive = np.arange(m + n) < m
    scores = rng.normal(size=(k, m + n)) + 0.8 * positive
    return (np.round(scores, 0 if ties else 12), positive)


def pairs(score, positive):
    """(m, n) of the definition: 1 where the case is above the control, 1/2 where they tie."""
    cases, controls = score[positive][:, None], score[~positive][None, :]
    return (cases > controls) + 0.5 * (cases == controls)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(3))
class TestDefinition:
    def test_auroc_is_mann_whitney(self, seed, ties):
        scores, positive = cohort(seed, ties=ties)
        for score, auroc in zip(scores, delong(scores, positive).auroc, strict=True):
            u = stats.mannwhitneyu(score[positive], score[~positive]).statistic
            assert auroc == pytest.approx(u / (positive.sum() * (~positive).sum()), abs=1e-14)

    def test_covariance_is_that_of_all_pairs(self, seed, ties):
        scores, positive = cohort(seed, ties=ties)
        kernels = np.stack([pairs(score, positive) for score in scores])
        m, n = kernels.shape[1:]
        expected = np.cov(kernels.mean(axis=2)) / m + np.cov(kernels.mean(axis=1)) / n
        np.testing.assert_allclose(delong(scores, positive).covariance, expected, atol=1e-15)

    def test_variance_is_that_of_a_jackknife(self, seed, ties):
        """Leaving out cases, then controls: the placements are the pseudo-values, exactly."""
        (score,), positive = cohort(seed, ties=ties, k=1)
        total = 0.0
        for who in (positive, ~positive):
            left = []
            for i in np.flatnonzero(who):
                keep = np.arange(score.size) != i
                left.append(delong(score[keep], positive[keep]).auroc[0])
            size = len(left)
            total += (size - 1) / size * np.sum((np.array(left) - np.mean(left)) ** 2)
        assert delong(score, positive).covariance[0, 0] == pytest.approx(total, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_only_ranks_matter_and_turning_round_mirrors(seed):
    scores, positive = cohort(seed, ties=False)
    found, moved = delong(scores, positive), delong(np.exp(3 * scores) - 7, positive)
    np.testing.assert_allclose(moved.auroc, found.auroc, atol=1e-12)
    np.testing.assert_allclose(moved.covariance, found.covariance, atol=1e-12)
    turned = delong(-scores, positive)
    np.testing.assert_allclose(turned.auroc, 1 - found.auroc, atol=1e-12)
    np.testing.assert_allclose(turned.covariance, found.covariance, atol=1e-12)
    assert paired_p_value(scores[:2], positive) == pytest.approx(
        paired_p_value(scores[1::-1], positive)
    )


class TestInterval:
    def test_it_is_delong_on_the_logit_scale(self):
        (score,), positive = cohort(5, k=1)
        ranking = delong(score, positive)
        a, s = ranking.auroc[0], np.sqrt(ranking.covariance[0, 0])
        found = auroc_estimate("x", score, positive)
        middle, reach = np.log(a / (1 - a)), 1.959964 * s / (a * (1 - a))
        expected = 1 / (1 + np.exp([reach - middle, -reach - middle]))
        np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-6)

    def test_classes_that_are_apart_still_have_an_interval(self):
        positive = np.arange(30) < 12
        found = auroc_estimate("x", positive.astype(float), positive)
        assert (found.value, found.high, found.n) == (1, 1, 30)
        assert 0.7 < found.low < 1
        assert found.method.startswith("Newcombe")
        wider = auroc_estimate("x", positive[::2].astype(float), positive[::2])
        assert wider.low < found.low
        turned = auroc_estimate("x", -positive.astype(float), positive)
        assert (turned.value, turned.low) == (0, 0)
        assert turned.high == pytest.approx(1 - found.low)

    def test_a_constant_score_is_chance(self):
        positive = np.arange(30) < 12
        found = auroc_estimate("x", np.ones(30), positive)
        assert found.value == 0.5
        assert found.low < 0.5 < found.high
        assert found.low == pytest.approx(1 - found.high)

    def test_newcombe_is_the_root_of_his_equation(self):
        low, high = newcombe_interval(0.8, 14, 20)
        for theta in (low, high):
            ratio = 16 * ((1 - theta) / (2 - theta) + theta / (1 + theta))
            variance = theta * (1 - theta) * (1 + ratio) / (14 * 20)
            assert abs(0.8 - theta) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)
        assert low < 0.8 < high

    def test_intervals_hold_what_they_promise(self):
        """AUROC of two normals 1 apart is Φ(1/√2); about 95 of 100 intervals hold it."""
        truth = stats.norm.cdf(1 / np.sqrt(2))
        rng = np.random.default_rng(0)
        positive = np.arange(60) < 25
        held = 0
        for _ in range(300):
            found = auroc_estimate("x", rng.normal(size=60) + positive, positive)
            held += found.low <= truth <= found.high
        assert 0.91 <= held / 300 <= 0.985

    @pytest.mark.parametrize(("m", "n"), [(0, 10), (10, 0), (4, 30)])
    def test_too_few_of_a_class_get_a_reason(self, m, n):
        positive = np.arange(m + n) < m
        found = auroc_estimate("x", np.arange(m + n, dtype=float), positive)
        assert np.isnan([found.low, found.high]).all()
        assert "of each are needed" in found.method
        assert np.isnan(found.value) == (min(m, n) == 0)

    def test_nan_is_left_out(self):
        (score,), positive = cohort(1, k=1)
        longer = np.append(score, [np.nan, np.nan])
        found = auroc_estimate("x", longer, np.append(positive, [True, False]))
        assert found == auroc_estimate("x", score, positive)


class TestPaired:
    def test_equal_measures_differ_by_nothing(self):
        (score,), positive = cohort(2, k=1)
        assert paired_p_value([score, score], positive) == 1
        assert paired_p_value([score, 3 * score - 1], positive) == 1

    def test_it_is_the_z_test_of_the_definition(self):
        scores, positive = cohort(3, k=2)
        kernels = np.stack([pairs(score, positive) for score in scores])
        change = kernels[0] - kernels[1]
        m, n = change.shape
        variance = change.mean(axis=1).var(ddof=1) / m + change.mean(axis=0).var(ddof=1) / n
        expected = 2 * stats.norm.sf(abs(change.mean()) / np.sqrt(variance))
        assert paired_p_value(scores, positive) == pytest.approx(expected, rel=1e-9)

    def test_a_real_difference_is_seen(self):
        rng = np.random.default_rng(0)
        positive = np.arange(60) < 30
        scores = np.stack([rng.normal(size=60) + 3 * positive, rng.normal(size=60)])
        assert paired_p_value(scores, positive) < 1e-4

    def test_without_variance_there_is_no_test(self):
        positive = np.arange(30) < 12
        assert np.isnan(paired_p_value([positive.astype(float), np.ones(30)], positive))

    def test_too_few_have_no_test(self):
        positive = np.arange(30) < 4
        assert np.isnan(paired_p_value(np.random.default_rng(0).normal(size=(2, 30)), positive))


class TestAveragePrecision:
    @pytest.mark.parametrize("seed", range(4))
    def test_it_is_that_of_sklearn_ties_included(self, seed):
        (score,), positive = cohort(seed, k=1)
        found = average_precision(score[positive], score[~positive])
        assert found == pytest.approx(average_precision_score(positive, score), abs=1e-12)

    def test_resamples_at_once_are_resamples_one_by_one(self):
        rng = np.random.default_rng(0)
        cases, controls = rng.integers(0, 9, (50, 7)) + 1.0, rng.integers(0, 9, (50, 11)) + 0.0
        one = [float(average_precision(a, b)) for a, b in zip(cases, controls, strict=True)]
        np.testing.assert_allclose(average_precision(cases, controls), one)

    def test_the_interval_holds_the_value_and_repeats(self):
        (score,), positive = cohort(0, k=1)
        found = average_precision_estimate("x", score, positive, 0)
        assert found.low < found.value < found.high
        assert found == average_precision_estimate("x", score, positive, 0)

    def test_one_class_has_none(self):
        found = average_precision_estimate("x", np.arange(9.0), np.ones(9, bool), 0)
        assert np.isnan(found.value)
        assert found.method == "only one class"
