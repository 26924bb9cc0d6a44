"""shift_v1: labels, seeds, and images equal to a naive reading of the published definition."""

import hashlib
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.shift import PARAMETERS, Shift, apply, seed, shift_suite
from lamstore.errors import ConfigError, GridError, VoxelError

SPACING = (0.71875, 0.71875, 3.0)
ALL = [Shift(name, level, mode) for name in PARAMETERS for level in (1, 2) for mode in
       ("t1_only", "both")]  # fmt: skip
AT = {"subject": "patient01", "timepoint": "t1", "modality": "FLAIR"}


def scan(shape=(23, 18, 9), number=0):
    rng = np.random.default_rng(number)
    image = rng.gamma(3, 60, shape).astype(np.float32)
    return image, rng.random(shape) < 0.6


def clip(image, brain):
    return np.clip(image, np.percentile(image[brain], 1.0), np.percentile(image[brain], 99.0))


def naive_gamma(image, brain, gamma, brightness):
    low, high = np.percentile(image[brain], 1.0), np.percentile(image[brain], 99.0)
    unit = np.clip((image - low) / (high - low), 0, 1).astype(np.float64)
    unit = np.clip(unit**gamma + brightness, 0, 1)
    return unit * (high - low) + low


def naive_noise(image, brain, sigma, number):
    low, high = (float(np.percentile(image[brain], q)) for q in (1.0, 99.0))
    noise = np.random.default_rng(number).normal(0.0, sigma * (high - low), image.shape)
    return np.clip(image + noise.astype(np.float32), np.float32(low), np.float32(high))


def naive_blur(image, brain, sigma_mm):
    out = image.astype(np.float64)
    for axis, step in enumerate(SPACING):
        radius = ceil(3 * sigma_mm / step)
        at = np.arange(-radius, radius + 1)
        weights = np.exp(-(at**2) / (2 * (sigma_mm / step) ** 2))
        margin = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
        padded = np.pad(out, margin, mode="reflect")
        moved = [np.take(padded, np.arange(k, k + image.shape[axis]), axis) for k in range(at.size)]
        out = sum(w * m for w, m in zip(weights / weights.sum(), moved, strict=True))
    return clip(out, brain)


def naive_resolution(image, brain, factor):
    out = image.astype(np.float64)
    sizes = [max(2, round(n / factor)) for n in image.shape[:2]]
    for axis, size in [(0, sizes[0]), (1, sizes[1]), (0, image.shape[0]), (1, image.shape[1])]:
        at = np.linspace(0, out.shape[axis] - 1, size)
        known = np.arange(out.shape[axis])
        out = np.apply_along_axis(lambda line, at=at, known=known: np.interp(at, known, line),
                                  axis, out)  # fmt: skip
    return clip(out, brain)


def naive(shift, image, brain):
    one, *rest = shift.params.values()
    if shift.name == "gamma":
        return naive_gamma(image, brain, one, *rest)
    if shift.name == "noise":
        return naive_noise(image, brain, one, seed("patient01", shift, "t1", "FLAIR"))
    return {"blur": naive_blur, "resolution": naive_resolution}[shift.name](image, brain, one)


@pytest.mark.parametrize("shift", ALL, ids=lambda shift: shift.label)
@pytest.mark.parametrize("shape", [(23, 18, 9), (12, 31, 1), (3, 3, 3)])
def test_equals_the_naive_reading(shift, shape):
    image, brain = scan(shape)
    kept = image.copy()
    ours = apply(shift, image, brain, SPACING, **AT)
    theirs = naive(shift, image, brain)
    assert ours.dtype == np.float32
    span = float(np.ptp(image[brain]))
    if shift.name == "noise":
        assert np.array_equal(ours, theirs)
    else:
        assert np.allclose(ours, theirs, rtol=0, atol=1e-4 * span)
    assert np.array_equal(image, kept)
    assert not np.array_equal(ours, image)


@pytest.mark.parametrize("shift", ALL, ids=lambda shift: shift.label)
def test_replays_bit_for_bit_and_stays_in_range(shift):
    image, brain = scan()
    first = apply(shift, image, brain, SPACING, **AT)
    again = apply(Shift.parse(shift.label), np.asfortranarray(image), brain, SPACING, **AT)
    assert first.tobytes() == np.ascontiguousarray(again).tobytes()
    assert np.unique(first).size > 10
    assert first.min() >= image.min()
    assert first.max() <= image.max()


def test_gamma_levels_are_opposite_directions():
    image, brain = scan()
    brighter, darker = (
        float(apply(Shift("gamma", level), image, brain, SPACING, **AT)[brain].mean())
        for level in (1, 2)
    )
    assert darker < float(clip(image, brain)[brain].mean()) < brighter


def test_blur_and_resolution_leave_a_ramp_alone_inside():
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None, None], (40, 12, 6)).copy()
    brain = np.ones(ramp.shape, bool)
    for shift in (Shift("blur", 2), Shift("resolution", 2)):
        out = apply(shift, ramp, brain, SPACING, **AT)
        assert np.allclose(out[6:-6], ramp[6:-6], atol=1e-3)


def test_the_identity_and_timepoints_that_are_not_shifted():
    image, brain = scan()
    before = {**AT, "timepoint": "t0"}
    assert apply(Shift(), image, brain, SPACING, **AT) is image
    assert apply(Shift("noise", 1), image, brain, SPACING, **before) is image
    assert apply(Shift("noise", 1, "both"), image, brain, SPACING, **before) is not image
    assert [Shift("blur", 1).applies_to(t) for t in ("t0", "t1", "t2")] == [False, True, True]
    assert all(Shift("blur", 1, "both").applies_to(t) for t in ("t0", "t1"))
    assert not Shift().applies_to("t1")


def test_seed_is_the_first_four_bytes_of_the_labels_digest():
    text = b"patient01|t1_only|noise|2|t1|flair"
    expected = int.from_bytes(hashlib.sha256(text).digest()[:4], "little")
    assert seed("patient01", Shift("noise", 2), "t1", "FLAIR") == expected
    assert expected == 1106755520
    others = {
        seed("patient02", Shift("noise", 2), "t1", "flair"),
        seed("patient01", Shift("noise", 1), "t1", "flair"),
        seed("patient01", Shift("noise", 2, "both"), "t1", "flair"),
        seed("patient01", Shift("noise", 2), "t2", "flair"),
        seed("patient01", Shift("noise", 2), "t1", "t1w"),
        expected,
    }
    assert len(others) == 6


@given(st.sampled_from([Shift(), *ALL]))
def test_labels_round_trip(shift):
    assert Shift.parse(shift.label) == shift


def test_labels():
    assert Shift().label == "none"
    assert Shift("gamma", 1).label == "gamma-1"
    assert Shift("gamma", 1, "both").label == "gamma-1-both"
    assert Shift("resolution", 2).record() == {
        "suite": "shift_v1",
        "name": "resolution",
        "level": 2,
        "mode": "t1_only",
        "params": {"factor_xy": 2.0},
        "clip_percentiles": [1.0, 99.0],
    }


@pytest.mark.parametrize(
    "label", ["", "gamma", "gamma-0", "gamma-3", "gamma-1-t1", "gamma-01", "none-0", "blur-1-both-"]
)
def test_unknown_labels_are_refused(label):
    with pytest.raises(ConfigError, match="unknown shift"):
        Shift.parse(label)


def test_suite_has_the_identity_first_and_once():
    suite = shift_suite(["none", "gamma", "noise"], [0, 1, 2], ["t1_only", "both"])
    labels = [shift.label for shift in suite]
    assert labels[:5] == ["none", "gamma-1", "gamma-2", "noise-1", "noise-2"]
    assert len(labels) == len(set(labels)) == 9
    assert len(shift_suite()) == 9


def test_bad_input_is_refused():
    image, brain = scan()
    with pytest.raises(GridError):
        apply(Shift("blur", 1), image, brain[:-1], SPACING, **AT)
    with pytest.raises(VoxelError, match="empty"):
        apply(Shift("noise", 1), image, np.zeros_like(brain), SPACING, **AT)
    with pytest.raises(VoxelError, match="constant"):
        apply(Shift("gamma", 1), np.ones_like(image), brain, SPACING, **AT)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([Shift("blur", 2), Shift("resolution", 1)]))
def test_mirrored_scans_have_mirrored_shifts(number, shift):
    image, brain = scan(number=number)
    ours = apply(shift, image, brain, SPACING, **AT)
    turned = apply(shift, image[::-1, ::-1, ::-1], brain[::-1, ::-1, ::-1], SPACING, **AT)
    assert np.allclose(turned[::-1, ::-1, ::-1], ours, atol=1e-4 * float(np.ptp(image)))


@pytest.mark.real_data
@pytest.mark.slow
def test_a_real_scan_equals_the_naive_reading(longitudinal_patient):
    image, brain = longitudinal_patient["flair1"], longitudinal_patient["brain"]
    for shift in (Shift("noise", 1), Shift("blur", 2)):
        ours = apply(shift, image, brain, SPACING, **AT)
        assert np.allclose(ours, naive(shift, image, brain), rtol=0, atol=0.03)


def test_the_only_image_of_a_cross_sectional_subject_is_shifted_in_any_mode():
    shift = Shift("gamma", 1)
    assert not shift.applies_to("t0")
    assert shift.applies_to("t0", cross_sectional=True)
    assert not Shift().applies_to("t0", cross_sectional=True)
