"""Is the effect of a shift measured against the right base, and summarised rightly?"""

import numpy as np
import pandas as pd
import pytest

from analysis import robustness, tables
from analysis.robustness import ABSOLUTE
from lamstore.errors import AnalysisError


@pytest.fixture
def table(cohort):
    return robustness.robustness_table(tables.normalise_longitudinal(cohort))


def rows(table, **where):
    mask = np.logical_and.reduce([table[k] == v for k, v in where.items()])
    return table[mask]


def test_each_harmonization_has_its_own_base(cohort):
    moved = cohort.copy()
    half = moved["harmonization"] == "half"
    moved.loc[half, "delta_lesion_vol_mm3"] += 500.0
    table = robustness.robustness_table(tables.normalise_longitudinal(moved))
    got = rows(table, harmonization="half", shift="noise", level=2)
    assert got[ABSOLUTE].tolist() == pytest.approx([100.0 * i for i in range(1, 13)])


def test_level_zero_is_the_identity(table):
    zero = table[table["level"] == 0]
    assert len(zero) == 12 * 2 * 2
    assert (zero[ABSOLUTE] == 0).all()
    assert (zero["dice_chg_sym_cons"] == zero["dice_chg_sym_cons_base"]).all()


def test_relative_risk_is_undefined_without_true_change(cohort):
    cohort["change_gt_vol_mm3"] = cohort["change_gt_vol_mm3"].where(cohort["subject"] != "s01", 0.0)
    table = robustness.robustness_table(tables.normalise_longitudinal(cohort))
    one = rows(table, subject="s01", level=1)
    assert one["relative_risk"].isna().all()
    # |ΔΔV| is 100·i and the truth 200·i.
    others = rows(table, shift="noise", level=1, harmonization="none").iloc[1:]
    assert others["relative_risk"].tolist() == pytest.approx([0.5] * 11)


def test_summary_by_hand(table):
    summary = robustness.robustness_summary(table)
    got = rows(summary, shift="noise", level=1, harmonization="none").iloc[0]
    values = 100.0 * np.arange(1, 13)
    assert got[f"{ABSOLUTE}_mean"] == pytest.approx(values.mean())
    assert got[f"{ABSOLUTE}_std"] == pytest.approx(values.std(ddof=1))
    assert got[f"{ABSOLUTE}_median"] == pytest.approx(650)
    assert got[f"{ABSOLUTE}_iqr"] == pytest.approx(np.subtract(*np.percentile(values, [75, 25])))
    assert got["n"] == got[f"{ABSOLUTE}_n"] == 12


def test_gamma_levels_are_named_as_directions(table):
    assert "brighter" in robustness.level_name("gamma", 1)
    assert "darker" in robustness.level_name("gamma", 2)
    summary = robustness.robustness_summary(table)
    assert rows(summary, shift="gamma", level=1)["level_name"].str.contains("brighter").all()


def test_sensitivity_by_hand(table):
    got = robustness.sensitivity_per_subject(table).set_index("subject").loc["s10"]
    assert got["n_shifts"] == 2
    assert got["deltav_abs_mean"] == pytest.approx(1500)
    assert got["deltav_abs_max"] == pytest.approx(2000)
    assert got["deltav_abs_p95"] == pytest.approx(1950)
    assert got["worst_shift"] == "noise-2"
    assert got["relative_risk_max"] == pytest.approx(1.0)
    # Dice changes are −0.1 and −0.2; their 5th percentile is −0.195.
    assert got["dice_sym_drop_p05"] == pytest.approx(0.195)
    assert got["dice_sym_drop_max"] == pytest.approx(0.2)


def test_a_subject_that_failed_unshifted_is_named_and_left_out(cohort):
    lost = (cohort["subject"] == "s03") & (cohort["shift"] == "none")
    table = tables.normalise_longitudinal(cohort[~lost])
    assert robustness.subjects_without_base(table) == ["s03"]
    assert "s03" not in set(robustness.robustness_table(table)["subject"])


def test_a_table_without_shifts_is_refused(cohort):
    table = tables.normalise_longitudinal(cohort[cohort["shift"] == "none"])
    with pytest.raises(AnalysisError, match="no shifted row"):
        robustness.robustness_table(table)


def test_dominant_shift_and_control(table):
    top = robustness.dominant_shift(robustness.robustness_summary(table))
    assert (top["shift"], top["level"]) == ("noise", 2)
    # noise ran t1_only and gamma ran both: nothing to contrast.
    assert robustness.mode_contrast(table).empty


def test_mode_contrast_pairs_the_same_shift(cohort):
    extra = cohort[cohort["shift"] == "gamma-1-both"].assign(shift="gamma-1")
    extra["delta_lesion_vol_mm3"] -= 90.0
    table = robustness.robustness_table(
        tables.normalise_longitudinal(pd.concat([cohort, extra], ignore_index=True))
    )
    got = robustness.mode_contrast(table)
    assert len(got) == 12
    assert (got["t1_only"] - got["both"]).tolist() == pytest.approx([90.0] * 12)


def test_subset_takes_extremes_first_and_everyone_at_most_once(cohort):
    base = tables.base_rows(tables.normalise_longitudinal(cohort))
    four = robustness.representative_subset(base, 4)
    # Dice and true change rise together here, so the extremes coincide.
    assert four["subject"].tolist()[:2] == ["s01", "s12"]
    assert four["subject"].is_unique
    assert len(four) == 4
    assert len(robustness.representative_subset(base, 50)) == 12
    with pytest.raises(AnalysisError, match="at least one"):
        robustness.representative_subset(base, 0)
