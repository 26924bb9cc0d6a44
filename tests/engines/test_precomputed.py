"""Are another tool's files handed on as they are, and refused when they cannot be?"""

import os
from dataclasses import replace
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
from conformance import EngineConformance, grid_of, synthetic_input, synthetic_lesions

from jobs.engines import load_engine
from jobs.engines.precomputed import Precomputed
from lamstore.errors import (
    ConfigError,
    EngineError,
    GridError,
    MissingInputError,
    UnreadableInputError,
    VoxelError,
)


def save(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = grid_of().matrix if affine is None else affine
    nib.Nifti1Image(values, affine).to_filename(path)
    return path


def probability(seed):
    rng = np.random.default_rng(seed)
    return (synthetic_lesions() * rng.uniform(0.2, 1, synthetic_lesions().shape)).astype("f4")


@pytest.fixture
def tree(tmp_path):
    """An MS-LAM tree of one subject."""
    root = tmp_path / "run"
    folder = root / "s1/t0"
    save(folder / "lesion_mask.nii.gz", synthetic_lesions().astype(np.uint8))
    save(folder / "lesion_prob.nii.gz", probability(0))
    for i in (1, 2, 3):
        save(folder / f"lesion_prob_model{i}.nii.gz", probability(i))
    return root


class TestPrecomputed(EngineConformance):
    reads_images: ClassVar = False

    @pytest.fixture
    def engine(self, tree):
        self.other_options = {"root": tree, "mask": "{subject}/{timepoint}/lesion_prob.nii.gz"}
        return load_engine("precomputed", {"root": str(tree)})


def test_ms_lam_tree_comes_through_bit_for_bit(tree):
    engine = Precomputed.parse({"root": tree})
    out = engine.segment(synthetic_input())
    assert engine.members == ("model1", "model2", "model3")
    for i, got in enumerate(out.probability, start=1):
        np.testing.assert_array_equal(got, probability(i))
    np.testing.assert_array_equal(out.mask, synthetic_lesions())


def test_without_models_the_mean_map_is_the_member(tree):
    for file in tree.rglob("*model*"):
        file.unlink()
    engine = Precomputed.parse({"root": tree})
    assert engine.members == ("mean",)
    np.testing.assert_array_equal(engine.segment(synthetic_input()).probability[0], probability(0))


def test_without_any_map_there_are_no_members(tree):
    for file in tree.rglob("*prob*"):
        file.unlink()
    engine = Precomputed.parse({"root": tree})
    out = engine.segment(synthetic_input())
    assert engine.members == ()
    assert out.probability.shape == (0, *out.mask.shape)
    assert out.mask.any()


def test_one_subject_without_its_models_is_an_error_not_fewer_members(tree):
    save(tree / "s2/t0/lesion_mask.nii.gz", synthetic_lesions().astype(np.uint8))
    with pytest.raises(MissingInputError, match=r"s2 t0.*lesion_prob_model1") as caught:
        Precomputed.parse({"root": tree}).segment(replace(synthetic_input(), subject="s2"))
    assert caught.value.remedy


def test_patterns_with_shift_see_shifts(tmp_path):
    for shift in ("none", "blur_1"):
        save(tmp_path / f"{shift}/s1_t0.nii", probability(len(shift)))
    engine = Precomputed.parse(
        {"root": tmp_path, "members": {"a": "{shift}/{subject}_{timepoint}.nii"}}
    )
    assert engine.sees_shifts
    for shift in ("none", "blur_1"):
        out = engine.segment(replace(synthetic_input(), shift=shift))
        np.testing.assert_array_equal(out.probability[0], probability(len(shift)))
        np.testing.assert_array_equal(out.mask, probability(len(shift)) >= 0.5)


def test_a_tree_without_shifts_never_passes_for_a_shifted_one(tree):
    engine = Precomputed.parse({"root": tree})
    assert not engine.sees_shifts
    with pytest.raises(EngineError, match="shifted"):
        engine.segment(replace(synthetic_input(), shift="blur_1"))


def test_digest_follows_the_tree_but_not_its_place(tree):
    first = Precomputed.parse({"root": tree}).digest()
    moved = tree.rename(tree.with_name("elsewhere"))
    engine = Precomputed.parse({"root": moved})
    assert engine.digest() == first
    (moved / "notes.txt").write_text("not a file of the patterns")
    assert engine.digest() == first
    os.utime(moved / "s1/t0/lesion_mask.nii.gz", ns=(1, 1))
    assert engine.digest() != first


def test_digest_sees_files_of_awkward_patterns(tmp_path):
    path = save(tmp_path / "run [1] s1t0.nii", synthetic_lesions().astype(np.uint8))
    engine = Precomputed.parse({"root": tmp_path, "mask": "run [1] {subject}{timepoint}.nii"})
    assert engine.segment(synthetic_input()).mask.any()
    first = engine.digest()
    os.utime(path, ns=(1, 1))
    assert engine.digest() != first


@pytest.mark.parametrize("wrong", ["shape", "affine"])
def test_another_grid_is_refused_with_both_grids(tree, wrong):
    shape, affine = (56, 60, 24), grid_of().matrix
    if wrong == "shape":
        shape = (56, 60, 25)
    else:
        affine[0, 3] = 5.0
    save(tree / "s1/t0/lesion_mask.nii.gz", np.zeros(shape, np.uint8), affine)
    with pytest.raises(GridError, match="s1 t0") as caught:
        Precomputed.parse({"root": tree}).segment(synthetic_input())
    assert "(56, 60, 24)" in caught.value.expected
    assert ("(56, 60, 25)" if wrong == "shape" else "5.0") in caught.value.got


@pytest.mark.parametrize("value", [1.5, -0.2, np.nan, np.inf])
def test_what_is_no_probability_is_refused(tree, value):
    values = probability(1)
    values[3, 4, 5] = value
    save(tree / "s1/t0/lesion_prob_model2.nii.gz", values)
    with pytest.raises(VoxelError, match="s1"):
        Precomputed.parse({"root": tree}).segment(synthetic_input())


def test_rounding_is_clipped(tree):
    values = probability(1)
    values[3, 4, 5] = 1 + 1e-6
    save(tree / "s1/t0/lesion_prob_model2.nii.gz", values)
    assert Precomputed.parse({"root": tree}).segment(synthetic_input()).probability.max() == 1


def test_a_mask_with_labels_is_refused(tree):
    save(tree / "s1/t0/lesion_mask.nii.gz", synthetic_lesions().astype(np.uint8) * 2)
    with pytest.raises(VoxelError, match="not a mask") as caught:
        Precomputed.parse({"root": tree}).segment(synthetic_input())
    assert "[0, 2]" in caught.value.got


def test_a_truncated_file_is_refused(tree):
    path = tree / "s1/t0/lesion_mask.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableInputError, match="s1"):
        Precomputed.parse({"root": tree}).segment(synthetic_input())


@pytest.mark.parametrize("label", ["..", ".", "", "../s1", "a/b", "a\0b"])
def test_labels_cannot_lead_out_of_the_root(tree, label):
    with pytest.raises(EngineError, match="cannot be part of a file name"):
        Precomputed.parse({"root": tree}).segment(replace(synthetic_input(), subject=label))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": "/abs/{subject}/{timepoint}.nii"}, "below root"),
        ({"mask": "../{subject}/{timepoint}.nii"}, "below root"),
        ({"mask": "{subject}.nii"}, "must hold"),
        ({"mask": "{subject}/{timepoint}/{patient}.nii"}, "placeholders are"),
        ({"mask": "{subject.__class__}/{timepoint}.nii"}, "placeholders are"),
        (
            {"mask": "{subject}_{timepoint}", "members": {"a": "{subject}_{timepoint}_{shift}"}},
            "every pattern or in none",
        ),
        ({"threshold": 1.0}, "threshold"),
    ],
)
def test_impossible_options_are_refused(tree, options, said):
    with pytest.raises(ConfigError) as caught:
        Precomputed.parse({"root": tree, **options})
    assert said in str(caught.value)


def test_a_root_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="precomputed") as caught:
        Precomputed.parse({"root": tmp_path / "absent"})
    assert "absent' is not a folder" in caught.value.got
