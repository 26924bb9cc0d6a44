"""Does a rerun do what is missing or changed, all of it and nothing else?"""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import lamstore
from hpc.execute import execute
from hpc.run import make_plan, prepare_store
from jobs.phantom import default_cohort, generate_subject, write_open_ms
from jobs.workbench import Workbench
from lamstore.ledger import LedgerFile
from lamstore.store import Store
from lamstore.study import Study
from tests.running import (
    METRICS,
    SMALL,
    assert_same_tables,
    change_study,
    did,
    lam,
    ledger_files,
    snapshot,
    status_of,
    tables,
    write_cohort,
    write_study,
)

EVERY_INFER = {f"patient0{i}/{at}" for i in (1, 2) for at in ("t0/none", "t1/none", "t1/gamma-1")}
EVERY_COMPARE = {f"patient0{i}/{shift}" for i in (1, 2) for shift in ("none", "gamma-1")}
END = {"cohort": {""}, "report": {""}}


def cohort_of(study: Study) -> Path:
    """Folder of the subjects of a finished study."""
    return study.path.parent / "cohort" / "longitudinal" / "coregistered"


def rerun(study: Study) -> dict[str, set[str]]:
    """Run what is left; gives what was done. The study is whole afterwards."""
    before = ledger_files(study)
    lam("run", study.path, "--workers", 2)
    assert status_of(study)["complete"]
    return did(study, before)


def voxel_files(study: Study) -> dict[str, tuple[int, int]]:
    """Shards of the store by path."""
    every = snapshot(study.store_path)
    names = ("volume/c/", "brainmask/c/", "truth/c/", "mask/c/", "probability/c/", "uncertainty/c/")
    mine = {path for path in every if "/metrics/" not in path and any(n in path for n in names)}
    return {path: every[path] for path in mine}


def test_a_second_run_does_nothing(finished: Study):
    lam("run", finished.path)  # the copy has learnt by now where its files lie
    before = snapshot(finished.path)
    said = lam("run", finished.path)
    assert "nothing to do" in said
    after = snapshot(finished.path)
    before.pop(".lock"), after.pop(".lock")
    assert after == before


def test_looking_changes_nothing(finished: Study):
    before = snapshot(finished.path)
    lam("status", finished.path)
    lam("verify", finished.path)
    lamstore.open(finished.path, engine="flair-zscore").mask.sum().compute()
    assert snapshot(finished.path) == before


def test_a_new_shift_computes_only_that_shift(finished: Study):
    before = voxel_files(finished)
    study = change_study(finished, shifts={"names": ["gamma", "blur"], "levels": [1]})
    assert rerun(study) == {
        "infer": {"patient01/t1/blur-1", "patient02/t1/blur-1"},
        "compare": {"patient01/blur-1", "patient02/blur-1"},
        **END,
    }
    after = voxel_files(study)
    assert {path: after[path] for path in before} == before
    ds = lamstore.open(study.path, engine="flair-zscore")
    assert ds["shift"].values.tolist() == ["none", "gamma-1", "blur-1"]
    assert set(tables(study)["longitudinal_metrics"]["shift"]) == {"none", "gamma-1", "blur-1"}


def test_a_metric_parameter_redoes_comparisons(finished: Study):
    before, old = voxel_files(finished), tables(finished)["longitudinal_metrics"]
    study = change_study(finished, metrics={"min_component_mm3": 500.0, "dilation_radius_mm": 12.0})
    assert rerun(study) == {"compare": EVERY_COMPARE, **END}
    assert voxel_files(study) == before
    assert not tables(study)["longitudinal_metrics"].equals(old)


def test_engine_options_redo_inference_and_what_follows(finished: Study):
    study = change_study(
        finished,
        engines=[{"engine": "flair-zscore", "options": {"min_component_mm3": 200.0}}],
    )
    inputs = {p: s for p, s in voxel_files(finished).items() if not p.startswith("engines")}
    assert rerun(study) == {"infer": EVERY_INFER, "compare": EVERY_COMPARE, **END}
    assert {p: s for p, s in voxel_files(study).items() if not p.startswith("engines")} == inputs


def test_a_changed_file_redoes_its_subject_alone(finished: Study):
    os.utime(cohort_of(finished) / "patient02" / "study2_FLAIR.nii.gz")
    assert rerun(finished) == {
        "ingest": {"patient02"},
        "infer": {label for label in EVERY_INFER if "02" in label},
        "compare": {label for label in EVERY_COMPARE if "02" in label},
        **END,
    }


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_file_changed_back_after_a_kill_is_read_again(
    finished: Study, finished_once: Path, monkeypatch: pytest.MonkeyPatch
):
    flair = cohort_of(finished) / "patient01" / "study1_FLAIR.nii.gz"
    body, stat = flair.read_bytes(), flair.stat()
    image = nib.load(flair)
    other = np.asanyarray(image.dataobj)[::-1]
    nib.save(nib.Nifti1Image(other, image.affine), flair)
    _ingest_and_die(finished, "patient01", monkeypatch)
    stored = Store(finished.store_path).read("volume", subject="patient01", timepoint="t0")
    assert np.array_equal(stored[0, 0, 0], other), "the other file's voxels are in the store"
    flair.write_bytes(body)
    os.utime(flair, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert rerun(finished)["ingest"] == {"patient01"}
    lam("verify", finished.path)
    assert_same_tables(finished, Study.at(finished_once / "study"))


def _ingest_and_die(study: Study, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run does that is killed when the first timepoint of a subject is written."""
    plan = make_plan(study)
    prepare_store(plan)
    (unit,) = (u for u in plan.wanted.ingest if u.subject == subject)
    real = Store.write

    def dying(self: Store, name: str, *arguments: object, **at: str) -> str:
        written = real(self, name, *arguments, **at)
        if name == "volume":
            raise Killed
        return written

    with monkeypatch.context() as patch, LedgerFile(study.ledger.folder, "0-killed", {}) as ledger:
        patch.setattr(Store, "write", dying)
        with pytest.raises(Killed):
            execute(Workbench(study), ledger, unit, again=True)


def test_a_new_subject_is_all_that_is_done(finished: Study):
    before = voxel_files(finished)
    _add(finished, 3)
    assert rerun(finished) == {
        "ingest": {"patient03"},
        "infer": {"patient03/t0/none", "patient03/t1/none", "patient03/t1/gamma-1"},
        "compare": {"patient03/none", "patient03/gamma-1"},
        **END,
    }
    after = voxel_files(finished)
    assert {path: after[path] for path in before} == before
    assert len(tables(finished)["longitudinal_metrics"]) == 6


def _add(study: Study, number: int) -> None:
    """One more brain, larger than those that are there."""
    spec = default_cohort(number, scale=SMALL)[number - 1]
    write_open_ms([generate_subject(spec)], study.path.parent / "cohort")


def test_a_study_opens_right_between_planning_and_the_next_results(finished: Study):
    _add(finished, 3)
    prepare_store(make_plan(finished))
    ds = lamstore.open(finished.path, engine="flair-zscore")
    assert ds.subject.values.tolist() == ["patient01", "patient02", "patient03"]
    assert float(ds.mask.sel(subject="patient03").sum()) == 0
    assert np.isnan(ds["delta_lesion_vol_mm3"].sel(subject="patient03")).all()
    assert ds["delta_lesion_vol_mm3"].sel(subject="patient01").notnull().all()
    assert lamstore.open(finished.path).volume.sel(subject="patient02").any().compute()


def test_a_study_opens_before_any_metric_is_there(finished_once: Path, tmp_path: Path):
    study = write_study(tmp_path / "study", finished_once / "cohort")
    prepare_store(make_plan(study))
    ds = lamstore.open(study.path, engine="flair-zscore")
    assert "delta_lesion_vol_mm3" not in ds
    assert float(ds.lam.volume_mm3().sum()) == 0.0
    assert "flair-zscore" in repr(lamstore.open(study.path))


def test_tables_do_not_depend_on_the_number_of_workers(finished_once: Path, tmp_path: Path):
    study = write_study(tmp_path / "study", finished_once / "cohort")
    lam("run", study.path, "--workers", 1)
    assert_same_tables(study, Study.at(finished_once / "study"))


def test_a_removed_subject_leaves_the_tables_and_comes_back_for_nothing(finished: Study):
    dataset = {"adapter": "open-ms", "root": "../cohort"}
    study = change_study(finished, dataset=dataset | {"subjects": ["patient02"]})
    assert rerun(study) == END
    for name in METRICS:
        assert set(tables(study)[name]["subject"]) == {"patient02"}
    whole = change_study(study, dataset=dataset)
    assert rerun(whole) == END, "its voxels and results were kept"
    assert set(tables(whole)["longitudinal_metrics"]["subject"]) == {"patient01", "patient02"}


def test_a_truth_that_is_gone_is_gone_from_the_store(finished: Study):
    assert lamstore.open(finished.path).change_truth.sel(subject="patient01").any().compute()
    (cohort_of(finished) / "patient01" / "gt.nii.gz").unlink()
    rerun(finished)
    truth = lamstore.open(finished.path).change_truth
    assert not truth.sel(subject="patient01").any().compute()
    assert truth.sel(subject="patient02").any().compute()
    rows = tables(finished)["longitudinal_metrics"].set_index("subject")
    assert rows.loc["patient01", "dice_chg_sym_cons"].isna().all()


def test_two_engines_side_by_side(finished: Study):
    engines = [
        {"engine": "flair-zscore"},
        {"engine": "flair-zscore", "label": "strict", "options": {"min_component_mm3": 200.0}},
    ]
    study = change_study(finished, engines=engines)
    assert rerun(study) == {"infer": EVERY_INFER, "compare": EVERY_COMPARE, **END}
    assert set(tables(study)["longitudinal_metrics"]["engine"]) == {"flair-zscore", "strict"}
    # Opened by its collected metadata, which must know both engines' metrics.
    assert '"consolidated_metadata"' in (study.store_path / "zarr.json").read_text()
    for name in ("flair-zscore", "strict"):
        assert lamstore.open(study.path, engine=name)["delta_lesion_vol_mm3"].notnull().all()


def test_stored_shifted_images_are_those_the_engine_saw(finished: Study):
    study = change_study(
        finished, shifts={"names": ["gamma"], "levels": [1], "store_shifted": True}
    )
    write_cohort(study.path.parent / "cohort", 1)  # the same bytes: but touched, so read again
    rerun(study)
    found = lamstore.open(study.path)["/shifted"].to_dataset().volume
    at = {"subject": "patient01", "timepoint": "t1", "shift": "gamma-1"}
    images = Workbench(study).shifted("patient01", "t1", "gamma-1", {"flair"})
    np.testing.assert_array_equal(found.sel(at).isel(modality=0).lam.crop().values, images["flair"])
