"""Does the check of a cohort's headers find every bad file, and blame only its subject?"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from jobs.datasets.check import check_cohort, source_fingerprint
from jobs.datasets.grids import difference
from jobs.datasets.model import ImageSource, SubjectSources
from jobs.datasets.open_ms import open_ms, open_ms_mni, open_ms_raw
from lamstore.errors import InputError, MissingInputError
from lamstore.grid import Grid

BAD = "patient01"
FILE = "study2_FLAIR.nii.gz"


@pytest.fixture
def spoiled(cohort):
    """spoiled(change, **options): check of a cohort whose first subject's `FILE` was changed."""

    def spoiled(change, **options):
        root = cohort()
        change(root / "coregistered" / BAD / FILE)
        return check_cohort(open_ms(root), ("flair", "t1w"), ("t2w",), **options)

    return spoiled


def blamed(found, *words):
    bad, good = found.subjects
    assert good.ok and not bad.ok and not found.ok and found.usable == (good,)
    (problem,) = bad.problems
    assert BAD in problem and FILE in problem
    for word in words:
        assert word in problem, problem


def test_clean_cohort(cohort, shape):
    found = check_cohort(open_ms(cohort()), ("flair", "t1w"), ("t2w",))
    assert found.ok and found.extent == shape and found.dtype == np.uint16
    one = found.subjects[0]
    assert one.has_brainmask and one.has_change_truth and one.lesion_truth == {"t0", "t1"}
    assert len(one.available) == 6
    assert found.table()[0] == {
        "subject": "patient01",
        "shape": "6 x 7 x 5",
        "spacing_mm": "0.7 x 0.8 x 3",
        "dtype": "uint16",
        "images": "t0 flair t1w t2w; t1 flair t1w t2w",
        "brainmask": "yes",
        "change_truth": "yes",
        "lesion_truth": "t0 t1",
        "problems": "",
    }
    assert pickle.loads(pickle.dumps(found)) == found


def test_shifted(spoiled, write, affine):
    affine[1, 3] += 2.5
    found = spoiled(lambda path: write(path, affine=affine))
    blamed(found, "shifted by (0, 2.5, 0) mm", "-27.5", "-30.0", "got:", "expected:", "try:")


def test_float_noise_is_tolerated(spoiled, write, affine):
    assert spoiled(lambda path: write(path, affine=affine + 5e-4)).ok


@pytest.mark.parametrize("turn", [(0, "left and right"), (1, "back"), (2, "feet")])
def test_flipped(spoiled, write, shape, affine, turn):
    axis, sides = turn
    affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    affine[:3, axis] *= -1
    found = spoiled(lambda path: write(path, affine=affine))
    blamed(found, "axes flipped: the same world box", sides)


def test_mirrored_in_place(spoiled, write, affine):
    affine[0, 0] *= -1
    blamed(spoiled(lambda path: write(path, affine=affine)), "axes flipped: another world box")


def test_swapped(spoiled, write, shape, affine):
    array = np.ones((shape[1], shape[0], shape[2]), np.uint8)
    found = spoiled(lambda path: write(path, array, affine[:, [1, 0, 2, 3]]))
    blamed(found, "axes swapped: the same world box", "ALS instead of LAS")


def test_other_shape(spoiled, write, shape):
    larger = np.ones((shape[0] + 1, *shape[1:]), np.uint8)
    blamed(spoiled(lambda path: write(path, larger)), "shape (7, 7, 5) instead of (6, 7, 5)")


def test_rotated(affine, shape):
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    other = Grid.of(shape, turn @ affine)
    assert difference(Grid.of(shape, affine), other).startswith("affines differ by up to")


def test_resampling_is_allowed(spoiled, write, affine):
    affine[1, 3] += 2.5
    found = spoiled(lambda path: write(path, affine=affine), resample=True)
    assert found.ok and found.subjects[0].dtype == np.float32
    assert found.subjects[1].dtype == np.uint16 and found.dtype == np.float32


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_not_a_nifti(spoiled, content):
    blamed(spoiled(lambda path: path.write_bytes(content)), "not a NIfTI file")


def test_four_axes(spoiled, write, shape):
    series = np.ones((*shape, 2), np.uint8)
    blamed(spoiled(lambda path: write(path, series)), "not one three-dimensional volume")


def test_zero_size(spoiled, patch_bytes):
    blamed(spoiled(lambda path: patch_bytes(path, 46, b"\0\0")), "no voxels")


def test_vanished_file_of_the_listing(cohort):
    subjects = open_ms(root := cohort())
    (root / "coregistered" / BAD / FILE).unlink()
    blamed(check_cohort(subjects, ("flair",)), "missing")


def test_missing_modality(cohort):
    root = cohort()
    (root / "coregistered" / BAD / FILE).unlink()
    found = check_cohort(open_ms(root), ("flair", "t1w"))
    assert found.subjects[1].ok
    assert "missing modality flair at t1 (study2)" in found.subjects[0].problems[0]
    assert check_cohort(open_ms(root), ("t1w",), ("flair",)).ok
    assert ("t1", "flair") not in check_cohort(open_ms(root), ("t1w",)).subjects[0].available


def test_images_nobody_wants_are_not_looked_at(cohort):
    root = cohort()
    (root / "coregistered" / BAD / "study1_T2W.nii.gz").write_bytes(b"no")
    assert check_cohort(open_ms(root), ("flair",)).ok
    assert not check_cohort(open_ms(root), ("flair",), ("t2w",)).ok


def test_missing_brainmask(cohort):
    root = cohort()
    (root / "coregistered" / BAD / "brainmask.nii.gz").unlink()
    found = check_cohort(open_ms(root), ("flair",))
    assert "no brain mask" in found.subjects[0].problems[0] and found.subjects[1].ok
    assert check_cohort(open_ms(root), ("flair",), need_brainmask=False).ok


def test_missing_timepoint(cohort):
    found = check_cohort(open_ms(cohort()), ("flair",), timepoints=("t0", "t2"))
    assert all("missing timepoint t2" in s.problems[0] for s in found.subjects)


def test_what_the_adapter_knows_is_kept(cohort):
    root = cohort()
    for path in (root / "coregistered" / BAD).glob("study2*"):
        path.unlink()
    found = check_cohort(open_ms(root), ("flair",))
    assert len(found.subjects[0].problems) == 1 and "study2" in found.subjects[0].problems[0]


def test_several_problems_are_all_named(cohort, write, shape):
    root = cohort()
    folder = root / "coregistered" / BAD
    write(folder / "gt.nii.gz", np.zeros((2, 2, 2), np.uint8))
    (folder / FILE).write_bytes(b"no")
    found = check_cohort(open_ms(root), ("flair",))
    assert len(found.subjects[0].problems) == 2


def test_common_type(cohort, write, shape):
    root = cohort()
    folder = root / "coregistered"
    write(folder / "patient01/study1_FLAIR.nii.gz", np.ones(shape, np.int16))
    found = check_cohort(open_ms(root), ("flair",))
    assert found.subjects[0].dtype == np.int32 == found.dtype
    write(folder / "patient02/study1_FLAIR.nii.gz", np.ones(shape, np.float32))
    assert check_cohort(open_ms(root), ("flair",)).dtype == np.float64


def test_nothing_usable():
    nowhere = SubjectSources("x", {}, ImageSource(Path("/nowhere")))
    found = check_cohort([nowhere], ("flair",))
    assert not found.ok
    with pytest.raises(InputError, match="no subject"):
        _ = found.extent
    with pytest.raises(InputError, match="no subject"):
        _ = check_cohort([], ("flair",)).dtype


def test_fingerprint_follows_the_files(cohort):
    root = cohort()
    one, two = open_ms(root)
    first = source_fingerprint(one, root)
    assert first == source_fingerprint(open_ms(root)[0], root) != source_fingerprint(two, root)
    moved = root.rename(root.with_name("moved"))
    assert source_fingerprint(open_ms(moved)[0], moved) == first
    path = moved / "coregistered" / BAD / FILE
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert source_fingerprint(open_ms(moved)[0], moved) != first
    path.unlink()
    with pytest.raises(MissingInputError, match=BAD):
        source_fingerprint(one, root)


@pytest.mark.real_data
def test_real_cohorts(real):
    pairs = check_cohort(open_ms(real), ("flair", "t1w"), ("t2w",))
    assert pairs.ok and pairs.extent == (334, 352, 60) and pairs.dtype == np.uint16
    raw = check_cohort(open_ms_raw(real), ("flair", "t1w"))
    assert raw.ok and raw.extent == (325, 334, 53) and raw.dtype == np.float32
    mni = check_cohort(open_ms_mni(real), ("flair",))
    assert mni.ok and len(mni.subjects) == 2 and len(mni.left_out) == 24


def test_file_name_that_is_no_unicode(cohort):
    root = cohort()
    folder = Path(os.fsdecode(os.fsencode(root / "coregistered") + b"/patient\xe9"))
    (root / "coregistered" / BAD).rename(folder)
    (folder / FILE).write_bytes(b"no")
    good, bad = check_cohort(open_ms(root), ("flair",)).subjects
    assert good.ok and not bad.ok
    assert r"patient\xe9" in bad.problems[0] and bad.problems[0].encode("utf-8")
    assert source_fingerprint(open_ms(root)[1], root)
