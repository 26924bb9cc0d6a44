"""Are thresholds judged where they were not chosen, and what does too little data give?"""

import numpy as np
import pandas as pd
import pytest

from analysis.screening.discrimination import curves
from analysis.screening.groups import risk_of, risk_table
from analysis.screening.labels import Labels
from analysis.screening.measures import CONFIDENCE, ENTROPY, OF_A_LEVEL, OF_THE_SPINE, Measure
from analysis.screening.probability import calibration_table, cross_fitted
from analysis.screening.result import NOT_VALIDATED, analyse
from analysis.screening.summary import summarize
from analysis.screening.thresholds import (
    BOTH,
    Judgement,
    choose_cut,
    halves,
    judge,
    threshold_table,
)
from lamstore.config import ScreeningConfig
from lamstore.errors import AnalysisError

CONFIG = ScreeningConfig()
SCREENS = Measure("l5_s1", ENTROPY)


def table(n=44, lstv=18, seed=0, gap=1.0):
    """Measures of which the entropy of L5/S1, and its confidence turned round, tell."""
    rng = np.random.default_rng(seed)
    transitional = np.arange(n) < lstv
    columns = {}
    for level in ("l4_l5", "l5_s1"):
        tells = gap * transitional * (level == "l5_s1")
        columns[f"{level}_confidence"] = 0.9 - 0.1 * (tells + rng.normal(size=n))
        columns[f"{level}_entropy"] = 4.5 + tells + rng.normal(size=n)
    ids = [f"s{i:02}" for i in range(n)]
    frame = pd.DataFrame({"study_id": ids, "series_id": "x", **columns, "timepoint": "t0"})
    frame["chain_levels"] = 5.0
    said = dict(zip(ids, transitional.tolist(), strict=True))
    return frame, Labels("labels.csv", said, {}, 0, False)


def screened(frame, labels, config=CONFIG):
    return analyse("engine", frame, labels, list(frame["study_id"]), config)


class TestThreshold:
    def test_youden_by_hand(self):
        score = np.array([1.0, 2, 3, 4, 5, 6])
        positive = np.array([0, 0, 1, 0, 1, 1], bool)
        assert choose_cut(score, positive) == 4.5  # 2/3 − 0; 2.5 gives 1 − 1/3, which is no more
        assert choose_cut(score, positive, 0.9) == 2.5
        assert choose_cut(score, positive, 0.5) == 4.5
        assert choose_cut(score, positive, 0.3) == 5.5

    def test_counts_by_hand(self):
        score = np.array([1.0, 2, 3, np.nan, 5])
        found = judge(score, np.array([0, 1, 0, 1, 1], bool), 3.0)
        assert found == Judgement(tp=1, fn=1, fp=1, tn=1, undefined=1)
        row = (found + found).record()
        assert (row["n"], row["sensitivity"], row["ppv"]) == (8, 0.5, 0.5)
        assert row["sensitivity_low"] == pytest.approx(0.15004, abs=1e-4)  # Wilson, 2 of 4

    def test_halves_are_stratified_and_repeat(self):
        positive = np.arange(44) < 18
        first = halves(positive, 3)
        assert (first[positive].sum(), first[~positive].sum()) == (9, 13)
        np.testing.assert_array_equal(first, halves(positive, 3))
        assert not np.array_equal(first, halves(positive, 4))

    def test_the_half_that_judges_does_not_choose(self):
        """Turning the judging half's labels round changes its rates, not the threshold."""
        frame, labels = table()
        positive = np.array([labels.lstv[s] for s in frame["study_id"]])
        first = halves(positive, CONFIG.split_seed)
        found = threshold_table(frame, positive, [SCREENS], CONFIG)
        row = found[(found["rule"] == "Youden") & (found["chosen_on"] == "first half")].iloc[0]
        score = frame[SCREENS.column].to_numpy()
        cut = choose_cut(score[first], positive[first])
        assert row["threshold"] == cut
        assert row["tp"] == (score[~first & positive] >= cut).sum()
        assert row["n"] == (~first).sum()

    def test_both_halves_make_the_whole(self):
        frame, labels = table()
        rows = screened(frame, labels).evidence.thresholds
        of = rows[(rows["rule"] == "Youden") & (rows["measure"] == SCREENS.column)]
        parts, whole = of[of["chosen_on"] != BOTH], of[of["chosen_on"] == BOTH].iloc[0]
        assert whole["n"] == 44 == parts["n"].sum()
        assert whole["tp"] == parts["tp"].sum()

    def test_thresholds_are_in_the_measures_own_terms(self):
        frame, labels = table()
        rows = screened(frame, labels).evidence.thresholds
        row = rows[rows["measure"] == "l5_s1_confidence"].iloc[0]
        assert row["suspicious"] == "≤"
        assert 0.5 < row["threshold"] < 1.1

    def test_a_threshold_of_the_configuration_is_judged_by_all(self):
        frame, labels = table()
        rows = screened(frame, labels, ScreeningConfig(high_entropy=6)).evidence.thresholds
        row = rows[rows["rule"] == "high_entropy"].iloc[0]
        assert (row["n"], row["threshold"]) == (44, 6)
        assert row["tp"] + row["fp"] == (frame[SCREENS.column] > 6).sum()


class TestDirection:
    def test_it_is_declared_and_not_fitted(self):
        frame, labels = table(gap=2.0)
        areas = screened(frame, labels).evidence.areas.set_index("measure")["auroc"]
        assert areas["l5_s1_confidence"] > 0.8
        turned = frame.assign(l5_s1_confidence=-frame["l5_s1_confidence"])
        other = screened(turned, labels).evidence.areas.set_index("measure")["auroc"]
        assert other["l5_s1_confidence"] == pytest.approx(1 - areas["l5_s1_confidence"])

    def test_roc_thresholds_give_their_rates(self):
        frame, labels = table()
        positive = np.array([labels.lstv[s] for s in frame["study_id"]])
        roc, _ = curves(frame, positive, [Measure("l5_s1", CONFIDENCE)])
        row = roc.iloc[9]
        called = frame["l5_s1_confidence"] <= row["threshold"]
        assert called[positive].mean() == row["sensitivity"]
        assert called[~positive].mean() == row["false_positive_rate"]


class TestProbability:
    def test_nobody_has_a_part_in_his_own(self):
        rng = np.random.default_rng(0)
        positive = np.arange(40) < 20
        score, first = rng.normal(size=40) + positive, np.arange(40) % 2 == 0
        for method in ("logistic", "isotonic"):
            before, base = cross_fitted(score, positive, first, method)
            flipped = np.where(first, positive, ~positive)
            after, _ = cross_fitted(score, flipped, first, method)
            np.testing.assert_array_equal(before[~first], after[~first])
            assert (before[first] != after[first]).any()
            assert ((before >= 0) & (before <= 1)).all()
        np.testing.assert_allclose(base, 0.5)

    def test_brier_of_a_measure_that_tells_is_below_that_of_the_share(self):
        frame, labels = table(gap=3.0)
        positive = np.array([labels.lstv[s] for s in frame["study_id"]])
        found = calibration_table(frame, positive, [SCREENS], 0)
        assert (found["brier"] < 0.6 * found["brier_base"]).all()
        assert found.groupby("method")["n"].sum().to_dict() == {"isotonic": 44, "logistic": 44}


class TestGroups:
    def test_bounds(self):
        entropy = pd.Series([5.5, 5.500001, 4.0, 3.99, np.nan], index=list("abcde"))
        risk = risk_of(entropy, CONFIG)
        assert risk.to_dict() == {
            "a": "medium", "b": "high", "c": "medium", "d": "low", "e": "undefined",
        }  # fmt: skip
        found = risk_table(risk, {"a": True, "c": False, "b": True}, CONFIG).set_index("risk")
        assert found["n"].to_dict() == {"high": 1, "medium": 2, "low": 1, "undefined": 1}
        assert found["lstv_rate"]["medium"] == 0.5
        assert found["n_labelled"]["low"] == 0
        assert np.isnan(found["lstv_rate"]["low"])

    def test_the_queue_is_by_entropy_and_as_long_as_asked(self):
        frame, labels = table()
        queue = screened(frame, labels, ScreeningConfig(queue_length=7)).queue
        best = frame.sort_values("l5_s1_entropy", ascending=False)["study_id"].head(7)
        assert queue["study_id"].tolist() == best.tolist()
        assert queue["rank"].tolist() == list(range(1, 8))
        assert queue["lstv"].tolist() == [labels.lstv[s] for s in best]

    def test_another_measure_ranks_by_what_is_suspicious_of_it(self):
        frame, labels = table()
        frame.loc[3, "l4_l5_confidence"] = np.nan
        config = ScreeningConfig(queue_measure="l4_l5_confidence", queue_length=50)
        queue = screened(frame, labels, config).queue
        least = frame.sort_values("l4_l5_confidence")["study_id"].drop(3)
        assert queue["study_id"].tolist() == least.tolist()
        entropy = frame.set_index("study_id")["l5_s1_entropy"][queue["study_id"]]
        assert queue["risk"].tolist() == risk_of(entropy, config).tolist()

    @pytest.mark.parametrize("measure", ["l5_s1_height", "series_id", "l9_entropy"])
    def test_a_queue_by_something_else_is_refused(self, measure):
        frame, labels = table()
        with pytest.raises(AnalysisError, match="cannot be ranked") as caught:
            screened(frame, labels, ScreeningConfig(queue_measure=measure))
        assert "l5_s1_entropy" in caught.value.expected


class TestTooLittle:
    def test_without_labels_nothing_is_validated_and_it_says_so(self):
        frame, _ = table()
        found = screened(frame, None)
        assert found.evidence is None
        assert set(found.tables()) == {"risk_groups", "audit_queue"}
        assert NOT_VALIDATED in str(summarize("x", (), [found]))
        assert found.queue["lstv"].isna().all()

    def test_one_class_gives_a_statement_and_no_curve(self):
        frame, labels = table()
        only = Labels("l", dict.fromkeys(labels.lstv, False), {}, 0, False)
        found = screened(frame, only)
        assert found.evidence.best is None
        assert found.evidence.roc.empty
        assert found.evidence.areas["auroc"].isna().all()
        assert any("all 44 labelled studies are normal" in said for said in found.missing)
        assert "Best of" not in str(summarize("x", (), [found]))

    def test_few_give_curves_and_no_halves(self):
        frame, labels = table(n=20, lstv=7)
        found = screened(frame, labels)
        assert not found.evidence.roc.empty
        assert found.evidence.areas["auroc_low"].notna().any()
        assert found.evidence.thresholds.empty
        assert any("7 transitional and 13 normal" in said for said in found.missing)

    def test_very_few_have_no_interval(self):
        frame, labels = table(n=20, lstv=2)
        found = screened(frame, labels)
        assert found.evidence.areas["auroc"].notna().any()
        assert found.evidence.areas["auroc_low"].isna().all()
        assert any(said.startswith("Intervals and tests") for said in found.missing)

    def test_undefined_measures_are_left_out_and_counted(self):
        frame, labels = table()
        frame.loc[[0, 1, 30], "l5_s1_entropy"] = np.nan
        found = screened(frame, labels)
        row = found.evidence.areas.set_index("measure").loc["l5_s1_entropy"]
        assert (row["n_undefined"], row["n_lstv"], row["n_normal"]) == (3, 16, 25)
        assert found.evidence.best.column != "l5_s1_entropy"
        assert len(found.queue) == 20
        assert "`l5_s1_entropy` (3)" in str(summarize("x", (), [found]))

    def test_a_level_that_is_not_there_is_an_error(self):
        frame, labels = table()
        with pytest.raises(AnalysisError, match="level that screens"):
            screened(frame, labels, ScreeningConfig(score_level="t12_l1"))

    def test_unlabelled_studies_stay_in_the_queue_alone(self):
        frame, labels = table()
        del labels.lstv["s00"]
        found = screened(frame, labels)
        assert len(found.evidence.positive) == 43
        assert len(found.table) == 44
        assert "s00" in str(summarize("x", (), [found]))

    def test_the_last_timepoint_screens(self):
        frame, labels = table()
        later = frame.assign(timepoint="t1", l5_s1_entropy=frame["l5_s1_entropy"] + 10)
        found = screened(pd.concat([later, frame], ignore_index=True), labels)
        assert len(found.table) == 44
        assert found.table["l5_s1_entropy"].min() > 10


def test_noise_is_not_called_a_finding():
    frame, labels = table(gap=0.0)
    found = screened(frame, labels)
    comparison = found.evidence.comparison
    assert (comparison["p_holm"].dropna() > 0.05).all()
    assert (comparison["p_holm"] >= comparison["p_value"]).all()


def test_every_kind_of_measure_is_declared_once():
    names = [kind.name for kind in (*OF_A_LEVEL, *OF_THE_SPINE)]
    assert sorted(set(names)) == sorted(names)
