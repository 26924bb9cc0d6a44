"""Does the whole audit run on what it is given, and say what it was not given?"""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import qc
from analysis.audit import analyse_tables, audit, write_audit
from analysis.summary import sections, summary
from lamstore.errors import AnalysisError


def test_everything_is_written(complete, tmp_path):
    result = complete
    write_audit(result, tmp_path)
    names = {p.stem for p in (tmp_path / "tables").glob("*.csv")}
    assert names == set(result.written_tables())
    assert {"subjects", "robustness", "robustness_summary", "qc_flags", "protection"} <= names
    figures = {p.stem for p in (tmp_path / "figures").glob("*.png")}
    assert {"change_per_subject", "robustness_change_t1_only", "protection_t1_only", "pca_base",
            "coassignment_qc", "qc_roc", "worst_subjects"} <= figures  # fmt: skip
    saved = json.loads((tmp_path / "tables/qc_thresholds.json").read_text())
    assert saved["cohort_n"] == 12
    assert (tmp_path / "summary.md").read_text() == summary(result)


def test_longitudinal_alone(cohort):
    alone = audit(cohort[(cohort["shift"] == "none") & (cohort["harmonization"] == "none")])
    assert alone.flags is None
    assert alone.robustness is None
    assert len(alone.missing) == 3
    said = dict(sections(alone))
    assert "no uncertainty table was given" in said["What could not be computed"][0]
    assert alone.verdicts["verdict"].str.startswith("Not judged").all()


def test_verdicts(complete):
    rows = complete.verdicts.set_index("subject")
    # |ΔV| 960 against 195 spurious (s01), 520 against 2340 (s12).
    assert rows.loc["s01", "exceeds_spurious"] is True
    assert rows.loc["s12", "exceeds_spurious"] is False
    assert "across the brain" in rows.loc["s01", "verdict"]
    assert "shifts alone move ΔV by 2340 mm³" in rows.loc["s12", "verdict"]
    assert rows.loc["s04", "verdict"] == "No objection from QC or shifts."


def test_words_follow_the_numbers(complete):
    said = {title: " ".join(s) for title, s in sections(complete)}
    assert "4 of 12 subjects need review: s01, s02, s11, s12." in said["Quality control"]
    assert "Confident but wrong, missed by QC: s03, s04." in said["Quality control"]
    assert "Dominant shift: noise" in said["Simulated scanner shifts"]
    assert "Most sensitive: s12, by 2400 mm³ under noise-2." in said["Simulated scanner shifts"]
    assert "opposite directions" in said["Simulated scanner shifts"]
    assert "removes 50%" in said["What protects"]
    assert "`new_cons`" in said["Measured change against the truth"]


def test_reference_thresholds_judge_a_small_cohort(cohort, uncertainty):
    reference = qc.QcThresholds(
        cohort_n=20,
        primary_uncertainty="ens_var",
        qc_quantile=0.9,
        change_quantile=0.9,
        thresholds={
            qc.LESION: qc.Threshold(column="unc_ens_var_mean_lesion_t1", value=0.015),
            qc.BRAIN: qc.Threshold(column="unc_ens_var_p95_brain_t1", value=1.0),
            qc.CHANGE: qc.Threshold(column="phase2_delta_lesion_vol_mm3", value=930.0),
        },
    )
    two = cohort[cohort["subject"].isin(["s01", "s02"])]
    judged = audit(two, uncertainty, thresholds=reference)
    assert judged.flagged == {"s02"}
    assert judged.warnings == ()
    itself = audit(two, uncertainty)
    assert any("cannot judge itself" in w for w in itself.warnings)


def test_a_given_robustness_table_is_used(cohort, uncertainty):
    unshifted = cohort[(cohort["shift"] == "none") & (cohort["harmonization"] == "none")]
    given = pd.DataFrame(
        {
            "patient_id": unshifted["subject"],
            "shift": "gamma",
            "level": 1,
            "mode": "t1_only",
            "delta_lesion_vol_mm3_base": unshifted["delta_lesion_vol_mm3"],
            "delta_lesion_vol_mm3": unshifted["delta_lesion_vol_mm3"] + 5.0,
        }
    )
    result = audit(unshifted, uncertainty, given)
    assert result.sensitivity["deltav_abs_max"].tolist() == pytest.approx([5.0] * 12)


def test_failed_and_unjudged_subjects_are_reported(cohort, uncertainty):
    table = cohort.assign(ok=True)
    table.loc[(table["subject"] == "s03") & (table["shift"] == "none"), "ok"] = False
    result = audit(table, uncertainty[uncertainty["subject"] != "s05"])
    text = " ".join(result.warnings)
    assert "2 rows" in text
    assert "without unshifted row, left out: s03" in text
    assert "not judged by QC: s05" in text


def test_one_subject_is_enough_for_the_tables(cohort, uncertainty, tmp_path):
    one = cohort[cohort["subject"] == "s02"]
    result = analyse_tables(one, uncertainty, out=tmp_path)
    assert len(result.verdicts) == 1
    assert any("too few subjects" in m for m in result.missing)


def test_no_unshifted_row_is_refused(cohort):
    with pytest.raises(AnalysisError, match="no unshifted row"):
        audit(cohort[cohort["shift"] != "none"])


def test_results_do_not_depend_on_the_order_of_rows(complete, cohort, uncertainty):
    shuffled = cohort.sample(frac=1, random_state=1), uncertainty.sample(frac=1, random_state=2)
    first, second = complete, audit(*shuffled, options=complete.options)
    assert summary(first) == summary(second)
    pd.testing.assert_frame_equal(first.verdicts, second.verdicts)
    assert np.array_equal(
        first.phenotypes["base"].assignments["cluster"],
        second.phenotypes["base"].assignments["cluster"],
    )


@pytest.mark.real_data
def test_the_published_tables(mslam_raw, tmp_path):
    result = analyse_tables(*mslam_raw, out=tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert "`chg_sym_cons` (changed voxels, conservative) overestimates in 18 of 20" in text
    assert "4 of 20 subjects need review: patient04, patient07, patient09, patient17." in text
    assert "missed by QC: patient13, patient15, patient20" in text
    assert "Cluster 1 is one outlier, patient07" in text
    assert set(result.phenotypes) == {"base", "qc", "eval"}
