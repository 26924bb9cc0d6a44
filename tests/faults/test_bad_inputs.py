"""Is every bad file a clear error of its subject, while the rest of the cohort completes?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import lamstore
from lamstore.study import Study
from tests.running import lam, status_of, tables, write_cohort, write_study

FLAIR = "study2_FLAIR.nii.gz"
AWKWARD = 'Zoë\'s «scan» "1"'


def edited(
    name: str, change: Callable[[NDArray[Any], NDArray[Any]], Any]
) -> Callable[[Path], None]:
    """Change voxels and affine of one file of a subject."""

    def damage(folder: Path) -> None:
        image = nib.load(folder / name)
        changed = change(np.asanyarray(image.dataobj).copy(), image.affine.copy())
        nib.save(nib.Nifti1Image(*changed), folder / name)

    return damage


def with_value(value: float, dtype: str) -> Callable[[NDArray[Any], NDArray[Any]], Any]:
    def change(voxels: NDArray[Any], affine: NDArray[Any]) -> Any:
        voxels = voxels.astype(dtype)
        voxels[20, 25, 7] = value
        return voxels, affine

    return change


def moved(voxels: NDArray[Any], affine: NDArray[Any]) -> Any:
    affine[0, 3] += 1.0
    return voxels, affine


def flipped(voxels: NDArray[Any], affine: NDArray[Any]) -> Any:
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = voxels.shape[0] - 1
    return voxels[::-1], affine @ turned


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (
        lambda f: (f / FLAIR).write_bytes((f / FLAIR).read_bytes()[:9000]), FLAIR, "truncated",
    ),
    "not-nifti": (lambda f: (f / FLAIR).write_bytes(b"hello, I am text" * 99), FLAIR, ""),
    "four-d": (edited(FLAIR, lambda v, a: (np.stack([v, v], -1), a)), FLAIR, "three axes"),
    "zero-size": (lambda f: (f / FLAIR).write_bytes(b""), FLAIR, ""),
    "with-nan": (edited(FLAIR, with_value(np.nan, "f4")), FLAIR, "NaN"),
    "with-inf": (edited(FLAIR, with_value(np.inf, "f4")), FLAIR, ""),
    "no-brain": (edited("brainmask.nii.gz", lambda v, a: (v * 0, a)), "brainmask", "empty"),
    "mask-of-7": (edited("gt.nii.gz", with_value(7, "u1")), "gt.nii.gz", "not a mask"),
    "moved": (edited(FLAIR, moved), FLAIR, "affine"),
    "flipped": (edited(FLAIR, flipped), FLAIR, "affine"),
    "other-shape": (edited(FLAIR, lambda v, a: (v[:-1], a)), FLAIR, "shape"),
    "no-flair": (lambda f: (f / FLAIR).unlink(), "flair", "missing"),
}  # fmt: skip
"""What is done to a subject; the file (or modality) that must be named, and a word of why."""


def big_endian(folder: Path) -> None:
    image = nib.load(folder / FLAIR)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(image.get_data_dtype().newbyteorder(">"))
    swapped = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, header)
    nib.save(swapped, folder / FLAIR)
    assert nib.load(folder / FLAIR).header.endianness == ">"


def scaled(folder: Path) -> None:
    image = nib.load(folder / FLAIR)
    voxels = np.asanyarray(image.dataobj)
    out = nib.Nifti1Image((voxels * 2).astype(np.int16), image.affine)
    out.header.set_slope_inter(0.5, 0.0)
    nib.save(out, folder / FLAIR)
    assert nib.load(folder / FLAIR).dataobj.slope == 0.5


GOOD: dict[str, Callable[[Path], object]] = {
    "good": lambda folder: None,
    "big-endian": big_endian,
    "scaled": scaled,
    AWKWARD: lambda folder: None,
}
LABELS = {name: name for name in GOOD} | {AWKWARD: "Zoë-s-scan-1"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, str]:
    """A study with every bad input at once, after one run, and what the run said."""
    home = tmp_path_factory.mktemp("bad inputs") / "l'étude «deux»"
    tree = write_cohort(home / "données d'été", 1)
    folders = tree / "longitudinal" / "coregistered"
    pattern = folders / "patient01"
    for name, (damage, _, _) in BAD.items():
        damage(Path(shutil.copytree(pattern, folders / name)))
    for name, change in GOOD.items():
        change(Path(shutil.copytree(pattern, folders / name)))
    shutil.copytree(pattern, folders / "twice 1")
    pattern.rename(folders / "twice-1")
    study = write_study(home / 'study\'s "1"', tree, shifts={"names": []})
    said = lam("run", study.path, "--workers", 2, status=1)
    return study, said


def test_the_rest_of_the_cohort_completes(ran: tuple[Study, str]):
    study, said = ran
    assert "Traceback" not in said
    assert set(tables(study)["longitudinal_metrics"]["subject"]) == set(LABELS.values())
    counts = {job["job"]: (job["done"], job["failed"]) for job in status_of(study)["jobs"]}
    assert counts["ingest"] == (len(GOOD), len(BAD) + 1)
    assert counts["infer"][0] >= 2 * len(GOOD)
    assert counts["infer"][1] == counts["compare"][1] == 0
    assert counts["report"] == (1, 0)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_its_subject(ran: tuple[Study, str], name: str):
    study, _ = ran
    _, file, word = BAD[name]
    failures = {f["unit"]: f["message"] for f in status_of(study)["failures"]}
    message = failures[f"ingest//{name}//"]
    assert name in message
    assert file in message
    assert word in message
    assert "Traceback" not in message


def test_a_subject_that_comes_twice_is_named_with_both_folders(ran: tuple[Study, str]):
    failures = {f["unit"]: f["message"] for f in status_of(ran[0])["failures"]}
    message = failures["ingest//twice-1//"]
    assert "twice 1" in message
    assert "twice-1" in message


@pytest.mark.parametrize("name", GOOD)
def test_unusual_files_read_right(ran: tuple[Study, str], name: str):
    study, _ = ran
    file = study.config.dataset.root / "longitudinal" / "coregistered" / name / FLAIR
    volume = lamstore.open(study.path).volume.sel(subject=LABELS[name], timepoint="t1")
    cut = volume.sel(modality="flair").lam.crop()
    np.testing.assert_array_equal(cut.values, nib.load(file).get_fdata())


def test_all_unusual_files_give_the_same_results(ran: tuple[Study, str]):
    table = tables(ran[0])["longitudinal_metrics"].drop(columns=["subject"])
    for _, row in table.iterrows():
        assert row.equals(table.iloc[0])


def test_nothing_of_a_bad_subject_is_in_the_store(ran: tuple[Study, str]):
    study, _ = ran
    tree = lamstore.open(study.path)
    for subject in set(tree.subject.values) - set(LABELS.values()):
        assert not tree["/engines/flair-zscore"].to_dataset().mask.sel(subject=subject).any()


def test_verify_is_clean_in_spite_of_failures(ran: tuple[Study, str]):
    assert "0 damaged" in lam("verify", ran[0].path)


def test_status_shows_failures_as_text(ran: tuple[Study, str]):
    said = lam("status", ran[0].path)
    assert "truncated" in said
    assert "Traceback" not in said


def test_mending_a_file_completes_its_subject(ran: tuple[Study, str]):
    study, _ = ran
    folders = study.config.dataset.root / "longitudinal" / "coregistered"
    shutil.copy(folders / "good" / FLAIR, folders / "with-nan" / FLAIR)
    lam("run", study.path, status=1)
    assert "with-nan" in set(tables(study)["longitudinal_metrics"]["subject"])
