"""Harmonizations of a study: what is computed, frozen, redone, opened and compared."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import lamstore
from analysis.protection import protection
from analysis.tables import normalise_longitudinal
from hpc.run import make_plan
from jobs.phantom import default_cohort, generate_subject, write_open_ms
from jobs.workbench import Workbench
from lamstore.config import StudyConfig
from lamstore.errors import MissingArrayError
from lamstore.study import Study
from tests.running import change_study, did, lam, ledger_files, write_cohort, write_study

ENGINE = "flair-zscore"
ALL = ["none", "histogram", "median", "nyul"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harmonized")
    write_cohort(folder / "cohort", 2)
    study = write_study(folder / "study", folder / "cohort", harmonizations=["nyul"])
    lam("run", study.path, "--workers", 2)
    # Added afterwards: only their units may be done.
    before = ledger_files(study)
    study = change_study(study, harmonizations=["median", "histogram", "nyul"])
    lam("run", study.path, "--workers", 2)
    (folder / "did.json").write_text(
        json.dumps({job: sorted(units) for job, units in did(study, before).items()})
    )
    return folder


@pytest.fixture
def study(home):
    return Study.at(home / "study")


def test_none_is_always_there_and_first():
    dataset = {"adapter": "open-ms", "root": "."}
    config = StudyConfig.model_validate({"dataset": dataset, "harmonizations": ["nyul", "nyul"]})
    assert config.harmonizations == ("none", "nyul")
    assert [variant.name for variant in config.variants] == [ENGINE, f"{ENGINE}+nyul"]


def test_adding_a_harmonization_ingests_and_infers_nothing_else(home, study):
    done = json.loads((home / "did.json").read_text())
    assert "ingest" not in done
    new = list(study.ledger.records("infer", "done"))
    names = {unit.engine for unit in (r.unit for r in new)}
    assert names == {ENGINE, *(f"{ENGINE}+{h}" for h in ("median", "histogram", "nyul"))}
    # Two subjects, baseline plus follow-up under two shifts; labels coincide over harmonizations.
    assert len(done["infer"]) == 6
    assert len(new) == 4 * 6


def test_all_harmonizations_open_along_a_labelled_dim(study):
    ds = lamstore.open(study.path, engine=ENGINE, harmonization="all")
    assert ds.harmonization.values.tolist() == ALL
    assert "harmonization" not in ds.volume.dims
    assert ds.mask.chunksizes["harmonization"] == (1,) * 4
    for name in ALL:
        one = lamstore.open(study.path, engine=ENGINE, harmonization=name)
        assert one.mask.equals(ds.mask.sel(harmonization=name, drop=True))
        np.testing.assert_array_equal(
            one.delta_lesion_vol_mm3, ds.delta_lesion_vol_mm3.sel(harmonization=name)
        )


def test_a_harmonization_that_is_not_there_is_an_error(study):
    with pytest.raises(MissingArrayError, match="whitestripe"):
        lamstore.open(study.path, engine=ENGINE, harmonization="whitestripe")


def test_relative_harmonizations_leave_the_baseline_alone(study):
    ds = lamstore.open(study.path, engine=ENGINE, harmonization="all")
    first = ds.mask.sel(timepoint="t0", shift="none")
    for name in ("median", "histogram"):
        assert first.sel(harmonization=name, drop=True).equals(
            first.sel(harmonization="none", drop=True)
        )


def test_the_engine_sees_the_shifted_image_matched_to_its_baseline(study):
    bench = Workbench(study)
    subject = bench.store.labels("subject")[0]
    brain = bench.brainmask(subject)
    seen = bench.prepared(f"{ENGINE}+histogram", subject, "t1", "gamma-1", {"flair"})["flair"]
    shifted = bench.prepared(ENGINE, subject, "t1", "gamma-1", {"flair"})["flair"]
    baseline = bench.images(subject, "t0")["flair"]
    deciles = np.arange(10, 91, 10)
    target, before, after = (
        np.percentile(image[brain], deciles) for image in (baseline, shifted, seen)
    )
    assert np.abs(after - target).max() < 0.02 * np.ptp(target)
    assert np.abs(after - target).max() < 0.2 * np.abs(before - target).max()


def test_tables_name_the_harmonization_and_protection_uses_it(study):
    table = pd.read_csv(study.tables / "longitudinal_metrics.csv", keep_default_na=False)
    assert set(table["harmonization"]) == set(ALL)
    assert set(table["engine"]) == {ENGINE}
    assert not table.duplicated(["subject", "shift", "harmonization"]).any()
    found = protection(normalise_longitudinal(table.replace("", np.nan)))
    assert set(found.removed["harmonization"]) == {"median", "histogram", "nyul"}
    assert (study.tables / "protection.csv").exists()
    for name in ("uncertainty_metrics", "segmentation_metrics"):
        other = pd.read_csv(study.tables / f"{name}.csv", keep_default_na=False)
        assert set(other["harmonization"]) == set(ALL)


def test_the_standard_scale_is_frozen_and_new_subjects_do_not_move_it(home, tmp_path):
    shutil.copytree(home, tmp_path / "copy")
    cohort = tmp_path / "copy" / "cohort"
    specs = default_cohort(3, scale=0.3)
    write_open_ms([generate_subject(specs[2])], cohort)
    study = Study.at(tmp_path / "copy" / "study")
    body = (study.path / "study.yaml").read_text()
    (study.path / "study.yaml").write_text(body.replace(str(home), str(tmp_path / "copy")))
    study = Study.at(study.path)
    frozen = (study.path / "harmonization" / "nyul-flair.json").read_bytes()
    before = ledger_files(study)
    lam("run", study.path, "--workers", 2)
    assert (study.path / "harmonization" / "nyul-flair.json").read_bytes() == frozen
    assert len(json.loads(frozen)["scans"]) == 2
    subjects = {label.split("/")[0] for label in did(study, before)["infer"]}
    assert specs[2].subject in subjects


def test_a_scale_learned_anew_makes_its_units_stale_and_no_others(home, tmp_path):
    shutil.copytree(home, tmp_path / "copy")
    study = Study.at(tmp_path / "copy" / "study")
    path = study.path / "harmonization" / "nyul.json"
    body = json.loads(path.read_text())
    body["scans"].popitem()
    path.write_text(json.dumps(body))
    plan = make_plan(study, keep=False)
    words = plan.words()
    from hpc.plan import left

    stale = {unit.engine for unit in left([*plan.wanted.infer, *plan.wanted.compare], words)}
    assert stale == {f"{ENGINE}+nyul"}
