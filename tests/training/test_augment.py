"""Does augmentation change what it should, nothing else, and the same way every time?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.training.augment_intensity import _curve, _thick_slices
from jobs.training.augment_spatial import cropped, spatial
from jobs.training.augment_tissue import tissue_contrast
from jobs.training.cohort import open_cohort
from jobs.training.config import AugmentConfig, TransplantConfig
from jobs.training.config_file import read_train_config
from jobs.training.donors import MIRROR, donor_of
from jobs.training.look import LesionLook, Looks, lesion_look
from jobs.training.transplant import Transplanter, normal_tissue
from lamstore.errors import MissingInputError
from tests.training.cohort import head, write_config

STILL = AugmentConfig(flip=0, affine=0)
CHANNELS = ("flair", "t1w")


def ball(shape=(24, 24, 24), centre=(12, 12, 12), radius=4.0):
    at = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (at**2).sum(axis=0) <= radius**2


@pytest.fixture(scope="module")
def patch():
    """Normalized images, label and brain of one head."""
    images, brain, truth = head("a")
    flair, t1w = (images[c].astype(np.float32) for c in CHANNELS)
    return np.stack([(flair - 430) / 40, (t1w - 520) / 90]) * brain, truth, brain


@pytest.fixture(scope="module")
def look(patch):
    images, truth, brain = patch
    found = lesion_look(images, truth, brain, (1.0, 1.0, 1.0), CHANNELS)
    assert found is not None
    return found


def test_nothing_drawn_is_the_centre():
    stack = torch.arange(2 * 6**3, dtype=torch.float32).reshape(2, 6, 6, 6)
    out = spatial(stack, (4, 4, 4), (1, 1, 1), STILL, np.random.default_rng(0))
    assert torch.equal(out, cropped(stack, (4, 4, 4)))
    assert torch.equal(out, stack[:, 1:5, 1:5, 1:5])


def test_an_affine_of_no_strength_is_the_centre():
    config = STILL.model_copy(update={"affine": 1.0, "rotate_deg": 0, "scale": 0, "elastic_mm": 0})
    stack = torch.rand(2, 12, 10, 8)
    out = spatial(stack, (8, 6, 4), (1, 1, 3), config, np.random.default_rng(0))
    assert torch.allclose(out, cropped(stack, (8, 6, 4)), atol=1e-5)


def test_a_turn_keeps_a_centred_ball_and_its_volume():
    config = STILL.model_copy(update={"affine": 1.0, "rotate_deg": 40, "scale": 0, "elastic_mm": 0})
    # On a grid of odd size the ball lies at the very centre.
    stack = torch.from_numpy(ball((31, 31, 31), (15, 15, 15), 8)[None].astype(np.float32))
    out = spatial(stack, (25, 25, 25), (1, 1, 1), config, np.random.default_rng(1))
    assert float((out > 0.5).sum()) == pytest.approx(float(stack.sum()), rel=0.03)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_curve_is_monotone_and_keeps_zero(seed):
    values = torch.linspace(-5, 8, 261).reshape(-1, 1, 1)
    out = _curve(values, 6, (0.6, 1.6), np.random.default_rng(seed)).ravel()
    assert (out[1:] > out[:-1]).all()
    assert abs(float(out[100])) < 0.02


def test_a_look_measures_contrast_to_the_surroundings(look):
    assert look.tissue == pytest.approx([(400 - 430) / 40, (600 - 520) / 90], abs=0.15)
    assert look.contrast.mean(axis=0) == pytest.approx([220 / 40, -1.0], abs=0.3)
    assert look.grey[1] == pytest.approx((420 - 520) / 90, abs=0.15)
    assert look.weight.sum() == pytest.approx(1)


def test_tissue_contrast_moves_grey_matter_and_no_lesion(patch, look):
    images, truth, brain = patch
    out = tissue_contrast(images, truth, look, CHANNELS, 0.5)
    moved = out[0] - images[0]
    white = np.zeros_like(brain)
    white[8:-8, 8:-8, 8:-8] = True
    assert np.array_equal(out[1], images[1])
    assert np.abs(moved[truth]).max() == 0
    grey = brain & ~np.pad(np.ones((20, 20, 12), bool), 6)
    assert moved[grey].mean() == pytest.approx(0.5 * look.typical(0), rel=0.25)
    assert np.abs(moved[white & ~truth]).mean() < 0.1 * moved[grey].mean()


def test_tissue_contrast_needs_both_images(patch, look):
    images = patch[0].copy()
    images[1] = 0
    assert tissue_contrast(images, patch[1], look, CHANNELS, 0.5) is images


def test_a_donor_lies_where_it_lay():
    mask, affine = ball(centre=(9, 12, 14)), np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-11.5, 3, 5)
    donor = donor_of("d", mask, affine)
    assert np.array_equal(donor.window(mask.shape, affine) > 0, mask)
    assert np.array_equal(donor.window(mask.shape, MIRROR @ affine) > 0, mask[::-1])


def test_a_donor_on_a_turned_grid():
    mask, affine = ball(centre=(9, 12, 14)), np.diag([1.0, 1.0, 1.0, 1.0])
    swapped = affine[:, [1, 0, 2, 3]]
    found = donor_of("d", mask, affine).window(mask.shape, swapped)
    assert np.array_equal(found > 0, mask.transpose(1, 0, 2))


def test_no_donor_of_an_empty_mask():
    assert donor_of("d", np.zeros((4, 4, 4), bool), np.eye(4)) is None


@pytest.fixture
def graft(look):
    mask = np.zeros((32, 32, 24), bool)
    mask[18:23, 18:22, 8:11] = True
    config = TransplantConfig(share=1, common_space=True, keep_place=1, jitter_mm=0)
    donor = donor_of("d", mask, MIRROR @ MIRROR)
    return Transplanter([donor], Looks({}, look), CHANNELS, config)


def test_a_lesion_arrives_with_its_contrast(patch, graft):
    images, truth, brain = patch
    for seed in range(20):
        out, label = graft(images, truth, brain, np.eye(4), "b", np.random.default_rng(seed))
        new = label & ~truth
        if new.any():
            break
    assert new.any()
    assert (label & truth == truth).all()
    away = out - images
    assert away[0][new].mean() > 1
    assert away[1][new].mean() < 0
    far = np.ones_like(new)
    far[tuple(slice(max(s.min() - 5, 0), s.max() + 6) for s in np.nonzero(new))] = False
    assert not away[:, far].any()
    assert (out[0] >= images[0]).all()


def test_no_lesion_lands_where_tissue_is_not_normal(patch, graft):
    images, truth, brain = patch
    bright = images.copy()
    bright[0] += 6
    out, label = graft(bright, truth, brain, np.eye(4), "b", np.random.default_rng(0))
    assert out is bright
    assert label is truth


def test_lesions_moved_elsewhere_lie_in_normal_tissue(patch, graft, look):
    images, truth, brain = patch
    config = TransplantConfig(share=1, most=5)
    moved = Transplanter(graft.donors, graft.looks, CHANNELS, config)
    normal = normal_tissue(images, truth, brain, look.tissue, np.array([True, True]), CHANNELS)
    found = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        _, label = moved(images, truth, brain, np.eye(4), "b", random)
        new = label & ~truth
        found += int(new.sum())
        assert not new.any() or normal[new].mean() > 0.5
    assert found


def test_augmentation_is_a_function_of_the_draw(study, tmp_path):
    cohort = open_cohort(read_train_config(write_config(tmp_path / "t.yaml", study)))
    draw = cohort.source[3]
    one, two, other = (
        cohort.augmenter(draw, np.random.default_rng([0, number])) for number in (3, 3, 4)
    )
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.label, two.label)
    assert not np.array_equal(one.image, other.image)
    assert one.image.shape == (2, 16, 16, 16)
    assert not one.image[:, ~one.brain[0]].any()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_patches_that_stay_as_scanned(share, study, tmp_path):
    always = {"curve": 1.0, "flip": 0, "affine": 0, "modality_dropout": 0, "transplant": None}
    augment = always | {"margin": 4, "other_scanner": share}
    cohort = open_cohort(
        read_train_config(write_config(tmp_path / "t.yaml", study, augment=augment))
    )
    plain = replace(cohort.augmenter, config=None)
    as_scanned = [
        np.array_equal(cohort.augmenter(draw, random).image, plain(draw, random).image)
        for draw, random in ((cohort.source[i], np.random.default_rng(i)) for i in range(40))
    ]
    assert np.mean(as_scanned) == pytest.approx(1 - share, abs=0.25)


def test_the_needed_channel_is_never_dropped(study, tmp_path):
    path = write_config(tmp_path / "t.yaml", study, augment={"margin": 4, "modality_dropout": 1})
    cohort = open_cohort(read_train_config(path))
    patch = cohort.augmenter(cohort.source[0], np.random.default_rng(0))
    assert patch.present.tolist() == [True, False]
    assert not patch.image[1].any()


def test_a_validation_subject_is_no_donor(study, tmp_path):
    import nibabel as nib

    truth = head("c")[2].astype(np.uint8)
    nib.save(nib.Nifti1Image(truth, np.eye(4)), tmp_path / "innocent.nii.gz")
    masks = {"masks": [str(tmp_path / "*.nii.gz")]}
    path = write_config(tmp_path / "t.yaml", study, augment={"transplant": masks})
    cohort = open_cohort(read_train_config(path))
    assert [name.rpartition("/")[2] for name in cohort.left_out] == ["innocent.nii.gz"]
    assert {name.split("/")[0] for name in cohort.donors} == {"a", "b"}


def test_a_glob_without_files_is_refused(study, tmp_path):
    masks = {"masks": [str(tmp_path / "none*.nii.gz")]}
    path = write_config(tmp_path / "t.yaml", study, augment={"transplant": masks})
    with pytest.raises(MissingInputError, match="no lesion masks"):
        open_cohort(read_train_config(path))


def test_a_look_needs_a_lesion_of_some_size(patch):
    images, _, brain = patch
    assert lesion_look(images, np.zeros_like(brain), brain, (1, 1, 1), CHANNELS) is None
    assert isinstance(
        lesion_look(images, ball(brain.shape), brain, (1, 1, 1), CHANNELS), LesionLook
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_are_means_of_their_voxels(axis):
    image = torch.randn(12, 12, 12, generator=torch.Generator().manual_seed(0))
    thick = _thick_slices(image, axis, 3, 0).movedim(axis, 0)
    expected = image.movedim(axis, 0).reshape(4, 3, 12, 12).mean(1)
    torch.testing.assert_close(thick[1::3], expected)  # the middles, where linear is exact
    assert torch.equal(_thick_slices(image, axis, 1, 0), image)


@given(phase=st.integers(0, 3), count=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_thick_slices_keep_what_does_not_vary_across_them(phase, count):
    image = torch.randn(1, 7, 13, generator=torch.Generator().manual_seed(1)).expand(9, 7, 13)
    thick = _thick_slices(image.contiguous(), 0, count, phase % count)
    torch.testing.assert_close(thick, image)
