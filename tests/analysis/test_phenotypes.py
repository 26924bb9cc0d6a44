"""Are clear groups found, outliers named, and unclear input refused?"""

import numpy as np
import pandas as pd
import pytest

from analysis.phenotypes import FEATURES, feature_table, find_phenotypes
from lamstore.errors import AnalysisError

COLUMNS = [f.removeprefix("log1p_") for f in FEATURES["base"]]


def blobs(sizes, seed=0):
    """Subjects around well separated centres, in shuffled order of clusters."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(np.arange(len(sizes)), sizes)
    values = 100.0 * 4.0 ** centre[:, None] * (1 + 0.02 * rng.random((centre.size, len(COLUMNS))))
    table = pd.DataFrame(values, columns=COLUMNS)
    table.insert(0, "subject", [f"g{c}_{i}" for i, c in enumerate(centre)])
    return table


def test_separate_groups_are_found_and_stable():
    got = find_phenotypes(blobs([10, 6]), seeds=10)
    assert got.k == 2
    rows = got.assignments
    assert set(rows.loc[rows["cluster"] == 0, "subject"].str[:2]) == {"g0"}
    assert rows["cluster"].value_counts().tolist() == [10, 6]
    assert (rows["stability"] == 1).all()
    assert np.array_equal(got.coassignment, got.coassignment.T)
    assert (np.diag(got.coassignment) == 1).all()
    assert got.profiles["n"].tolist() == [10, 6]
    assert got.warnings == ()


def test_one_outlier_is_said_in_words_and_can_be_excluded():
    table = blobs([12])
    table.loc[3, "intensity_diff_p95"] *= 1e4
    got = find_phenotypes(table, seeds=5)
    assert len(got.warnings) == 1
    assert "g0_3" in got.warnings[0]
    assert "intensity_diff_p95" in got.warnings[0]
    try:
        kept = find_phenotypes(table, minimum_cluster_size=2, seeds=5)
    except AnalysisError as error:
        assert "smallest clusters" in str(error)
    else:
        assert kept.profiles["n"].min() >= 2


def test_undefined_features_leave_the_subject_out_by_name():
    table = blobs([8, 6])
    table.loc[0, "new_cons_vol_mm3"] = np.nan
    got = find_phenotypes(table, seeds=2)
    assert got.left_out == ("g0_0",)
    assert len(got.assignments) == 13


def test_feature_sets_add_up():
    table = blobs([7]).assign(
        unc_ens_var_p95_brain_t1=1.0, deltav_abs_p95=np.e - 1, dice_sym_drop_p05=0.5
    )
    got = feature_table(table, ("robust", "qc"))
    assert list(got.columns[1:]) == [*FEATURES["base"], *FEATURES["qc"], *FEATURES["robust"]]
    assert got["log1p_deltav_abs_p95"].tolist() == pytest.approx([1.0] * 7)
    with pytest.raises(AnalysisError, match="no such feature set"):
        feature_table(table, ("clinical",))
    with pytest.raises(AnalysisError, match="lacks dice_new_cons"):
        feature_table(table, ("eval",))


def test_few_subjects_are_refused():
    with pytest.raises(AnalysisError, match="too few subjects"):
        find_phenotypes(blobs([5]))


def test_identical_subjects_do_not_fall_into_groups():
    table = blobs([12])
    table[COLUMNS] = 1.0
    with pytest.raises(AnalysisError, match="do not fall into groups"):
        find_phenotypes(table)
