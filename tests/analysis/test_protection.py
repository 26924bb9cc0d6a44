"""Is the share of spurious change that a harmonization removes measured rightly?"""

import numpy as np
import pytest

from analysis import tables
from analysis.protection import ALL, protection
from lamstore.errors import AnalysisError


def test_half_is_half(cohort):
    got = protection(tables.normalise_longitudinal(cohort))
    assert got.removed["removed_fraction"].tolist() == pytest.approx([0.5] * len(got.removed))
    overall = got.removed[(got.removed["shift"] == ALL) & (got.removed["mode"] == "t1_only")].iloc[
        0
    ]
    assert overall["n"] == 12
    assert overall["effect"] == 1.0
    # Exact two-sided Wilcoxon with all twelve signs alike, two modes in the family.
    assert overall["p_value"] == pytest.approx(2 / 2**12)
    assert overall["p_holm"] == pytest.approx(2 * 2 / 2**12)
    assert overall["median_removed_mm3"] == pytest.approx(0.5 * 150 * 6.5)
    assert any("half (follow-up shifted, n = 12): removes 50%" in w for w in got.words)


def test_cost_is_measured_on_unshifted_images(cohort):
    moved = cohort.copy()
    moved.loc[moved["harmonization"] == "half", "delta_lesion_vol_mm3"] += 30.0
    got = protection(tables.normalise_longitudinal(moved)).cost.set_index("quantity")
    assert got.loc["delta_lesion_vol_mm3", "median_difference"] == pytest.approx(30)
    assert got.loc["delta_lesion_vol_mm3", "effect"] == 1.0
    assert got.loc["dice_chg_sym_cons", "p_value"] == 1.0
    # The base has its own for each harmonization, so the shift's effect stays the same.
    assert "new_cons_abs_vol_err_mm3" in got.index


def test_harm_is_called_harm(cohort):
    swap = cohort["harmonization"].map({"none": "half", "half": "none"})
    got = protection(tables.normalise_longitudinal(cohort.assign(harmonization=swap)))
    assert got.removed["removed_fraction"].tolist() == pytest.approx([-1.0] * len(got.removed))
    assert all("adds 100%" in w for w in got.words)


def test_shifts_that_one_harmonization_lacks_do_not_enter_the_mean(cohort):
    lost = (cohort["harmonization"] == "half") & (cohort["shift"] == "noise-2")
    got = protection(tables.normalise_longitudinal(cohort[~lost])).removed
    overall = got[(got["shift"] == ALL) & (got["mode"] == "t1_only")].iloc[0]
    assert overall["median_without_mm3"] == pytest.approx(650)
    assert overall["removed_fraction"] == pytest.approx(0.5)


def test_two_subjects_give_no_interval_and_no_conclusion(cohort):
    two = cohort[cohort["subject"].isin(["s01", "s02"])]
    got = protection(tables.normalise_longitudinal(two))
    assert got.removed["removed_low"].isna().all()
    assert np.isnan(got.removed["p_value"]).all()
    assert all("too few subjects to conclude" in w for w in got.words)


def test_without_harmonization_there_is_no_answer(cohort):
    table = tables.normalise_longitudinal(cohort[cohort["harmonization"] == "none"])
    with pytest.raises(AnalysisError, match="nothing to compare"):
        protection(table)
