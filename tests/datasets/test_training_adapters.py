"""Do `atlas` and `isles` find images and lesion masks in the layouts that are in use?"""

from __future__ import annotations

import numpy as np
import pytest

from jobs.datasets import load_dataset
from jobs.datasets.check import check_cohort
from jobs.datasets.load import iter_arrays
from lamstore.errors import ConfigError

SPACE = "space-MNI152NLin2009aSym"


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def atlas_pair(folder, stem, masks=None):
    touch(folder / f"{stem}_T1w.nii.gz")
    touch((masks or folder) / f"{stem}_label-L_desc-T1lesion_mask.nii.gz")


def by_name(subjects):
    return {s.subject: s for s in subjects}


@pytest.mark.parametrize("name", ["atlas", "isles"])
def test_wrong_root_and_unknown_option(tmp_path, name):
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match=str(tmp_path)):
            load_dataset(name, root)
    with pytest.raises(ConfigError, match="typo"):
        load_dataset(name, tmp_path, {"typo": 1})


def test_atlas_by_site_with_sessions(tmp_path):
    for site, subject, session in (("R001", "r001s001", "1"), ("R002", "r002s001", "1")):
        folder = tmp_path / "Training" / site / f"sub-{subject}" / f"ses-{session}" / "anat"
        atlas_pair(folder, f"sub-{subject}_ses-{session}_{SPACE}")
    folder = tmp_path / "Training/R002/sub-r002s001/ses-10/anat"
    touch(folder / f"sub-r002s001_ses-10_{SPACE}_T1w.nii.gz")
    touch(tmp_path / f"Testing/R003/sub-r003s001/ses-1/anat/sub-r003s001_ses-1_{SPACE}_T1w.nii")
    found = by_name(load_dataset("atlas", tmp_path))
    assert set(found) == {"r001s001", "r002s001", "r003s001"}
    assert not any(s.problems for s in found.values())
    one, two, test = found["r001s001"], found["r002s001"], found["r003s001"]
    assert set(one.images) == {("t0", "t1w")} and set(one.lesion_truth) == {"t0"}
    assert one.brainmask.path == one.reference.path == one.images["t0", "t1w"].path
    assert one.brainmask.binarize == "nonzero"
    assert two.sessions == {"t0": "ses-1", "t1": "ses-10"} and set(two.lesion_truth) == {"t0"}
    assert not test.lesion_truth


def test_atlas_flat_and_with_a_brain_mask(tmp_path):
    atlas_pair(tmp_path, "sub-a_ses-1")
    atlas_pair(tmp_path, "sub-b")
    brain = touch(tmp_path / "derivatives/strip/sub-b/sub-b_desc-brain_mask.nii.gz")
    found = by_name(load_dataset("atlas", tmp_path))
    assert set(found) == {"a", "b"} and found["b"].brainmask.path == brain
    assert found["b"].brainmask.binarize == "mask"
    assert all(set(s.lesion_truth) == {"t0"} and not s.problems for s in found.values())


def test_atlas_masks_in_derivatives(tmp_path):
    for label in ("a", "b"):
        anat = f"sub-{label}/ses-1/anat"
        masks = tmp_path / "derivatives/ATLAS" / anat
        atlas_pair(tmp_path / anat, f"sub-{label}_ses-1_{SPACE}", masks)
    for subject in load_dataset("atlas", tmp_path):
        truth = subject.lesion_truth["t0"].path
        assert truth.parent == tmp_path / f"derivatives/ATLAS/sub-{subject.subject}/ses-1/anat"


def test_atlas_same_label_at_two_sites(tmp_path):
    for site in ("R001", "R002"):
        atlas_pair(tmp_path / site / "sub-01/anat", "sub-01")
    found = load_dataset("atlas", tmp_path)
    assert len(found) == 2
    for subject, other in zip(found, ("R002", "R001"), strict=True):
        assert "duplicate subject: 01" in subject.problems[0] and other in subject.problems[0]
        # Its mask is nevertheless that of its own site.
        assert subject.lesion_truth["t0"].path.parent == subject.reference.path.parent


def test_atlas_several_files_for_one_image(tmp_path):
    atlas_pair(tmp_path / "sub-a/anat", "sub-a_run-1")
    atlas_pair(tmp_path / "sub-a/anat", "sub-a_run-2")
    (one,) = load_dataset("atlas", tmp_path)
    assert "run-1" in one.problems[0] and "run-2" in one.problems[0]


def isles_subject(root, label, flair="FLAIR"):
    name = f"sub-{label}_ses-0001"
    folder = root / f"sub-{label}/ses-0001"
    for place, suffix in (("dwi", "dwi"), ("dwi", "adc"), ("anat", flair)):
        touch(folder / place / f"{name}_{suffix}.nii.gz")
    touch(root / f"derivatives/sub-{label}/ses-0001/{name}_msk.nii.gz")


def test_isles(tmp_path):
    isles_subject(tmp_path, "strokecase0001")
    isles_subject(tmp_path, "strokecase0002", flair="flair")
    found = load_dataset("isles", tmp_path)
    assert [s.subject for s in found] == ["strokecase0001", "strokecase0002"]
    for subject in found:
        assert not subject.problems
        assert set(subject.images) == {("t0", m) for m in ("dwi", "adc", "flair")}
        assert subject.reference == subject.images["t0", "dwi"]
        assert subject.lesion_truth["t0"].path.name == f"sub-{subject.subject}_ses-0001_msk.nii.gz"
        assert subject.sessions == {"t0": "ses-0001"}


def test_isles_problems(tmp_path):
    isles_subject(tmp_path, "a")
    isles_subject(tmp_path, "b")
    touch(tmp_path / "sub-a/ses-0001/sub-a_ses-0001_run-2_adc.nii.gz")
    (tmp_path / "sub-b/ses-0001/dwi/sub-b_ses-0001_dwi.nii.gz").unlink()
    a, b = load_dataset("isles", tmp_path)
    assert "2 files could be the ses-0001 adc" in a.problems[0] and "run-2" in a.problems[0]
    assert "no *_dwi image" in b.problems[0]


def test_isles_comes_onto_the_grid_of_the_dwi(tmp_path, write, affine, mask):
    folder, name = tmp_path / "sub-a/ses-1", "sub-a_ses-1"
    dwi = np.full((6, 7, 5), 100, np.uint16)
    dwi[0] = 0
    write(folder / f"{name}_dwi.nii.gz", dwi)
    write(folder / f"{name}_adc.nii.gz", dwi)
    finer = affine @ np.diag([0.5, 0.5, 0.5, 1])
    # Constant along y and z; along x it counts, in steps of half a voxel of the DWI.
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 14, 10))
    write(folder / f"{name}_flair.nii.gz", ramp.copy(), finer)
    write(tmp_path / f"derivatives/sub-a/ses-1/{name}_msk.nii.gz", mask())
    (subject,) = load_dataset("isles", tmp_path)
    wanted = ("dwi", "adc", "flair")
    refused = check_cohort([subject], wanted).subjects[0]
    assert "resample: true" in refused.problems[0]
    (check,) = check_cohort([subject], wanted, resample=True).subjects
    arrays = {
        (name, modality): values
        for name, _, modality, values in iter_arrays(subject, check, resample=True)
    }
    assert np.array_equal(arrays["brainmask", None], dwi > 0)
    assert np.array_equal(arrays["lesion_truth", None], mask())
    assert np.allclose(arrays["volume", "flair"][:, 3, 2], np.arange(6) * 2)
