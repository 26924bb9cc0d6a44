"""Are subjects flagged for the stated reason, and is QC itself judged rightly?"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from analysis import qc, qc_quality, tables
from lamstore.errors import AnalysisError


@pytest.fixture
def table(cohort, uncertainty):
    base = tables.base_rows(tables.normalise_longitudinal(cohort))
    return qc.joined(base, tables.normalise_uncertainty(uncertainty))


def test_flags_and_reasons(table):
    thresholds = qc.cohort_thresholds(table)
    assert thresholds.value(qc.LESION) == pytest.approx(np.quantile(0.01 * np.arange(1, 13), 0.9))
    flags = qc.qc_flags(table, thresholds).set_index("subject")
    # Lesion uncertainty is highest in s11, s12, brain uncertainty in s01, s02, |ΔV| in s01, s02.
    assert flags.index[flags["qc_needs_review"]].tolist() == ["s01", "s02", "s11", "s12"]
    assert flags.index[flags["qc_change_not_confident"]].tolist() == ["s01", "s02"]
    assert "inside the predicted lesions" in flags.loc["s12", "qc_reason"]
    assert "across the brain" in flags.loc["s01", "qc_reason"]
    assert "not to be trusted" in flags.loc["s01", "qc_reason"]
    assert flags.loc["s05", "qc_reason"] == ""


def test_thresholds_survive_the_file(table, tmp_path):
    thresholds = qc.cohort_thresholds(table)
    path = tmp_path / "qc_thresholds.json"
    path.write_text(thresholds.to_json())
    assert qc.QcThresholds.read(path) == thresholds


@pytest.mark.parametrize("text", ["{}", "no json", '{"cohort_n": 3, "surprise": 1}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(AnalysisError, match="holds no QC thresholds"):
        qc.QcThresholds.read(path)


def test_small_cohorts_are_told_not_to_judge_themselves(table):
    assert qc.cohort_warning(qc.cohort_thresholds(table)) is None
    said = qc.cohort_warning(qc.cohort_thresholds(table.head(9)))
    assert said is not None
    assert "9 subjects" in said
    assert "--thresholds" in said


def test_undefined_uncertainty_is_never_a_pass(table):
    thresholds = qc.cohort_thresholds(table)
    changed = table.copy()
    lesion, brain = (thresholds.column(k) for k in (qc.LESION, qc.BRAIN))
    changed.loc[4, lesion] = np.nan
    changed.loc[5, [lesion, brain]] = np.nan
    flags = qc.qc_flags(changed, thresholds)
    assert not flags.loc[4, "qc_needs_review"]  # Judged by the brain alone.
    assert flags.loc[5, "qc_needs_review"]
    assert "cannot be judged" in flags.loc[5, "qc_reason"]
    with pytest.raises(AnalysisError, match="undefined for every subject"):
        qc.cohort_thresholds(table.assign(**{lesion: np.nan}))


def test_tables_of_different_subjects_are_refused(cohort, uncertainty):
    base = tables.base_rows(tables.normalise_longitudinal(cohort))
    with pytest.raises(AnalysisError, match="no subject is in both"):
        qc.joined(base, uncertainty.assign(subject="x" + uncertainty["subject"]))


def test_quality_by_hand(table):
    flags = qc.qc_flags(table, qc.cohort_thresholds(table))
    # Dice is 0.05·i: s01 … s04 fail at 0.2, of which s01 and s02 are flagged.
    got = qc_quality.qc_quality(table, flags, at_most=0.2)
    assert got.caught == ("s01", "s02")
    assert got.missed == ("s03", "s04")
    assert got.false_alarms == ("s11", "s12")
    assert (got.sensitivity.value, got.specificity.value) == (0.5, 0.75)
    none = qc_quality.qc_quality(table, flags, at_most=0.0)
    assert none.n_failures == 0
    assert np.isnan(none.sensitivity.value)


SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_areas_agree_with_scikit_learn(pairs):
    score, failed = (np.array(v, dtype=float) for v in zip(*pairs, strict=True))
    roc, prc = qc_quality.auroc(score, failed), qc_quality.auprc(score, failed)
    if 0 < failed.sum() < failed.size:
        assert float(roc) == pytest.approx(roc_auc_score(failed, score))
    else:
        assert np.isnan(roc)
    if failed.any():
        assert float(prc) == pytest.approx(average_precision_score(failed, score))
    else:
        assert np.isnan(prc)


def test_areas_of_many_resamples_at_once():
    rng = np.random.default_rng(0)
    score, failed = rng.random((5, 30)), (rng.random((5, 30)) < 0.3).astype(float)
    for f in (qc_quality.auroc, qc_quality.auprc):
        each = [float(f(s, t)) for s, t in zip(score, failed, strict=True)]
        assert f(score, failed).tolist() == pytest.approx(each)


def test_discrimination_ranks_the_perfect_uncertainty_first(table):
    # p95 in brain falls as Dice rises: perfect; mean in lesion is its mirror image.
    got = qc_quality.discrimination(table, at_most=0.2)
    assert got["uncertainty"].tolist()[0] == "unc_ens_var_p95_brain_t1"
    assert got["auroc"].tolist() == [1.0, 0.0]
    assert got["n_failures"].tolist() == [4, 4]
    assert got["prevalence"].iloc[0] == pytest.approx(1 / 3)


def test_all_subjects_count_once(table):
    flags = qc.qc_flags(table, qc.cohort_thresholds(table))
    assert isinstance(flags, pd.DataFrame)
    assert flags["subject"].tolist() == table["subject"].tolist()
