"""Voxel overlap: known values, empty masks, nDSC as published."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs.metrics import overlap as o
from lamstore.errors import GridError

PAIRS = arrays(bool, (2, 4, 5, 3))


def ndsc_published(truth, mask, r=0.001):
    """nDSC from its formula on flat arrays, as the challenge's code states it."""
    if not truth.any() and not mask.any():
        return 1.0
    positives, negatives = truth.sum(), (~truth).sum()
    k = (1 - r) * positives / (r * negatives) if positives and negatives else 1.0
    tp, fp, fn = (truth & mask).sum(), (mask & ~truth).sum(), (truth & ~mask).sum()
    return 2 * tp / (2 * tp + k * fp + fn)


def two_cubes():
    truth, mask = np.zeros((2, 10, 10, 10), bool)
    truth[2:6, 2:6, 2:6] = True
    mask[4:8, 2:6, 2:6] = True
    return mask, truth


def test_two_cubes_that_share_half():
    counts = o.confusion(*two_cubes())
    assert counts == o.Confusion(tp=32, fp=32, fn=32, tn=904)
    assert o.dice(counts) == 0.5
    assert o.iou(counts) == pytest.approx(1 / 3)
    assert o.sensitivity(counts) == o.precision(counts) == 0.5
    assert o.volume_error_mm3(counts, 2.0) == 0
    assert o.volume_error_mm3(o.Confusion(1, 5, 2, 0), 2.0) == 6.0


def test_empty_masks():
    both, no_truth, no_mask = (o.Confusion(0, fp, fn, 9) for fp, fn in ((0, 0), (3, 0), (0, 3)))
    for measure in (o.dice, o.iou, o.ndsc):
        assert [measure(counts) for counts in (both, no_truth, no_mask)] == [1, 0, 0]
    assert isnan(o.sensitivity(both))
    assert isnan(o.sensitivity(no_truth))
    assert o.sensitivity(no_mask) == 0
    assert isnan(o.precision(both))
    assert isnan(o.precision(no_mask))
    assert o.precision(no_truth) == 0


@given(PAIRS)
def test_measures_equal_their_formulas(pair):
    mask, truth = pair
    counts = o.confusion(mask, truth)
    assert counts.tp + counts.fp + counts.fn + counts.tn == mask.size
    assert o.ndsc(counts) == pytest.approx(ndsc_published(truth, mask))
    if mask.any() or truth.any():
        assert o.dice(counts) == pytest.approx(2 * o.iou(counts) / (1 + o.iou(counts)))


def test_ndsc_is_dice_at_the_reference_load():
    # With P / N = r / (1 - r) the weight of a false positive is 1.
    counts = o.Confusion(tp=6, fp=5, fn=4, tn=9985)
    assert o.ndsc(counts) == pytest.approx(o.dice(counts))


@given(PAIRS, arrays(bool, (4, 5, 3)), st.integers(0, 2))
def test_a_domain_counts_its_voxels_only(pair, domain, axis):
    mask, truth = pair
    inside = o.confusion(mask, truth, domain)
    assert inside.tp + inside.fp + inside.fn + inside.tn == domain.sum()
    assert o.confusion(np.flip(mask, axis), np.flip(truth, axis), np.flip(domain, axis)) == inside


def test_shapes_must_agree():
    with pytest.raises(GridError, match=r"truth \(2, 2, 3\)"):
        o.confusion(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))
