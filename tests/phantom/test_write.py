"""Do the written trees have the names, grids and values that the subjects have?"""

from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest

from jobs.phantom import default_cohort, generate_subject, write_bids, write_open_ms


@pytest.fixture(scope="module")
def pair():
    """An LPS and a tilted RAS subject on tiny grids."""
    specs = default_cohort(scale=0.4)
    return [generate_subject(specs[i]) for i in (0, 5)]


def matches(path, array, grid, dtype) -> bool:
    image = nib.load(path)
    assert image.get_data_dtype() == np.dtype(dtype)
    assert np.allclose(image.affine, grid.matrix, atol=1e-4)
    assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    assert np.allclose(image.header.get_zooms(), grid.spacing_mm, atol=1e-4)
    return np.array_equal(np.asarray(image.dataobj), array)


def files(root) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_open_ms_tree(pair, tmp_path):
    write_open_ms(pair, tmp_path)
    names = [f"study{k}_{m}" for k in (1, 2) for m in ("FLAIR", "T1W", "lesions")]
    names += ["brainmask", "gt"]
    patients = ("patient01", "patient06")
    base = "longitudinal/coregistered"
    assert files(tmp_path) == {f"{base}/{p}/{n}.nii.gz" for p in patients for n in names}
    for s in pair:
        folder = tmp_path / base / s.spec.subject
        image = s.images["t1", "flair"]
        assert matches(folder / "study2_FLAIR.nii.gz", image, s.grid, np.uint16)
        assert matches(folder / "study1_T1W.nii.gz", s.images["t0", "t1w"], s.grid, np.uint16)
        assert matches(folder / "gt.nii.gz", s.change_truth, s.grid, np.uint8)
        assert matches(folder / "brainmask.nii.gz", s.brainmask, s.grid, np.uint8)
        lesions = s.lesion_truth["t1"]
        assert matches(folder / "study2_lesions.nii.gz", lesions, s.grid, np.uint8)


def test_bids_tree(pair, tmp_path):
    write_bids(pair, tmp_path)
    expected = {"README", "dataset_description.json", "participants.tsv"}
    derived = "derivatives/lamstore-phantom"
    expected |= {f"{derived}/dataset_description.json"}
    expected |= {f"{derived}/{e}_mask.json" for e in ("desc-brain", "label-lesion", "label-change")}
    for sub in ("sub-01", "sub-06"):
        for ses in ("ses-01", "ses-02"):
            stem = f"{sub}/{ses}/anat/{sub}_{ses}"
            expected |= {f"{stem}_FLAIR.nii.gz", f"{stem}_T1w.nii.gz"}
            expected |= {
                f"{derived}/{stem}_{e}_mask.nii.gz" for e in ("desc-brain", "label-lesion")
            }
        expected.add(f"{derived}/{sub}/anat/{sub}_label-change_mask.nii.gz")
    assert files(tmp_path) == expected
    s = pair[1]
    anat = "sub-06/ses-02/anat/sub-06_ses-02"
    image, lesions = s.images["t1", "t1w"], s.lesion_truth["t1"]
    assert matches(tmp_path / f"{anat}_T1w.nii.gz", image, s.grid, np.uint16)
    lesion_path = tmp_path / derived / f"{anat}_label-lesion_mask.nii.gz"
    assert matches(lesion_path, lesions, s.grid, np.uint8)
    change_path = tmp_path / derived / "sub-06/anat/sub-06_label-change_mask.nii.gz"
    assert matches(change_path, s.change_truth, s.grid, np.uint8)


def test_bids_descriptions(pair, tmp_path):
    write_bids(pair, tmp_path)
    raw = json.loads((tmp_path / "dataset_description.json").read_text())
    folder = tmp_path / "derivatives/lamstore-phantom"
    derived = json.loads((folder / "dataset_description.json").read_text())
    assert raw["DatasetType"] == "raw"
    assert derived["DatasetType"] == "derivative"
    assert derived["GeneratedBy"][0]["Name"] == "lamstore-phantom"
    participants = (tmp_path / "participants.tsv").read_text().splitlines()
    assert participants == ["participant_id", "sub-01", "sub-06"]


def test_same_subjects_give_the_same_files(pair, tmp_path):
    def digests(root):
        return {n: hashlib.sha256((root / n).read_bytes()).hexdigest() for n in files(root)}

    again = [generate_subject(s.spec) for s in pair]
    first, second = write_open_ms(pair, tmp_path / "a"), write_open_ms(again, tmp_path / "b")
    assert digests(first) == digests(second)
