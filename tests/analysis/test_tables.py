"""Are tables of either form understood, and unusable ones refused by name?"""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import tables
from analysis.tables import ShiftLabel
from lamstore.errors import AnalysisError

NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,9}\Z")


@settings(deadline=None)
@given(NAMES, st.integers(0, 99), st.sampled_from(tables.MODES))
def test_shift_labels_survive(name, level, mode):
    label = ShiftLabel(name, level, mode)
    assert ShiftLabel.parse(str(label)) == label


@pytest.mark.parametrize("label", ["none", "gamma", "gamma-", "gamma-1-t0", "gamma-x", ""])
def test_other_labels_are_refused(label):
    with pytest.raises(AnalysisError, match="cannot be read"):
        ShiftLabel.parse(label)


def test_published_form_becomes_ours():
    table = pd.DataFrame({"patient_id": ["a", "b"], "delta_lesion_vol_mm3": ["1.5", -2]})
    got = tables.normalise_longitudinal(table)
    assert list(got.columns[:3]) == list(tables.KEYS)
    assert got["shift"].tolist() == got["harmonization"].tolist() == ["none", "none"]
    assert got["delta_lesion_vol_mm3"].tolist() == [1.5, -2.0]


def test_label_none_is_no_missing_value(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("subject,shift,delta_lesion_vol_mm3,dice_new_raw\ns1,none,1,\ns1,gamma-1,2,0\n")
    got = tables.normalise_longitudinal(tables.read_table(path))
    assert got["shift"].tolist() == ["none", "gamma-1"]
    assert got["dice_new_raw"].isna().tolist() == [True, False]


def test_failed_rows_are_left_out():
    table = pd.DataFrame(
        {"subject": ["a", "b"], "ok": [True, False], "delta_lesion_vol_mm3": [1.0, None]}
    )
    assert tables.normalise_longitudinal(table)["subject"].tolist() == ["a"]
    with pytest.raises(AnalysisError, match="no row"):
        tables.normalise_longitudinal(table.assign(ok=False))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"delta_lesion_vol_mm3": [1.0]}, "lacks subject"),
        ({"subject": ["a"]}, "lacks delta_lesion_vol_mm3"),
        ({"subject": ["a", "a"], "delta_lesion_vol_mm3": [1.0, 2.0]}, "more than one row"),
        ({"subject": ["a"], "delta_lesion_vol_mm3": ["big"]}, "not numeric for a"),
        ({"subject": ["a"], "delta_lesion_vol_mm3": [float("inf")]}, "not numeric for a"),
    ],
)
def test_unusable_tables_are_refused(table, message):
    with pytest.raises(AnalysisError, match=message):
        tables.normalise_longitudinal(pd.DataFrame(table))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(AnalysisError, match="there is no table"):
        tables.read_table(tmp_path / "no.csv")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(AnalysisError, match="holds no row"):
        tables.read_table(tmp_path / "empty.csv")
    (tmp_path / "odd.parquet").write_text("x")
    with pytest.raises(AnalysisError, match="cannot be read"):
        tables.read_table(tmp_path / "odd.parquet")


def test_uncertainty_keeps_unshifted_measures_only():
    table = pd.DataFrame(
        {
            "subject": ["a", "a"],
            "shift": ["none", "gamma-1"],
            "unc_x_t1": [0.1, 0.2],
            "phase2_delta_lesion_vol_mm3": [1.0, 1.0],
            "qc_needs_review": [True, True],
        }
    )
    got = tables.normalise_uncertainty(table)
    assert got.columns.tolist() == ["subject", "unc_x_t1"]
    assert got["unc_x_t1"].tolist() == [0.1]
    with pytest.raises(AnalysisError, match="unc_"):
        tables.normalise_uncertainty(table.drop(columns="unc_x_t1"))


def test_robustness_table_of_unknown_mode_is_refused():
    row = {"subject": ["a"], "shift": ["gamma"], "level": [1], "mode": ["t0"]}
    row |= {"delta_lesion_vol_mm3_base": [1.0], "delta_lesion_vol_mm3": [2.0]}
    with pytest.raises(AnalysisError, match="unknown mode"):
        tables.normalise_robustness(pd.DataFrame(row))
