"""Intensity maps: known answers, and what no harmonization may ever do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs import harmonize as h
from lamstore.errors import GridError, VoxelError

BRAIN = np.zeros((16, 12, 10), bool)
BRAIN[2:14, 2:10, 2:8] = True

knots = arrays(np.float64, 11, elements=st.integers(0, 40).map(float)).map(np.sort)


def scan(seed=0):
    random = np.random.default_rng(seed)
    return random.gamma(4, 50, BRAIN.shape).astype(np.float32)


def mapped(method, image, reference):
    """The image under a method that aims at the reference image."""
    if method == "median":
        own, other = (h.brain_percentiles(i, BRAIN, [50])[0] for i in (image, reference))
        return h.median_map(own, other)
    if method == "histogram":
        own, other = (h.brain_percentiles(i, BRAIN, h.QUANTILES) for i in (image, reference))
        return h.histogram_map(own, other)
    own, other = (h.brain_percentiles(i, BRAIN, h.LANDMARKS) for i in (image, reference))
    return h.nyul_map(own, h.train_scale(other[None]))


def test_percentiles_are_those_of_numpy():
    image = scan()
    ours = h.brain_percentiles(image, BRAIN, h.QUANTILES)
    theirs = np.percentile(image[BRAIN].astype(np.float64), h.QUANTILES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("fit", [h.histogram_map, h.nyul_map])
@given(source=knots.filter(lambda k: k[-1] > k[0]), target=knots)
def test_no_map_ever_swaps_two_intensities(fit, source, target):
    probe = np.linspace(-60, 100, 641)
    assert (np.diff(fit(source, target)(probe)) >= -1e-4).all()


def test_median_scaling_takes_the_median_to_the_baselines():
    image, reference = scan(1) * 7, scan(2)
    out = h.remap(image, BRAIN, mapped("median", image, reference))
    assert np.median(out[BRAIN]) == pytest.approx(np.median(reference[BRAIN]), rel=1e-5)
    np.testing.assert_allclose(out, image * (out.max() / image.max()), rtol=1e-5)


def test_matching_undoes_any_monotone_change_of_contrast():
    baseline = scan()
    scanner = (baseline / baseline.max()) ** np.float32(0.8) * 900 + 40
    out = h.remap(scanner, BRAIN, mapped("histogram", scanner, baseline))
    wrong = np.abs(out - baseline)[BRAIN] / np.ptp(baseline[BRAIN])
    assert wrong.max() < 0.01
    assert np.abs(scanner - baseline)[BRAIN].max() / np.ptp(baseline[BRAIN]) > 0.5


def test_matching_an_image_to_itself_changes_nothing():
    image = scan()
    out = h.remap(image, BRAIN, mapped("histogram", image, image))
    np.testing.assert_allclose(out[BRAIN], image[BRAIN], rtol=1e-5)


def test_clipped_voxels_go_to_the_mean_of_what_they_were():
    baseline = scan()
    values = baseline[BRAIN]
    high = np.percentile(values, 90)
    clipped = np.minimum(baseline, np.float32(high))
    out = h.remap(clipped, BRAIN, mapped("histogram", clipped, baseline))
    plateau = BRAIN & (clipped == np.float32(high))
    assert np.unique(out[plateau]).size == 1
    assert out[plateau][0] == pytest.approx(baseline[plateau].mean(), rel=0.01)


def test_scans_that_differ_by_gain_and_offset_have_the_same_standard_form():
    image = scan()
    other = image * 3 + 100
    scale = h.train_scale(h.brain_percentiles(scan(5), BRAIN, h.LANDMARKS)[None])
    forms = [
        h.remap(i, BRAIN, h.nyul_map(h.brain_percentiles(i, BRAIN, h.LANDMARKS), scale))
        for i in (image, other)
    ]
    np.testing.assert_allclose(forms[0], forms[1], atol=1e-3)
    landmarks = h.brain_percentiles(forms[0], BRAIN, h.LANDMARKS)
    np.testing.assert_allclose(landmarks, scale, atol=0.5)
    assert (scale[0], scale[-1]) == (0, 100)


def test_a_scale_is_the_mean_of_scans_whatever_their_units():
    one, two = (h.brain_percentiles(scan(i), BRAIN, h.LANDMARKS) for i in (1, 2))
    alone = [h.train_scale(landmarks[None]) for landmarks in (one, two)]
    both = h.train_scale(np.stack([one, two * 1000 - 5]))
    np.testing.assert_allclose(both, np.mean(alone, axis=0))
    assert (np.diff(both) >= 0).all()


def test_zero_background_stays_zero_and_zero_in_the_brain_does_not():
    image = scan() + 10
    image[0] = 0
    image[5, 5, 5] = 0
    scale = h.train_scale(h.brain_percentiles(scan(3), BRAIN, h.LANDMARKS)[None])
    out = h.remap(image, BRAIN, h.nyul_map(h.brain_percentiles(image, BRAIN, h.LANDMARKS), scale))
    assert (out[0] == 0).all()
    assert out[5, 5, 5] < 0


def test_what_cannot_be_harmonized_is_refused():
    image = scan()
    with pytest.raises(VoxelError, match="empty"):
        h.brain_percentiles(image, np.zeros_like(BRAIN), [50])
    with pytest.raises(VoxelError, match="constant"):
        h.brain_percentiles(np.ones_like(image), BRAIN, [50])
    with pytest.raises(VoxelError, match="NaN"):
        h.brain_percentiles(np.where(image > 200, np.nan, image), BRAIN, [50])
    with pytest.raises(GridError):
        h.brain_percentiles(image, BRAIN[1:], [50])
    with pytest.raises(VoxelError, match="positive"):
        h.median_map(-3, 100)
    with pytest.raises(VoxelError, match="0 scans"):
        h.train_scale(np.empty((0, 11)))
