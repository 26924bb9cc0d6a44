"""Do the commands that look at a finished study say and write what is there?"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

import lamstore
from lamstore.store import Store
from lamstore.study import Study
from tests.running import METRICS, assert_same_tables, lam, snapshot, status_of, tables

UNITS = {"ingest": 2, "infer": 6, "compare": 4, "cohort": 1, "report": 1}


def test_status_counts_every_job(finished: Study):
    said = status_of(finished)
    assert said["complete"] is True
    assert said["failures"] == []
    assert {job["job"]: job["done"] for job in said["jobs"]} == UNITS
    assert all(job["failed"] == job["pending"] == job["blocked"] == 0 for job in said["jobs"])
    text = lam("status", finished.path)
    assert "infer" in text
    assert "Next:" not in text


def test_status_of_a_study_that_never_ran(finished_once: Path, tmp_path: Path):
    home = tmp_path / "new"
    lam("new", home, "--dataset", "open-ms", "--root", finished_once / "cohort")
    said = status_of(Study.at(home))
    assert {job["job"]: job["pending"] for job in said["jobs"]}["ingest"] == 2
    assert not (home / "store.zarr").exists()


def test_verify_is_clean(finished: Study):
    assert "8 units checked, 0 damaged" in lam("verify", finished.path)


def test_verify_finds_what_is_torn_missing_or_altered_and_redo_mends_it(
    finished: Study, finished_once: Path
):
    store = Store(finished.store_path, writable=True)
    mask = "engines/flair-zscore/mask"
    at = {"subject": "patient01", "timepoint": "t1", "shift": "none"}
    (torn,) = store.shard_paths("volume", subject="patient02", timepoint="t0")
    torn.write_bytes(torn.read_bytes()[:-100])
    store.clear("engines/flair-zscore/probability", **at)
    store.write(
        mask, 1 - store.read(mask, **at | {"timepoint": "t0"})[0, 0, 0], **at | {"timepoint": "t0"}
    )
    said = lam("verify", finished.path, status=1)
    assert "8 units checked, 3 damaged arrays" in said
    assert "ingest patient02: volume@t0 cannot be read" in said
    assert "infer flair-zscore patient01 t1 none: engines/flair-zscore/probability" in said
    assert "infer flair-zscore patient01 t0 none: engines/flair-zscore/mask" in said
    assert "--redo" in said
    lam("verify", finished.path, "--redo", status=1)
    pending = {job["job"]: job["pending"] for job in status_of(finished)["jobs"]}
    assert (pending["ingest"], pending["infer"]) == (1, 2)
    lam("run", finished.path)
    lam("verify", finished.path)
    assert_same_tables(finished, Study.at(finished_once / "study"))


def test_tables_are_written_again(finished: Study, finished_once: Path):
    for path in finished.tables.iterdir():
        path.unlink()
    said = lam("tables", finished.path)
    assert "longitudinal_metrics.csv" in said
    assert set(tables(finished)) == set(METRICS)
    assert_same_tables(finished, Study.at(finished_once / "study"), METRICS)
    assert {p.suffix for p in finished.tables.iterdir()} >= {".csv", ".parquet"}


def test_export_to_nifti(finished: Study, tmp_path: Path):
    lam("export", finished.path, "--format", "nifti", "--out", tmp_path / "out ä")
    files = snapshot(tmp_path / "out ä")
    assert "flair-zscore/patient01/t1_gamma-1_mask.nii.gz" in files
    assert "inputs/patient02/t0_volume_flair.nii.gz" in files
    cohort = finished.path.parent / "cohort/longitudinal/coregistered"
    ours = nib.load(tmp_path / "out ä/inputs/patient02/t0_volume_flair.nii.gz")
    theirs = nib.load(cohort / "patient02/study1_FLAIR.nii.gz")
    np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    mask = nib.load(tmp_path / "out ä/flair-zscore/patient01/t1_mask.nii.gz")
    ds = lamstore.open(finished.path, engine="flair-zscore")
    at = {"subject": "patient01", "timepoint": "t1", "shift": "none"}
    np.testing.assert_array_equal(mask.get_fdata(), ds.mask.sel(at).lam.crop().values)
    assert "not empty" in lam("export", finished.path, "--out", tmp_path / "out ä", status=2)


def test_export_of_one_subject(finished: Study, tmp_path: Path):
    lam("export", finished.path, "--out", tmp_path / "one", "--subject", "patient02")
    assert {Path(path).parts[1] for path in snapshot(tmp_path / "one")} == {"patient02"}
    said = lam("export", finished.path, "--out", tmp_path / "no", "--subject", "x", status=2)
    assert "no subject 'x'" in said


def test_export_to_hdf5_opens_as_the_study_does(finished: Study, tmp_path: Path):
    lam("export", finished.path, "--format", "hdf5", "--out", tmp_path / "all.h5")
    ours = lamstore.open(tmp_path / "all.h5", engine="flair-zscore")
    theirs = lamstore.open(finished.path, engine="flair-zscore")
    assert set(ours.variables) == set(theirs.variables)
    for name in theirs.variables:
        assert ours[name].dims == theirs[name].dims
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(ours[name].values, theirs[name].values, err_msg=str(name))
    assert "there already" in lam(
        "export", finished.path, "--format", "hdf5", "--out", tmp_path / "all.h5", status=2
    )


def test_a_volume_of_the_view_is_that_of_the_tables(finished: Study):
    rows = tables(finished)["longitudinal_metrics"].set_index(["subject", "shift"])
    volumes = lamstore.open(finished.path, engine="flair-zscore").lam.volume_mm3().compute()
    for subject in ("patient01", "patient02"):
        row = rows.loc[(subject, "gamma-1")]
        after = float(volumes.sel(subject=subject, timepoint="t1", shift="gamma-1"))
        before = float(volumes.sel(subject=subject, timepoint="t0", shift="none"))
        assert row["delta_lesion_vol_mm3"] == after - before


def test_what_is_no_study_is_said_with_the_command(tmp_path: Path):
    for command in ("run", "status", "verify", "tables"):
        said = lam(command, tmp_path / "nothing", status=2)
        assert "no study" in said
        assert "lam new" in said
        assert "Traceback" not in said


def test_provenance_holds_no_more_than_it_should(finished: Study):
    (header, *_) = finished.ledger.headers()
    assert {"versions", "study_digest", "command", "host"} <= set(header)
    assert json.dumps(lamstore.open(finished.path).attrs["provenance"])
