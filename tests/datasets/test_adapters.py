"""Do the adapters find the files of a subject, and say what is wrong without opening any?"""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.datasets import available_datasets, load_dataset
from jobs.datasets.bids import bids
from jobs.datasets.files import natural_key, subject_label
from jobs.datasets.nifti_table import nifti_table
from jobs.datasets.open_ms import open_ms, open_ms_mni, open_ms_raw
from lamstore.errors import ConfigError

BUILT_IN = ("bids", "nifti-table", "open-ms", "open-ms-mni", "open-ms-raw")
PAIR = {(t, m) for t in ("t0", "t1") for m in ("flair", "t1w", "t2w")}


def touch(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@given(st.text())
def test_labels_are_safe_and_stable(name):
    label = subject_label(name)
    assert subject_label(label) == label == unicodedata.normalize("NFC", label)
    assert not label.startswith((".", "-")) and len(label.encode()) <= 240
    assert not set("/\\\0 '\"\n:*?") & set(label)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("patient01", "patient01"),
        ("Jos\u0065\u0301 'x'/2", "José-x-2"),
        ("Пациент 脳", "Пациент-脳"),
        ("..", ""),
        ("a\udcffb", "a-b"),
    ],
)
def test_labels(name, label):
    assert subject_label(name) == label


def test_natural_order():
    names = ["ses-10", "ses-2", "ses-3a", "M12", "M6", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "M6", "M12", "ses-2", "ses-3a", "ses-10"]


def test_all_adapters_are_installed():
    assert set(BUILT_IN) <= set(available_datasets())


def test_unknown_adapter(tmp_path):
    with pytest.raises(ConfigError, match="no-such") as caught:
        load_dataset("no-such", tmp_path)
    assert all(name in str(caught.value) for name in BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_wrong_root_and_unknown_option(tmp_path, name):
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match=str(tmp_path)):
            load_dataset(name, root)
    with pytest.raises(ConfigError, match="typo"):
        load_dataset(name, tmp_path, {"typo": 1})


@pytest.mark.parametrize("place", ["longitudinal/coregistered", "coregistered", "."])
def test_open_ms(tmp_path, pair, place):
    pair(tmp_path / place / "patient01")
    (one,) = open_ms(tmp_path)
    assert (one.subject, set(one.images), one.problems) == ("patient01", PAIR, ())
    assert one.images["t1", "t1w"].path.name == "study2_T1W.nii.gz"
    assert one.reference == one.images["t0", "flair"]
    assert one.brainmask.path.name == "brainmask.nii.gz"
    assert one.change_truth.path.name == "gt.nii.gz"
    assert {t: s.path.name for t, s in one.lesion_truth.items()} == {
        "t0": "study1_lesions.nii.gz",
        "t1": "study2_lesions.nii.gz",
    }


def test_open_ms_without_follow_up(tmp_path, pair):
    folder = pair(tmp_path / "patient01")
    pair(tmp_path / "patient02")
    touch(tmp_path / "notes/readme.txt")
    (tmp_path / "patient03").mkdir()
    for path in folder.glob("study2_*"):
        path.unlink()
    first, second, third = open_ms(tmp_path)
    assert "study2" in first.problems[0] and len(first.problems) == 1
    assert second.problems == () and len(third.problems) == 2


def raw_tree(root, brainmask):
    folder = root / "raw/patient01"
    for study in ("study1", "study2"):
        touch(folder / f"{study}_FLAIR_to_common_space.txt")
        for name in ("FLAIR", "T1W"):
            touch(folder / f"{study}_{name}.nii.gz")
        touch(folder / f"{study}_T1W_intrastudy_to_FLAIR.txt")
    touch(folder / "gt.nii.gz")
    touch(brainmask / "patient01/brainmask.nii.gz")
    return folder


def test_open_ms_raw(tmp_path):
    folder = raw_tree(tmp_path, tmp_path / "coregistered")
    (one,) = open_ms_raw(tmp_path)
    to_flair = folder / "study2_FLAIR_to_common_space.txt"
    assert one.images["t1", "flair"].transforms == (to_flair,)
    second = folder / "study2_T1W_intrastudy_to_FLAIR.txt"
    assert one.images["t1", "t1w"].transforms == (to_flair, second)
    assert one.reference.path == one.change_truth.path == folder / "gt.nii.gz"
    assert one.brainmask.path == tmp_path / "coregistered/patient01/brainmask.nii.gz"
    assert one.problems == ()


def test_open_ms_raw_says_what_is_missing(tmp_path):
    folder = raw_tree(tmp_path, tmp_path / "elsewhere")
    (folder / "study1_T1W_intrastudy_to_FLAIR.txt").unlink()
    (folder / "gt.nii.gz").unlink()
    (one,) = open_ms_raw(tmp_path)
    assert [
        w for p in one.problems for w in ("study1_T1W_intra", "brainmask_root", "gt") if w in p
    ] == [
        "study1_T1W_intra",
        "brainmask_root",
        "gt",
    ]
    (one,) = open_ms_raw(tmp_path, brainmask_root=str(tmp_path / "elsewhere"))
    assert one.brainmask and len(one.problems) == 2


def test_open_ms_mni(tmp_path):
    root = tmp_path / "cross_sectional/MNI"
    for prefix in ("FLAIR", "T1", "T1POST", "T2", "GOLD_STANDARD"):
        touch(root / f"patient01/{prefix}_reg.nii.gz")
    touch(root / "patient02/GOLD_STANDARD_reg.nii.gz")
    touch(root / "patient03/FLAIR_a.nii.gz")
    touch(root / "patient03/FLAIR_b.nii.gz")
    full, gold, several = open_ms_mni(tmp_path)
    assert {m: s.path.name for (_, m), s in full.images.items()} == {
        "flair": "FLAIR_reg.nii.gz",
        "t1w": "T1_reg.nii.gz",
        "t1ce": "T1POST_reg.nii.gz",
        "t2w": "T2_reg.nii.gz",
    }
    assert full.brainmask.binarize == "nonzero" and full.brainmask.path == full.reference.path
    assert set(full.lesion_truth) == {"t0"} and not full.left_out and not full.problems
    assert gold.left_out and not gold.problems
    assert "FLAIR_a.nii.gz, FLAIR_b.nii.gz" in several.problems[0]


def table(tmp_path, rows, columns="subject,timepoint,modality,path,transform"):
    return touch(tmp_path / "cohort.csv", "\n".join([columns, *rows]) + "\n")


def test_nifti_table(tmp_path):
    (one, two) = nifti_table(
        table(
            tmp_path,
            [
                'anna,T0,FLAIR,"a b/fl,air ""x"".nii.gz",',
                "anna,t1,flair,/abs/flair.nii.gz,one.txt; two.txt",
                "bert,t0,t1w,b.nii.gz,",
                "anna,,brainmask,m.nii.gz,",
                "anna,t1,lesion_truth,l.nii.gz,",
                "anna,,change_truth,c.nii.gz,",
            ],
        )
    )
    assert one.images["t0", "flair"].path == tmp_path / 'a b/fl,air "x".nii.gz'
    assert str(one.images["t1", "flair"].path) == "/abs/flair.nii.gz"
    chain = (tmp_path / "one.txt", tmp_path / "two.txt")
    assert one.images["t1", "flair"].transforms == chain
    assert one.reference == one.images["t0", "flair"]
    assert one.brainmask.path.name == "m.nii.gz" and one.change_truth.path.name == "c.nii.gz"
    assert set(one.lesion_truth) == {"t1"} and not one.problems + two.problems
    assert (one.subject, two.subject) == ("anna", "bert")


def test_nifti_table_problems_stay_with_their_subject(tmp_path):
    subjects = nifti_table(
        table(
            tmp_path,
            [
                "dup,t0,flair,a.nii.gz,",
                "dup,t0,flair,b.nii.gz,",
                "typo,t0,falir,a.nii.gz,",
                "when,baseline,flair,a.nii.gz,",
                "moved,t0,flair,a.nii.gz,x.txt",
                "fine,t0,flair,a.nii.gz,",
            ],
        )
    )
    by_label = {s.subject: " ".join(s.problems) for s in subjects}
    assert "lines 2 and 3" in by_label["dup"]
    assert "'falir'" in by_label["typo"] and "flair" in by_label["typo"]
    assert "'baseline'" in by_label["when"]
    assert "reference" in by_label["moved"]
    assert by_label["fine"] == ""


def test_nifti_table_with_a_reference_role_and_a_bom(tmp_path):
    columns = "\ufeffSubject,Timepoint,Role,Path,Transform"
    rows = ["anna,t0,flair,a.nii.gz,x.txt", "anna,,reference,grid.nii.gz,"]
    (one,) = nifti_table(table(tmp_path, rows, columns))
    assert one.reference.path.name == "grid.nii.gz" and not one.problems


@pytest.mark.parametrize(
    ("columns", "row", "words"),
    [
        ("subject,modality,path", "a,flair,b", "timepoint"),
        ("subject,timepoint,modality,path", "a,t0,flair,", "line 2"),
        ("subject,timepoint,modality,path", "", "no rows"),
    ],
)
def test_nifti_table_that_is_none(tmp_path, columns, row, words):
    with pytest.raises(ConfigError, match=words):
        nifti_table(table(tmp_path, [row] if row else [], columns))


def test_nifti_table_in_another_encoding(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("subject,timepoint,modality,path\nJosé,t0,flair,a".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        nifti_table(path)


def test_duplicate_subjects_are_both_reported(tmp_path):
    path = table(tmp_path, ["a b,t0,flair,1.nii,", "a-b,t0,flair,2.nii,", "c,t0,flair,3.nii,"])
    first, second, other = load_dataset("nifti-table", path)
    assert first.subject == second.subject == "a-b"
    for one in (first, second):
        assert "duplicate" in one.problems[0]
        assert "1.nii" in one.problems[0] and "2.nii" in one.problems[0]
    assert other.problems == ()


def test_subject_without_a_usable_label(tmp_path):
    (one,) = load_dataset("nifti-table", table(tmp_path, ["'..',t0,flair,1.nii,"]))
    assert "label" in one.problems[0]


def bids_tree(root, sessions):
    for ses in sessions:
        parts = [p for p in ("sub-01", ses) if p]
        folder, stem = root.joinpath(*parts), "_".join(parts)
        for name in ("FLAIR", "T1w", "ce-gadolinium_T1w", "T2w"):
            touch(folder / f"anat/{stem}_{name}.nii.gz")
        masks = root.joinpath("derivatives/manual", *parts, "anat")
        touch(masks / f"{stem}_desc-brain_mask.nii.gz")
        touch(masks / f"{stem}_label-lesion_mask.nii.gz")


def test_bids_with_sessions(tmp_path):
    bids_tree(tmp_path, ["ses-10", "ses-9"])
    touch(tmp_path / "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz")
    change = (
        tmp_path / "derivatives/manual/sub-01/ses-10/anat/sub-01_ses-10_label-change_mask.nii.gz"
    )
    touch(change)
    (one,) = bids(tmp_path)
    assert one.subject == "01" and not one.problems
    assert one.sessions == {"t0": "ses-9", "t1": "ses-10"}
    assert set(one.images) == PAIR | {("t0", "t1ce"), ("t1", "t1ce")}
    assert one.images["t0", "t1ce"].path.name == "sub-01_ses-9_ce-gadolinium_T1w.nii.gz"
    assert one.images["t0", "t1w"].path.name == "sub-01_ses-9_T1w.nii.gz"
    assert one.reference == one.images["t0", "flair"]
    assert one.brainmask.path.name == "sub-01_ses-9_desc-brain_mask.nii.gz"
    assert one.change_truth.path == change
    assert one.lesion_truth["t1"].path.name == "sub-01_ses-10_label-lesion_mask.nii.gz"


def test_bids_without_sessions(tmp_path):
    bids_tree(tmp_path, [""])
    (one,) = bids(tmp_path)
    assert {t for t, _ in one.images} == {"t0"} and one.sessions == {} and not one.problems
    assert one.brainmask.path.name == "sub-01_desc-brain_mask.nii.gz"
    assert set(one.lesion_truth) == {"t0"}


def test_bids_masks_of_the_subject_come_first(tmp_path):
    bids_tree(tmp_path, ["ses-1", "ses-2"])
    folder = tmp_path / "derivatives/manual/sub-01"
    own = touch(folder / "anat/sub-01_desc-brain_mask.nii.gz")
    touch(folder / "anat/sub-01_space-MNI152_desc-brain_mask.nii.gz")
    change = touch(folder / "anat/sub-01_desc-change_mask.nii.gz")
    (one,) = bids(tmp_path)
    assert one.brainmask.path == own and one.change_truth.path == change and not one.problems


def test_bids_runs(tmp_path):
    for run in (1, 2):
        touch(tmp_path / f"sub-01/anat/sub-01_run-{run}_FLAIR.nii.gz")
    (one,) = bids(tmp_path)
    assert "run-1" in one.problems[0] and "run-2" in one.problems[0] and "runs" in one.problems[0]
    (one,) = bids(tmp_path, runs="first")
    assert one.images["t0", "flair"].path.name == "sub-01_run-1_FLAIR.nii.gz" and not one.problems
    touch(tmp_path / "sub-01/anat/sub-01_acq-2d_FLAIR.nii.gz")
    (one,) = bids(tmp_path, runs="first")
    assert "3 files" in one.problems[0]


def test_bids_derivatives(tmp_path):
    bids_tree(tmp_path, [""])
    touch(tmp_path / "derivatives/other/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    (one,) = bids(tmp_path)
    assert "manual" in one.problems[0] and "other" in one.problems[0]
    (one,) = bids(tmp_path, derivatives=["derivatives/other"])
    assert "other" in one.brainmask.path.parts and not one.problems
    with pytest.raises(ConfigError, match="absent"):
        bids(tmp_path, derivatives=["derivatives/absent"])


def test_bids_subject_without_images(tmp_path):
    bids_tree(tmp_path, [""])
    (tmp_path / "sub-02").mkdir()
    one, two = bids(tmp_path)
    assert not one.problems and "sub-02" in two.problems[0]


@pytest.mark.real_data
def test_real_trees(real):
    assert [s.subject for s in open_ms(real)] == ["patient01", "patient12"]
    (raw,) = open_ms_raw(real)
    assert raw.brainmask.path.is_file()
    mni = open_ms_mni(real)
    assert [s.subject for s in mni if not s.left_out] == ["patient07", "patient19"]
    assert sum(bool(s.left_out) for s in mni) == 24
    for subject in (*open_ms(real), raw):
        assert set(subject.images) == PAIR and not subject.problems
