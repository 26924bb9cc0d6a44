"""Does a study of a localizer go through everything that a study goes through?"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

import lamstore
from hpc.commands.making import _options
from hpc.describe import describe
from hpc.run import make_plan
from jobs.workbench import Workbench
from lamstore.errors import ConfigError, MissingArrayError
from lamstore.study import Study
from tests.running import change_study, did, lam, ledger_files, snapshot, status_of
from tests.spine.balls import SHAPE, spine_grid, write_spine_study
from tests.spine.spots import LEVELS

PRIOR = [f"{level}_{m}" for level in LEVELS for m in ("confidence", "entropy", "spatial_entropy")]


def table(study: Study, name: str = "lstv_uncertainty_metrics") -> pd.DataFrame:
    return pd.read_csv(study.tables / f"{name}.csv", index_col="study_id")


class TestStore:
    def test_heatmaps_are_labelled_and_nothing_of_a_segmenter_is_there(self, screened):
        ds = lamstore.open(screened.path, engine="spots")
        assert ds.heatmap.dims == ("subject", "timepoint", "shift", "level", "x", "y", "z")
        assert ds.heatmap.dtype == np.float16
        assert ds.level.values.tolist() == list(LEVELS)
        assert not {"mask", "probability", "uncertainty", "brainmask", "member"} & set(ds.variables)

    def test_a_level_is_where_its_ball_is(self, screened):
        one = lamstore.open(screened.path, engine="spots").sel(subject="normal", shift="none")
        image = one.heatmap.sel(timepoint="t0", level="l4_l5").lam.to_nifti()
        assert image.shape == SHAPE
        voxel = np.unravel_index(np.asarray(image.dataobj).argmax(), SHAPE)
        place = nib.affines.apply_affine(spine_grid().matrix, voxel)
        assert abs(place[2] - -32) <= 9  # anywhere in the ball, which is equally bright

    def test_metrics_are_those_of_the_ledger(self, screened):
        ds = lamstore.open(screened.path, engine="spots")
        for record in screened.ledger.records("infer", "done"):
            at = {"subject": record.unit.subject, "timepoint": "t0", "shift": record.unit.shift}
            assert float(ds["l5_s1_entropy"].sel(at)) == record.result["heatmaps"]["l5_s1_entropy"]

    def test_there_is_no_volume_of_a_mask(self, screened):
        with pytest.raises(MissingArrayError, match="no mask"):
            lamstore.open(screened.path, engine="spots").lam.volume_mm3()

    def test_export_gives_a_file_a_level_and_reads_back(self, screened, tmp_path):
        lam("export", screened.path, "--out", tmp_path / "nifti", "--subject", "normal")
        names = {path.name for path in (tmp_path / "nifti/spots/normal").iterdir()}
        assert {f"t0_heatmap_{level}.nii.gz" for level in LEVELS} < names
        lam("export", screened.path, "--format", "hdf5", "--out", tmp_path / "all.h5")
        both = [lamstore.open(p, engine="spots") for p in (screened.path, tmp_path / "all.h5")]
        stored, exported = (ds.heatmap.sel(subject="swapped").values for ds in both)
        np.testing.assert_array_equal(stored, exported)
        assert both[1].level.values.tolist() == list(LEVELS)


class TestTables:
    def test_the_columns_of_the_prior_come_first_exactly(self, screened):
        header = (screened.tables / "lstv_uncertainty_metrics.csv").read_text().splitlines()[0]
        assert header.split(",")[:17] == ["study_id", "series_id", *PRIOR]

    def test_a_row_a_study_as_acquired_and_the_shifts_apart(self, screened):
        assert table(screened).index.tolist() == ["normal", "swapped", "without"]
        shifted = table(screened, "lstv_uncertainty_shifts")
        assert shifted.groupby("shift").size().to_dict() == {"gamma-1": 3, "none": 3}

    def test_what_the_spines_are_is_what_the_measures_say(self, screened):
        found = table(screened)
        assert found.chain_levels.to_dict() == {"normal": 5, "swapped": 3, "without": 4}
        assert found.order_violations.to_dict() == {"normal": 0, "swapped": 1, "without": 0}
        assert found.l5_s1_confidence["without"] == 0
        assert found.l5_s1_entropy["without"] == pytest.approx(np.log(25600))
        assert found.l5_s1_off_chain_mass.to_dict() == {"normal": 0, "swapped": 1, "without": 1}
        assert found.l5_s1_peak_z_mm["normal"] == pytest.approx(-66, abs=1)
        assert found.l5_s1_spacing_mm["normal"] == pytest.approx(34, abs=1)

    def test_series_are_what_ingest_recorded(self, screened):
        """A NIfTI table names no series: the column is there, and empty."""
        assert table(screened).series_id.isna().all()


class TestRerun:
    def test_nothing_is_left_and_nothing_is_compared(self, screened):
        jobs = {job["job"]: job for job in status_of(screened)["jobs"]}
        assert jobs["infer"]["done"] == 6
        assert jobs["compare"] == {
            "job": "compare", "done": 0, "failed": 0, "pending": 0, "blocked": 0,
        }  # fmt: skip
        before = snapshot(screened.store_path)
        assert "nothing to do" in lam("run", screened.path)
        assert snapshot(screened.store_path) == before

    def test_a_parameter_of_the_measures_redoes_them_and_not_the_ingest(self, screened):
        before = ledger_files(screened)
        change_study(screened, heatmaps={"chain_radius_mm": 80.0})
        lam("run", screened.path, "--workers", 1)
        done = did(screened, before)
        assert "ingest" not in done
        assert len(done["infer"]) == 6

    def test_a_threshold_redoes_the_report_alone(self, screened):
        before = ledger_files(screened)
        change_study(screened, screening={"high_entropy": 6.0})
        lam("run", screened.path, "--workers", 1)
        assert set(did(screened, before)) == {"report"}

    def test_torn_heatmaps_are_found_and_redone(self, screened):
        shard = next((screened.store_path / "engines/spots/heatmap/c").rglob("[0-9]*"))
        shard = max((p for p in shard.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 0xFF
        shard.write_bytes(data)
        assert "1 damaged arrays" in lam("verify", screened.path, "--redo", status=1)
        lam("run", screened.path, "--workers", 1)
        assert "0 damaged arrays" in lam("verify", screened.path)


def test_a_subject_draws_a_picture(screened):
    said = lam("run", screened.path, "--subject", "without", "--workers", 1)
    assert "nothing to do" in said
    assert (screened.figures / "debug/without_spots.png").stat().st_size > 10_000
    picture = lamstore.open(screened.path, engine="spots").sel(subject="without").lam.overlay()
    titles = [text.get_text() for text in picture.texts]
    assert {"T2w t0, all levels", "L4/L5", "L5/S1"} <= set(titles)
    assert "not seen: L5/S1" in titles
    assert "maximum 0.00, slice 1" in titles


def test_both_kinds_in_one_study_are_refused(screened):
    study = change_study(screened, engines=[{"engine": "spots"}, {"engine": "flair-zscore"}])
    with pytest.raises(ConfigError, match="segmenters or localizers"):
        make_plan(study, keep=False)


def test_without_a_brain_mask_the_field_of_view_is_the_brain(screened):
    assert Workbench(screened).brainmask("normal").all()
    assert Workbench(screened).brainmask("normal").shape == SHAPE


def test_a_study_of_a_brain_dataset_still_wants_masks(screened, tmp_path, spots):
    root = screened.config.dataset.root
    section = {"adapter": "nifti-table", "root": str(root), "modalities": ["t2w"]}
    study = write_spine_study(tmp_path / "brains", root, dataset=section)
    assert "no brain mask" in lam("check", study.path, status=1)


class TestNew:
    def test_spines_have_their_own_defaults(self, tmp_path):
        config = describe("rsna-lumbar", tmp_path)
        assert config.dataset.modalities == ("t2w",)
        assert config.dataset.optional_modalities == ()
        assert [e.engine for e in config.engines] == ["vertebra-heatmap"]
        assert config.shifts.names == ()
        brains = describe("open-ms", tmp_path)
        assert [e.engine for e in brains.engines] == ["unet"]
        assert len(brains.shifts.names) == 4
        assert describe("atlas", tmp_path).engines == ()

    def test_options_are_kept_with_whole_paths_and_yaml_values(self, tmp_path, monkeypatch):
        (tmp_path / "valid_id.npy").touch()
        monkeypatch.chdir(tmp_path)
        files = {"ids": Path("valid_id.npy"), "key_file": None}
        found = _options(["n=3", "names=[a, b]"], files, {"pseudonymize": True, "x": False})
        path = str(tmp_path / "valid_id.npy")
        assert found == {"pseudonymize": True, "ids": path, "n": 3, "names": ["a", "b"]}
        assert yaml.safe_load(json.dumps(found)) == found

    @pytest.mark.parametrize("text", ["n", "=3"])
    def test_what_is_no_option_is_refused(self, text):
        with pytest.raises(ConfigError, match="--option"):
            _options([text], {}, {})

    def test_a_file_that_is_not_there_is_refused_by_its_option(self, tmp_path):
        with pytest.raises(ConfigError) as caught:
            _options([], {"series_csv": tmp_path / "no.csv"}, {})
        assert "--series-csv" in caught.value.remedy
