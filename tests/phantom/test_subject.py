"""Are a phantom's truths consistent, its tissues in the right order, and its bytes repeatable?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from jobs.phantom import LesionPlan, PhantomSpec, default_cohort, generate_subject
from jobs.phantom.anatomy import build_anatomy
from jobs.phantom.subject import _fine_spacing, _head_frame, _thick, grid_of
from lamstore.errors import ConfigError

SMALL = replace(default_cohort(1)[0], shape=(48, 56, 24), spacing_mm=(3.5, 3.6, 6.1))
REAL = Path(__file__).resolve().parents[2] / "../shared/data/open_ms_data/cross_sectional/MNI"
UNCHANGED, DRIFTED = 3, 4


def same(a, b) -> bool:
    images = all(np.array_equal(a.images[k], b.images[k]) for k in a.images)
    truths = all(np.array_equal(a.lesion_truth[t], b.lesion_truth[t]) for t in a.lesion_truth)
    return images and truths and np.array_equal(a.brainmask, b.brainmask)


def robust_z(image, mask, brain):
    values = image[brain].astype(float)
    median = np.median(values)
    mad = 1.4826 * np.median(np.abs(values - median))
    return (image[mask].astype(float) - median) / mad


def volume_ml(mask, grid) -> float:
    return float(mask.sum() * grid.voxel_volume_mm3 / 1000)


def test_same_spec_gives_same_bytes():
    assert same(generate_subject(SMALL), generate_subject(SMALL))


def test_another_seed_gives_another_head():
    other = generate_subject(replace(SMALL, seed=SMALL.seed + 1))
    first = generate_subject(SMALL)
    assert not np.array_equal(first.brainmask, other.brainmask)
    assert not np.array_equal(first.lesion_truth["t0"], other.lesion_truth["t0"])


def test_arrays_lie_on_the_grid(cohort):
    for s in cohort:
        assert s.grid.shape == s.spec.shape
        assert np.allclose(s.grid.spacing_mm, s.spec.spacing_mm)
        assert set(s.images) == {(t, m) for t in ("t0", "t1") for m in ("flair", "t1w")}
        for image in s.images.values():
            assert image.shape == s.grid.shape
            assert image.dtype == np.uint16


def test_subjects_differ_in_shape_and_spacing(cohort):
    assert len({s.grid.shape for s in cohort}) == len(cohort)
    assert len({s.spec.spacing_mm for s in cohort}) >= 4
    assert {"".join(nib.aff2axcodes(s.grid.matrix)) for s in cohort} == {"LPS", "RAS"}


def test_change_is_what_differs_between_the_lesion_truths(cohort):
    for s in cohort:
        assert np.array_equal(s.change_truth, s.lesion_truth["t0"] != s.lesion_truth["t1"])


def test_lesions_lie_inside_the_brain(cohort):
    for s in cohort:
        for mask in s.lesion_truth.values():
            assert mask.any()
            assert not (mask & ~s.brainmask).any()


def test_only_the_unchanged_subject_has_no_change(cohort):
    changed = [bool(s.change_truth.any()) for s in cohort]
    assert changed == [i != UNCHANGED for i in range(len(cohort))]
    # The scan itself is repeated: only the noise and the gain differ.
    images = cohort[UNCHANGED].images
    assert not np.array_equal(images["t0", "flair"], images["t1", "flair"])


def test_head_fits_the_field_of_view_and_has_a_human_size(cohort):
    for s in cohort:
        assert 1000 < volume_ml(s.brainmask, s.grid) < 1700
        faces = [s.brainmask.take(i, axis) for axis in range(3) for i in (0, -1)]
        # Only the bottom slice cuts the brain, through the medulla.
        assert not any(f.any() for f in (*faces[:4], faces[5]))


@pytest.mark.parametrize(
    ("plan", "at_t0", "at_t1"),
    [
        (LesionPlan(new=4), False, True),
        (LesionPlan(vanished=4), True, False),
        (LesionPlan(), False, False),
    ],
)
def test_presence_follows_the_plan(plan, at_t0, at_t1):
    s = generate_subject(replace(SMALL, lesions=replace(plan, radius_mm=(7.0, 9.0))))
    assert bool(s.lesion_truth["t0"].any()) is at_t0
    assert bool(s.lesion_truth["t1"].any()) is at_t1


@pytest.mark.parametrize("course", ["grown", "shrunk"])
def test_a_lesion_grows_and_shrinks_around_its_place(course):
    plan = LesionPlan(**{course: 3}, radius_mm=(6.0, 8.0))
    s = generate_subject(replace(SMALL, lesions=plan))
    small, large = s.lesion_truth["t0"], s.lesion_truth["t1"]
    if course == "shrunk":
        small, large = large, small
    assert small.any()
    assert not (small & ~large).any()
    assert large.sum() > 1.2 * small.sum()


def test_another_scanner_changes_intensities_and_no_anatomy():
    drifted = replace(SMALL, scanners=default_cohort()[DRIFTED].scanners)
    a, b = generate_subject(SMALL), generate_subject(drifted)
    assert np.array_equal(a.brainmask, b.brainmask)
    assert np.array_equal(a.change_truth, b.change_truth)
    assert np.array_equal(a.images["t0", "flair"], b.images["t0", "flair"])
    inside = a.brainmask
    seen, moved = (s.images["t1", "flair"][inside].astype(float) for s in (a, b))
    assert np.median(moved) > 1.3 * np.median(seen)
    assert np.corrcoef(seen, moved)[0, 1] > 0.8


def test_cohort_drifts_in_one_subject_only(cohort):
    ratio = [
        np.median(s.images["t1", "flair"][s.brainmask])
        / np.median(s.images["t0", "flair"][s.brainmask])
        for s in cohort
    ]
    assert [r > 1.3 for r in ratio] == [i == DRIFTED for i in range(len(cohort))]


def test_tissues_have_the_order_of_their_contrast(cohort):
    """FLAIR: CSF < WM < GM < lesion. T1W: CSF < GM < WM, lesion below WM."""
    s = cohort[0]
    brain = build_anatomy(s.spec, _head_frame(s.spec, s.grid), _fine_spacing(s.spec)).brain
    depth, ventricle, cerebrum = (_thick(f) for f in (brain.pial, brain.ventricle, brain.cerebrum))
    lesion = s.lesion_truth["t0"]
    parts = {
        "csf": ventricle < -1.5,
        "white": (depth > 7) & (ventricle > 9) & (cerebrum < -10) & ~lesion,
        "grey": (depth > 0.8) & (depth < 2.2) & (cerebrum < 0) & ~lesion,
        "lesion": lesion,
    }
    flair, t1w = (
        {k: np.median(s.images["t0", m][mask]) for k, mask in parts.items()}
        for m in ("flair", "t1w")
    )
    assert flair["csf"] < 0.5 * flair["white"]
    assert flair["white"] < flair["grey"] < flair["lesion"]
    assert t1w["csf"] < t1w["grey"] < t1w["white"]
    assert t1w["lesion"] < 0.95 * t1w["white"]


def test_lesion_load_spans_tiny_to_heavy(cohort):
    loads = [volume_ml(s.lesion_truth["t0"], s.grid) for s in cohort]
    assert 0.1 < min(loads) < 1.0
    assert 8.0 < max(loads) < 30.0


@pytest.mark.real_data
def test_lesion_contrast_is_that_of_real_lesions(cohort):
    """Median robust z of lesions on FLAIR within the spread of two real patients, ± 0.8."""
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}")
    medians = []
    for patient in ("patient07", "patient19"):
        flair = np.asarray(nib.load(next((REAL / patient).glob("FLAIR*"))).dataobj, np.float32)
        truth = np.asarray(nib.load(next((REAL / patient).glob("GOLD*"))).dataobj) > 0
        medians.append(np.median(robust_z(flair, truth, flair > 0)))
    ours = [
        np.median(robust_z(s.images["t0", "flair"], s.lesion_truth["t0"], s.brainmask))
        for s in cohort
    ]
    assert min(medians) - 0.8 < min(ours) <= max(ours) < max(medians) + 0.8


def test_a_threshold_alone_does_not_find_the_lesions(cohort):
    """Bright rims, cortex and noise overlap the lesions, so no FLAIR threshold is perfect."""
    for s in cohort:
        image, truth = s.images["t0", "flair"], s.lesion_truth["t0"]
        z = np.where(
            s.brainmask, robust_z(image, np.ones_like(truth), s.brainmask).reshape(image.shape), -9
        )
        dice = [
            2 * ((z > c) & truth).sum() / ((z > c).sum() + truth.sum())
            for c in np.arange(1.0, 4.0, 0.25)
        ]
        assert max(dice) < 0.85


def test_large_cohort_repeats_the_courses_in_other_heads():
    specs = default_cohort(n=9, seed=1)
    assert [s.subject for s in specs] == [f"patient{i:02d}" for i in range(1, 10)]
    assert len({s.seed for s in specs}) == 9
    assert specs[6].lesions == specs[0].lesions
    assert not {s.seed for s in specs} & {s.seed for s in default_cohort(n=9, seed=2)}


def test_tilt_rotates_the_grid_and_keeps_the_spacing():
    grid = grid_of(replace(SMALL, tilt_deg=10.0))
    assert np.allclose(grid.spacing_mm, SMALL.spacing_mm)
    assert np.isclose(grid.matrix[2, 1] / grid.matrix[1, 1], np.tan(np.deg2rad(10.0)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: default_cohort(n=0),
        lambda: default_cohort(scale=1.5),
        lambda: PhantomSpec("x", (4, 50, 50), (1.0, 1.0, 1.0), 0),
        lambda: PhantomSpec("x", (40, 50, 50), (1.0, 0.0, 1.0), 0),
        lambda: replace(SMALL, orientation="PIR"),
        lambda: generate_subject(replace(SMALL, spacing_mm=(0.1, 0.1, 0.1))),
    ],
)
def test_impossible_wishes_are_refused(call):
    with pytest.raises(ConfigError) as error:
        call()
    assert error.value.got is not None
    assert error.value.expected is not None
