"""Do the right voxels come onto the subject's grid, and are bad ones refused?"""

from __future__ import annotations

import shutil
import time
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from jobs.datasets.check import check_cohort
from jobs.datasets.load import iter_arrays
from jobs.datasets.model import MODALITIES, ImageSource, SubjectSources
from jobs.datasets.nifti_table import nifti_table
from jobs.datasets.open_ms import open_ms, open_ms_mni, open_ms_raw
from jobs.datasets.resample import resample
from lamstore.errors import GridError, InputError, UnreadableInputError, VoxelError
from lamstore.grid import Grid


def arrays(sources, **options):
    check = check_cohort([sources], (), MODALITIES, options.get("resample", False)).subjects[0]
    assert check.ok, check.problems
    return {tuple(key): array for *key, array in iter_arrays(sources, check, **options)}


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def test_every_array_once(cohort):
    one = open_ms(cohort())[0]
    found = arrays(one)
    assert set(found) == (
        {("volume", *key) for key in one.images}
        | {("brainmask", None, None), ("change_truth", None, None)}
        | {("lesion_truth", t, None) for t in ("t0", "t1")}
    )
    for key, image in one.images.items():
        np.testing.assert_array_equal(found["volume", *key], voxels(image.path))
        assert found["volume", *key].dtype == np.uint16
    assert found["change_truth", None, None].dtype == np.uint8


def test_choice_of_timepoints_and_modalities(cohort):
    found = arrays(open_ms(cohort())[0], timepoints=("t1",), modalities=("flair",))
    assert set(found) == {
        ("brainmask", None, None),
        ("volume", "t1", "flair"),
        ("change_truth", None, None),
        ("lesion_truth", "t1", None),
    }


@pytest.mark.parametrize("dtype", [">u1", ">i2", "<i8", ">f4", "f8"])
def test_masks_of_any_type(cohort, write, mask, dtype):
    root = cohort()
    path = root / "coregistered/patient01/brainmask.nii.gz"
    header = nib.Nifti1Header(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_dtype(dtype)
    affine = nib.load(path).affine
    nib.save(nib.Nifti1Image(mask().astype(dtype), affine, header), path)
    found = arrays(open_ms(root)[0])["brainmask", None, None]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, mask())


def refused(root, error, *words):
    with pytest.raises(error) as caught:
        arrays(open_ms(root)[0])
    text = str(caught.value)
    for word in ("patient01", "got:", "expected:", "try:", *words):
        assert word in text
    assert arrays(open_ms(root)[1])


def test_empty_brainmask(cohort, write, mask):
    root = cohort()
    write(root / "coregistered/patient01/brainmask.nii.gz", mask() * 0)
    refused(root, VoxelError, "brainmask.nii.gz", "empty")


@pytest.mark.parametrize("name", ["brainmask", "gt", "study1_lesions"])
@pytest.mark.parametrize("case", [("u1", 2), ("i2", -1), ("f4", 0.5), ("u1", 255)])
def test_mask_with_other_values(cohort, write, mask, name, case):
    root, (dtype, value) = cohort(), case
    array = mask().astype(dtype)
    array[2, 2, 2] = value
    write(root / f"coregistered/patient01/{name}.nii.gz", array)
    refused(root, VoxelError, f"{name}.nii.gz", "not a mask", str(value))


@pytest.mark.parametrize("name", ["study1_FLAIR", "brainmask"])
def test_nan(cohort, write, shape, name):
    root = cohort()
    array = np.ones(shape, np.float32)
    array[0, 0, 0] = np.nan
    write(root / f"coregistered/patient01/{name}.nii.gz", array)
    refused(root, VoxelError, f"{name}.nii.gz", "1 NaN")


def test_truncated(cohort):
    root = cohort()
    path = root / "coregistered/patient01/study2_T1W.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    refused(root, UnreadableInputError, path.name, "truncated")


def test_file_that_changed_after_the_check(cohort, write, affine):
    root = cohort()
    one = open_ms(root)[0]
    check = check_cohort([one], ("flair",)).subjects[0]
    write(one.images["t1", "flair"].path, affine=affine + 1)
    with pytest.raises(GridError, match=r"study2_FLAIR\.nii\.gz"):
        list(iter_arrays(one, check))


def test_reader_stopped_early_leaves_no_thread_waiting(cohort):
    one = open_ms(cohort())[0]
    check = check_cohort([one], ("flair",)).subjects[0]
    reading = iter_arrays(one, check)
    assert next(reading)[0] == "brainmask"
    reading.close()


@pytest.mark.parametrize("name", ["with space", 'it\'s "quoted"', "Ärztin 脳"])
def test_any_folder_name(tmp_path, pair, name):
    pair(tmp_path / name / "patient 'é' 1")
    (one,) = open_ms(tmp_path / name)
    assert one.subject == "patient-é-1" and len(arrays(one)) == 10


def test_mask_from_nonzero_voxels(tmp_path, write, shape):
    image = np.zeros(shape, np.float32)
    image[1:3] = [[[-0.5]], [[7.0]]]
    write(tmp_path / "patient01/FLAIR_x.nii.gz", image)
    (one,) = open_ms_mni(tmp_path)
    found = arrays(one)
    np.testing.assert_array_equal(found["brainmask", None, None], image != 0)
    np.testing.assert_array_equal(found["volume", "t0", "flair"], image)


def ramp(grid):
    """Image that is linear in RAS: what linear interpolation reproduces exactly."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    world = index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    return world @ [1.0, -2.0, 0.5] + 1000


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_resampling_follows_world_coordinates(interpolation):
    turn = np.array([[0.9, 0.1, 0, -11], [-0.2, -1.1, 0.3, 14], [0, 0.1, 1.3, -9], [0, 0, 0, 1]])
    source = Grid.of((30, 28, 26), turn)  # sheared and mirrored: no ITK image could say so
    target = Grid.of((4, 5, 6), np.diag([1.2, 0.7, 0.5, 1]))
    moved = resample(ramp(source), source, target, [], interpolation)
    assert moved.dtype == np.float64
    inside = resample(np.ones(source.shape, np.uint8), source, target, [], "nearest") > 0
    assert inside.all()
    tolerance = {"linear": 1e-9, "bspline": 0.05}[interpolation]
    np.testing.assert_allclose(moved, ramp(target), atol=tolerance)


def translation(path, offset_lps):
    step = sitk.TranslationTransform(3, offset_lps)
    sitk.WriteTransform(step, str(path))
    return path


def test_transforms_apply_first_to_last_in_lps(tmp_path):
    grid = Grid.of((24, 24, 24), np.eye(4))
    scale = sitk.ScaleTransform(3, (2.0, 1.0, 1.0))
    shift = sitk.TranslationTransform(3, (-3.0, 0.0, 0.0))
    small = Grid.of((4, 4, 4), np.eye(4))
    # LPS x = -i; first doubled, then moved by -3: the source voxel is 2 i + 3.
    moved = resample(ramp(grid), grid, small, [scale, shift], "linear")
    np.testing.assert_allclose(moved[:, 0, 0], ramp(grid)[3:10:2, 0, 0])


def test_transforms_of_a_table_are_used(tmp_path, write, shape, mask):
    write(tmp_path / "t0.nii.gz")
    write(tmp_path / "t1.nii.gz")
    write(tmp_path / "mask.nii.gz", mask())
    translation(tmp_path / "move.txt", (0.0, 0.0, 3.0))  # one voxel upwards
    rows = ["subject,timepoint,modality,path,transform", "a,t0,flair,t0.nii.gz,"]
    rows += ["a,t1,flair,t1.nii.gz,move.txt", "a,,brainmask,mask.nii.gz,move.txt"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    found = arrays(nifti_table(tmp_path / "t.csv")[0])
    original = voxels(tmp_path / "t1.nii.gz")
    moved = found["volume", "t1", "flair"]
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved[..., :-1], original[..., 1:], rtol=1e-5)
    assert not moved[..., -1].any()
    np.testing.assert_array_equal(found["brainmask", None, None][..., :-1], mask()[..., 1:])
    assert found["brainmask", None, None].dtype == np.uint8


def test_transform_that_leads_out_of_the_image(tmp_path, write, mask):
    reference = ImageSource(write(tmp_path / "a.nii.gz"))
    away = translation(tmp_path / "away.txt", (900.0, 0.0, 0.0))
    images = {("t0", "flair"): reference, ("t1", "flair"): ImageSource(reference.path, (away,))}
    brain = ImageSource(write(tmp_path / "m.nii.gz", mask()))
    with pytest.raises(VoxelError, match="outside the reference grid"):
        arrays(SubjectSources("anna", images, reference, brain))


@pytest.mark.parametrize("text", [None, "", "no transform"])
def test_unusable_transform_is_a_problem(tmp_path, write, mask, text):
    path = tmp_path / "bad.txt"
    if text is not None:
        path.write_text(text)
    image = ImageSource(write(tmp_path / "a.nii.gz"), (path,))
    brain = ImageSource(write(tmp_path / "m.nii.gz", mask()))
    found = check_cohort(
        [SubjectSources("anna", {("t0", "flair"): image}, brain, brain)], ("flair",)
    )
    assert "anna" in found.subjects[0].problems[0] and "bad.txt" in found.subjects[0].problems[0]


def test_flipped_file_is_set_right_by_resampling(cohort, write, shape, affine):
    root = cohort()
    path = root / "coregistered/patient01/study2_FLAIR.nii.gz"
    expected = voxels(path)
    affine[:3, 3] += affine[:3, 0] * (shape[0] - 1)
    affine[:3, 0] *= -1
    write(path, expected[::-1], affine)
    found = arrays(open_ms(root)[0], resample=True)["volume", "t1", "flair"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises((InputError, AssertionError)):
        arrays(open_ms(root)[0])


@pytest.mark.real_data
def test_real_raw_images_land_on_the_published_grid(real):
    """Published images are the raw ones after cubic B-spline resampling and a smooth bias field."""
    modalities = ("flair", "t1w")
    published = arrays(open_ms(real)[0], timepoints=("t0",), modalities=modalities)
    raw = open_ms_raw(real)[0]
    brain = published["brainmask", None, None] > 0
    where = np.argwhere(brain)
    smooth = polynomials(where / brain.shape * 2 - 1)
    lowest = {"linear": 0.985, "bspline": 0.9999}
    for interpolation, least in lowest.items():
        options = {"timepoints": ("t0",), "modalities": modalities, "interpolation": interpolation}
        moved = arrays(raw, **options)
        np.testing.assert_array_equal(moved["brainmask", None, None] > 0, brain)
        for modality in modalities:
            a = published["volume", "t0", modality][brain].astype(float)
            b = moved["volume", "t0", modality][brain].astype(float)
            some = np.flatnonzero((a > 20) & (b > 20))[::50]
            field = np.linalg.lstsq(smooth[some], np.log(b[some] / a[some]), rcond=None)[0]
            assert np.corrcoef(a * np.exp(smooth @ field), b)[0, 1] > least


def polynomials(u, degree=4):
    orders = [
        (i, j, k) for i in range(5) for j in range(5) for k in range(5) if i + j + k <= degree
    ]
    return np.stack([u[:, 0] ** i * u[:, 1] ** j * u[:, 2] ** k for i, j, k in orders], axis=1)


@pytest.mark.real_data
def test_real_mni_patient(real, tmp_path):
    one = next(s for s in open_ms_mni(real) if s.subject == "patient07")
    found = arrays(one, modalities=("flair",))
    assert found["lesion_truth", "t0", None].sum() == 1300
    flair = voxels(one.reference.path)
    np.testing.assert_array_equal(found["brainmask", None, None], flair != 0)


@pytest.mark.real_data
def test_real_patient_with_one_damaged_file(real, tmp_path, truncate):
    shutil.copytree(real / "longitudinal/coregistered", tmp_path / "coregistered")
    damaged = tmp_path / "coregistered/patient12/study2_FLAIR.nii.gz"
    damaged.chmod(0o644)
    truncate(damaged)
    good, bad = open_ms(tmp_path)
    assert len(arrays(good, modalities=("flair",))) == 4
    with pytest.raises(UnreadableInputError, match="patient12"):
        arrays(bad, modalities=("flair",))


def test_reading_ahead_stops_at_one_volume(tmp_path, write):
    image = np.random.default_rng(0).integers(0, 4, (128, 128, 96), dtype=np.uint16)
    rows = ["subject,timepoint,modality,path"]
    for i in range(5):
        write(tmp_path / f"{i}.nii.gz", image)
        rows.append(f"a,t{i},flair,{i}.nii.gz")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    one = nifti_table(tmp_path / "t.csv")[0]
    check = check_cohort([one], ("flair",), need_brainmask=False).subjects[0]
    list(iter_arrays(one, check, timepoints=("t0",)))
    tracemalloc.start()
    try:
        for _ in iter_arrays(one, check):
            time.sleep(0.02)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The caller lets go of one, holds the next, and a third is being allocated; never all five.
    assert peak < 3 * image.nbytes + 2**21
