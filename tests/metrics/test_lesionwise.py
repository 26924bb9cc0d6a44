"""Lesion-wise detection: rules on drawn lesions, the challenge's F1, retention curves."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.metrics import lesionwise as lw
from jobs.metrics.overlap import confusion, ndsc
from jobs.metrics.retention import retention_auc, retention_curve
from lamstore.errors import ConfigError

ANY = lw.DetectionRule(overlap="any", connectivity=26)


def draw(*spans, length=60):
    """A (1, 1, length) mask of runs along z."""
    mask = np.zeros((1, 1, length), bool)
    for start, stop in spans:
        mask[0, 0, start:stop] = True
    return mask


def test_iou_rule_counts_found_missed_and_made_up():
    truth = draw((0, 10), (20, 30), (40, 50))
    mask = draw((0, 8), (28, 38), (55, 58))
    detection = lw.detect(mask, truth, 1.0)
    assert detection.truth_found.tolist() == [True, False, False]
    assert detection.predicted_true.tolist() == [True, False, False]
    assert detection.recall == detection.precision == detection.f1 == pytest.approx(1 / 3)


def test_iou_of_exactly_the_threshold_is_found():
    assert lw.detect(draw((0, 5)), draw((0, 10)), 1.0).f1 == 1.0


def test_any_rule_is_content_with_one_voxel():
    detection = lw.detect(draw((9, 21)), draw((0, 10), (20, 30), (40, 50)), 1.0, ANY)
    assert detection.recall == pytest.approx(2 / 3)
    assert detection.precision == 1.0
    assert detection.f1 == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (draw((0, 1)), False),  # covers 10 %: not more than alpha
        (draw((0, 2)), True),  # covers 20 %
        (draw((8, 15)), False),  # 5 of 7 voxels outside: more than beta
        (draw((8, 14)), True),  # 4 of 6 outside: 67 %
        (draw((0, 6), (8, 16)), True),  # the first explains 75 % of the overlap: gamma is reached
        (draw((0, 3), (8, 16)), False),  # the first explains 60 %: the second is tested, 75 % out
    ],
)
def test_msseg_rule(mask, found):
    rule = lw.DetectionRule(overlap="msseg")
    assert lw.detect(mask, draw((0, 10)), 1.0, rule).truth_found.tolist() == [found]


def test_msseg_leaves_out_lesions_of_three_cubic_millimetres_or_less():
    truth = draw((0, 3), (10, 14))
    detection = lw.detect(truth, truth, 1.0, lw.MSSEG_2)
    assert detection.truth_found.size == 1
    assert detection.f1 == 1.0


def test_empty_masks():
    lesion, none = draw((0, 4)), draw()
    for rule in (lw.SHIFTS_2022, lw.ISBI_2015, lw.MSSEG_2):
        both, made_up, missed = (
            lw.detect(mask, truth, 1.0, rule)
            for mask, truth in ((none, none), (lesion, none), (none, lesion))
        )
        assert (both.f1, made_up.f1, missed.f1) == (1, 0, 0)
        assert isnan(both.recall)
        assert isnan(made_up.recall)
        assert isnan(missed.precision)
        assert (made_up.precision, missed.recall) == (0, 0)
    with pytest.raises(ConfigError):
        lw.DetectionRule(overlap="touching")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.25, 0.5]))
def test_f1_is_the_shifts_challenges(reference, blobs, seed, threshold):
    truth = blobs(seed)
    mask = truth ^ blobs(seed + 1, share=0.02)
    rule = lw.DetectionRule(iou_threshold=threshold)
    ours = lw.detect(mask, truth, 1.0, rule).f1
    assert ours == pytest.approx(reference.lesion_f1_shifts(truth, mask, threshold))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["iou", "any", "msseg"]))
def test_numbering_and_field_of_view_do_not_matter(blobs, seed, overlap):
    truth = blobs(seed)
    mask = truth ^ blobs(seed + 1, share=0.02)
    rule = lw.DetectionRule(overlap=overlap, connectivity=26)

    def values(one, other):
        found = lw.detect(one, other, 1.0, rule)
        return [found.f1, found.recall, found.precision, found.truth_found.size]

    # A flip numbers the lesions in another order.
    turned = [np.pad(np.flip(side, (0, 2)), 3) for side in (mask, truth)]
    assert values(*turned) == pytest.approx(values(mask, truth))


def test_table_lists_both_sides():
    detection = lw.detect(draw((0, 8), (55, 58)), draw((0, 10)), 2.0)
    rows = lw.detection_table(detection, 2.0)
    assert [(row["side"], row["voxels"], row["found"]) for row in rows] == [
        ("truth", 10, True),
        ("predicted", 8, True),
        ("predicted", 3, False),
    ]
    assert rows[0]["volume_mm3"] == 20.0
    assert [row["best_iou"] for row in rows] == pytest.approx([0.8, 0.8, 0])
    assert [row["covered_frac"] for row in rows] == pytest.approx([0.8, 1, 0])


def test_isbi_parts_and_score():
    parts = lw.isbi_parts(draw((9, 21), (55, 57)), draw((0, 10), (20, 30), (40, 50)), 1.0)
    assert parts == pytest.approx(
        {"dsc": 4 / 44, "ppv": 2 / 14, "tpr": 2 / 30, "lfpr": 0.5, "ltpr": 2 / 3, "vd": 16 / 30}
    )
    expected = (4 / 44 + 2 / 14) / 8 + (0.5 + 2 / 3 + 0.9) / 4
    assert lw.isbi_score(parts, correlation=0.9) == pytest.approx(expected)


def test_volume_correlation():
    volumes = np.array([1.0, 2.0, 4.0])
    assert lw.volume_correlation(volumes, 3 * volumes + 1) == pytest.approx(1)
    assert lw.volume_correlation(volumes, -volumes) == pytest.approx(-1)
    assert isnan(lw.volume_correlation(volumes, np.ones(3)))
    assert isnan(lw.volume_correlation(volumes[:1], volumes[:1]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_retention_curve_is_its_definition(blobs, seed):
    truth, mask = blobs(seed), blobs(seed + 1)
    uncertainty = np.random.default_rng(seed).random(mask.shape).astype(np.float32)
    fractions, scores = retention_curve(mask, truth, uncertainty)
    order = np.argsort(uncertainty.ravel())
    for step in (0, 3, 40, 120, 198, 199):
        kept = int(mask.size * fractions[step])
        mixed = truth.ravel().copy()
        mixed[order[:kept]] = mask.ravel()[order[:kept]]
        expected = ndsc(confusion(mixed.reshape(mask.shape), truth))
        assert scores[step] == pytest.approx(expected)
    assert (fractions[0], fractions[-1], scores[0]) == (0, 1, 1)


def test_knowing_the_errors_retains_more_than_not_knowing(blobs):
    truth, mask = blobs(1), blobs(2)
    brain = np.ones_like(mask)
    brain[:2] = False
    wrong = (mask ^ truth).astype(np.float32)
    best, worst = (
        retention_auc(*retention_curve(mask, truth, unc, brain)) for unc in (wrong, 1 - wrong)
    )
    perfect = retention_auc(*retention_curve(truth, truth, wrong, brain))
    assert perfect == pytest.approx(0)
    assert 0 < best < worst < 1


@pytest.mark.real_data
def test_real_lesions_against_each_other(reference, gold_standards):
    (mask, _), (truth, _) = gold_standards[0], gold_standards[1]
    detection = lw.detect(mask, truth, 1.0, lw.DetectionRule(overlap="any", connectivity=26))
    labels, count = reference.label(truth, 26)
    touched = np.setdiff1d(np.unique(labels[mask]), [0])
    assert detection.truth_found.size == count
    assert detection.recall == pytest.approx(len(touched) / count)
