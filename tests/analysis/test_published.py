"""Do the published tables give the published results?"""

import pandas as pd
import pytest

from analysis import agreement, qc, qc_quality, robustness, stats, tables
from analysis.phenotypes import find_phenotypes

pytestmark = pytest.mark.real_data
CHANGE = "abs_delta_lesion_vol_mm3"


def found(correlations, x, method):
    return next(c for c in correlations if (c.x, c.method) == (x, method)).estimate


def test_correlations_with_change(base, published):
    correlations = agreement.change_correlations(base)
    rho = found(correlations, "change_gt_vol_mm3", "spearman")
    assert rho.value == pytest.approx(published["spearman_abs_change_and_truth"], abs=0.0051)
    assert rho.n == 20
    # The published 0.59 is Pearson's r, and one subject makes it.
    r = found(correlations, "intensity_diff_p95", "pearson")
    assert r.value == pytest.approx(published["pearson_intensity_p95_and_abs_change"], abs=0.005)
    assert found(correlations, "intensity_diff_p95", "spearman").value < 0.2
    subject, without = agreement.leverage(base, "intensity_diff_p95")
    assert subject == "patient19"
    assert without < 0.3


def test_uncertainty_and_error(together, published):
    table = together.assign(error=1 - together["dice_chg_sym_cons"])
    r = stats.correlate(table, "unc_ens_var_mean_lesion_t1", "error", "pearson").estimate
    assert r.value == pytest.approx(published["pearson_uncertainty_and_error"], abs=0.005)


def test_overestimation(base, published):
    table = agreement.proxy_agreement(base).set_index("proxy")
    assert table.loc["chg_sym_cons", "n_over"] == published["chg_sym_cons_overestimates"]
    assert table.loc["chg_sym_cons", "n"] == 20
    # The table's own error column says the same of every proxy.
    for proxy in table.index:
        assert table.loc[proxy, "n_over"] == (base[f"{proxy}_vol_err_mm3"] > 0).sum()


def test_thresholds_and_flags(together, published, mslam):
    thresholds = qc.cohort_thresholds(together)
    for key, value in published["thresholds"].items():
        assert thresholds.value(key) == pytest.approx(value, rel=5e-6)  # As printed.
    reference = qc.QcThresholds.read(mslam / "phase4_qc_thresholds.json")
    for key in published["thresholds"]:
        assert thresholds.value(key) == pytest.approx(reference.value(key), rel=1e-12)
    for used in (thresholds, reference):
        flags = qc.qc_flags(together, used)
        assert list(flags.loc[flags["qc_needs_review"], "subject"]) == published["flagged"]
        assert not flags["qc_change_not_confident"].any()


def test_failures_found_and_missed(together, published):
    flags = qc.qc_flags(together, qc.cohort_thresholds(together))
    quality = qc_quality.qc_quality(together, flags)
    assert list(quality.caught) == published["failed_and_flagged"]
    assert sorted(quality.caught + quality.missed) == published["failed"]
    assert quality.sensitivity.value == pytest.approx(0.4)


def test_representative_subset(base, published):
    chosen = robustness.representative_subset(base, 8)
    assert list(chosen["subject"]) == published["subset_of_eight"]


@pytest.mark.parametrize(("name", "sets"), [("base", ()), ("qc", ("qc",))])
def test_groups(together, published, name, sets):
    phenotypes = find_phenotypes(together, sets)
    assert phenotypes.k_selection["silhouette"].tolist() == pytest.approx(
        published["silhouette"][name], abs=1e-6
    )
    rows = phenotypes.assignments
    assert phenotypes.k == 2
    assert list(rows.loc[rows["cluster"] == 1, "subject"]) == published["smaller_cluster"][name]
    assert (rows["stability"] == 1).all()
    for subject, value in published["pca1"][name].items():
        pca1 = float(rows.loc[rows["subject"] == subject, "pca1"].iloc[0])
        # The sign of a component is free.
        assert abs(pca1) == pytest.approx(abs(value), rel=1e-6)
    assert bool(phenotypes.warnings) == (name == "qc")


def test_robustness_summary(published):
    data = published["robustness"]
    rows = [
        {
            "patient_id": p,
            "shift": s,
            "delta_lesion_vol_mm3": data["delta_lesion_vol_mm3"][s][p],
            "dice_chg_sym_cons": data["dice_chg_sym_cons"][s][p],
            "change_gt_vol_mm3": data["change_gt_vol_mm3"][p],
        }
        for s in data["delta_lesion_vol_mm3"]
        for p in data["change_gt_vol_mm3"]
    ]
    table = robustness.robustness_table(tables.normalise_longitudinal(pd.DataFrame(rows)))
    summary = robustness.robustness_summary(table)
    level1 = summary[summary["level"] == 1].set_index("shift")
    for shift, values in data["summary"].items():
        for column, value in values.items():
            assert level1.loc[shift, column] == pytest.approx(value, rel=1e-9)
        assert level1.loc[shift, "n"] == 2
    assert (summary.loc[summary["level"] == 0, "abs_deltaV_minus_base_mm3_mean"] == 0).all()
