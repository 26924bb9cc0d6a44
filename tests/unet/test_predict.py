"""Does `lam predict` write what the engine says, on the grid and with the header of the input?"""

import nibabel as nib
import numpy as np
import pytest
from conformance import synthetic_input

from jobs.engines import load_engine
from jobs.predict import (
    is_skull_stripped,
    one_subject,
    predicted,
    read_scan,
    scans_in_study,
    scans_of,
    write_volume,
)
from lamstore.errors import MissingInputError
from lamstore.grid import Grid
from tests.running import lam

AFFINE = np.array([[-1, 0.02, 0, 20], [0.02, 1, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def files(tmp_path):
    """FLAIR (int16, scaled, qform and sform of different codes), T1W and brain mask on disk."""
    inputs, paths = synthetic_input(), {}
    for name, voxels in {**inputs.images, "brainmask": inputs.brainmask}.items():
        kind = np.uint8 if name == "brainmask" else np.int16
        image = nib.Nifti1Image(voxels.astype(kind), AFFINE)
        image.header.set_sform(AFFINE, code=4)
        image.header["descrip"] = b"kept"
        paths[name] = tmp_path / f"{name}.nii.gz"
        nib.save(image, paths[name])
    return paths


def test_files_in_files_out(files, tmp_path, two_members):
    out = tmp_path / "out"
    said = lam(
        "predict", "--flair", files["flair"], "--t1w", files["t1w"],
        "--brainmask", files["brainmask"], "--weights", two_members[0],
        "--weights", two_members[1], "--option", "threshold=0.3", "--members", "--out", out,
    )  # fmt: skip
    assert str(out) in said.replace("\n", "")
    names = ("mask", "probability", "probability_a", "probability_b")
    assert {p.name for p in out.iterdir()} == {f"{n}.nii.gz" for n in names}
    mask, mean, a, b = (nib.load(out / f"{name}.nii.gz") for name in names)
    for image in (mask, mean):
        np.testing.assert_array_equal(image.affine, nib.load(files["flair"]).affine)
        assert int(image.header["sform_code"]) == 4
        assert bytes(image.header["descrip"]).startswith(b"kept")
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mean.get_fdata(), (a.get_fdata() + b.get_fdata()) / 2, atol=1e-6)
    expected = engine_says(files, two_members)
    np.testing.assert_array_equal(mask.get_fdata(), expected["mask"])
    np.testing.assert_allclose(mean.get_fdata(), expected["probability"], atol=1e-6)
    assert "is not empty" in lam("predict", "--flair", files["flair"], "--out", out, status=2)


def engine_says(files, weights):
    engine = load_engine("unet", {"weights": weights, "threshold": 0.3})
    images = {m: files[m] for m in ("flair", "t1w")}
    scans, problems = scans_of(
        [one_subject("s", images, files["brainmask"])], engine, resample=False
    )
    assert not problems
    return dict(predicted(engine, read_scan(scans[0], engine, resample=False), members=False))


def test_without_brain_mask_a_skull_stripped_image_is_its_own(files):
    engine = load_engine("flair-zscore", {})
    image = nib.load(files["flair"])
    brain = nib.load(files["brainmask"]).get_fdata() > 0
    stripped = np.where(brain, np.maximum(np.asarray(image.dataobj), 1), 0)
    nib.save(nib.Nifti1Image(stripped.astype(np.int16), image.affine), files["flair"])
    scans, _ = scans_of([one_subject("s", {"flair": files["flair"]}, None)], engine, resample=False)
    found = read_scan(scans[0], engine, resample=False)
    np.testing.assert_array_equal(found.brainmask, brain)
    assert dict(predicted(engine, found, members=False))["mask"].any()


def test_without_brain_mask_a_head_is_refused(files):
    engine = load_engine("flair-zscore", {})
    scans, _ = scans_of([one_subject("s", {"flair": files["flair"]}, None)], engine, resample=False)
    with pytest.raises(MissingInputError, match="skull-stripped") as caught:
        read_scan(scans[0], engine, resample=False)
    assert "--brainmask" in caught.value.remedy


def test_what_can_be_a_brain_that_was_cut_out():
    grid = Grid.of((20, 20, 20), np.diag([10, 10, 10, 1]))
    some = np.zeros(grid.shape, bool)
    assert not is_skull_stripped(some, grid)
    some.ravel()[:1500] = True  # 1.5 litres
    assert is_skull_stripped(some, grid)
    some.ravel()[:4000] = True  # a head
    assert not is_skull_stripped(some, grid)
    assert not is_skull_stripped(np.ones((10, 10, 10), bool), grid)


def test_grids_that_differ_are_a_problem_unless_resampled(files, tmp_path):
    engine = load_engine("flair-zscore", {})
    shifted = nib.load(files["t1w"])
    nib.save(nib.Nifti1Image(np.asarray(shifted.dataobj), AFFINE + 0.5), files["t1w"])
    subject = one_subject("s", {m: files[m] for m in ("flair", "t1w")}, files["brainmask"])
    scans, problems = scans_of([subject], engine, resample=False)
    assert not scans
    assert "grid" in problems[0]


def test_a_study_is_read_from_its_store(finished, tmp_path):
    engine = load_engine("flair-zscore", {})
    scans = scans_in_study(finished, ())
    assert len(scans) == 4
    inputs = read_scan(scans[0], engine, resample=False)
    found = dict(predicted(engine, inputs, members=True))
    assert set(found) == {"mask", "probability", *(f"probability_{m}" for m in engine.members)}
    write_volume(tmp_path / "m.nii.gz", found["mask"], inputs.grid, scans[0].reference)
    image = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(image.affine, inputs.grid.matrix)
    np.testing.assert_array_equal(np.asarray(image.dataobj), found["mask"])


def test_a_failing_subject_stops_no_other(finished, tmp_path):
    root = finished.path.parent / "cohort"
    first = sorted(p for p in root.rglob("*FLAIR.nii.gz"))[0]
    first.write_bytes(first.read_bytes()[:2000])
    said = lam(
        "predict", root, "--dataset", "open-ms", "--engine", "flair-zscore",
        "--out", tmp_path / "out", status=1,
    )  # fmt: skip
    assert "truncated" in said
    assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 3


def test_missing_weights_are_asked_for(files, tmp_path):
    said = lam(
        "predict", "--flair", files["flair"], "--weights", tmp_path / "none.safetensors",
        "--out", tmp_path / "out", status=2,
    )  # fmt: skip
    assert "no weights" in said
    assert "lam train" in said
