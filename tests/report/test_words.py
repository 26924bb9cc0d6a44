"""Do the words and plots say what the numbers say?"""

import re

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup

from analysis.audit import audit
from analysis.report import words
from analysis.report.charts import ChangeRow, Strip, change_chart, strip_chart
from analysis.report.charts_pairs import Points, scatter_chart
from analysis.report.charts_shifts import ShiftPlot, shift_chart
from analysis.report.facts import EngineFacts, Failure
from analysis.report.headline import headline
from analysis.report.segmentation import shifted_dice
from analysis.report.subjects import subject_rows
from analysis.report.svg import axis, tick
from analysis.robustness import robustness_summary, robustness_table
from analysis.tables import normalise_longitudinal
from lamstore.config import EngineConfig
from lamstore.units import Unit

NAMES = tuple(f"s{i:02d}" for i in range(12))


def longitudinal(under_shift, measured=1000.0):
    """Twelve subjects as acquired and under two shifts; `under_shift(i, shift)` gives V t1."""
    rows = []
    for i, name in enumerate(NAMES):
        for shift in ("none", "blur-1", "blur-2", "gamma-1"):
            t1 = measured + 500 + 10 * i if shift == "none" else under_shift(i, shift)
            rows.append(
                {"engine": "e", "subject": name, "shift": shift, "ok": True,
                 "lesion_vol_t0_mm3": 500.0, "lesion_vol_t1_mm3": t1,
                 "delta_lesion_vol_mm3": t1 - 500, "change_gt_vol_mm3": 900.0 + i,
                 "chg_tight_vol_mm3": 800.0, "dice_chg_tight": 0.5 + i / 100,
                 "chg_sym_cons_vol_mm3": 2000.0, "dice_chg_sym_cons": 0.3}
            )  # fmt: skip
    return pd.DataFrame(rows)


def facts_of(table, failures=()):
    nothing = pd.DataFrame()
    return EngineFacts(
        EngineConfig(engine="e", label=None), audit(table), "", table, nothing, nothing, failures
    )


def headline_of(table, failures=(), subjects=NAMES):
    facts = facts_of(table, failures)
    return headline(facts, subject_rows(facts, subjects, 0))


def test_small_shifts_leave_the_change_standing():
    found = headline_of(longitudinal(lambda i, shift: 1510.0 + 10 * i))
    assert found.verdict == "Nothing speaks against the measured change of any of 12 subjects."


def test_large_shifts_make_every_change_doubtful():
    found = headline_of(longitudinal(lambda i, shift: 5000.0 if shift == "blur-2" else 1500.0))
    assert found.verdict == "No measured change stands: ΔV of all 12 subjects is doubtful."
    (broken,) = [t for t in found.tiles if t.name == "What breaks it most"]
    assert broken.value == "blur" and "σ 1 mm" in broken.detail
    assert "In 12 of 12" in found.because[0]


def test_some_doubtful_are_counted():
    table = longitudinal(lambda i, shift: 5000.0 if i < 5 else 1500.0 + 10 * i)
    assert headline_of(table).verdict.startswith("The measured change of 7 of 12 subjects stands")


def test_shifts_that_are_alike_are_not_ranked():
    found = headline_of(longitudinal(lambda i, shift: 0.0))
    (broken,) = [t for t in found.tiles if t.name == "What breaks it most"]
    assert broken.value == "all alike"
    text = " ".join(found.because)
    assert "All shifts move ΔV alike" in text
    assert "Every single shift empties the follow-up's mask of s00" in text


def test_failures_come_first_and_are_counted():
    failed = Failure(Unit("ingest", subject="s99"), "gone")
    facts = facts_of(longitudinal(lambda i, shift: 1500.0), (failed,))
    rows = subject_rows(facts, (*NAMES, "s99"), 0)
    assert rows[0].subject == "s99" and rows[0].state == "failed"
    assert [r.subject for r in rows[1:3]] == ["s00", "s01"], "then the lowest Dice"
    found = headline(facts, rows)
    assert found.tiles[0].value == "12 of 13" and found.tiles[0].tone == "bad"
    assert found.because[0].startswith("1 subject has no result: s99.")


def test_best_proxy_is_the_one_nearest_to_the_truth():
    found = headline_of(longitudinal(lambda i, shift: 1500.0))
    (best,) = [t for t in found.tiles if t.name == "Best change proxy"]
    assert best.value == "0.56" and "chg_tight" in best.detail


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(1234.4, False, "1\u202f234"), (-1234.6, True, "−1\u202f235"), (3.25, True, "+3.2"),
     (0.0, True, "0"), (float("nan"), False, "–"), (None, False, "–")],
)  # fmt: skip
def test_volumes_are_readable(value, signed, text):
    assert words.mm3(value, signed=signed) == text


def test_numbers_have_a_minus_and_no_negative_zero():
    assert words.number(-0.5) == "−0.50" and words.number(-0.0) == "0.00"
    assert words.compact(1.5e-7) == "1.5e−07" and words.number(float("inf")) == "–"


def test_lists_are_sentences():
    assert words.listed(["a"]) == "a" and words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed([*"abcdefgh"], 3) == "a, b, c and 5 more"


def test_prose_is_escaped_and_names_are_code():
    assert words.prose("`a` < <b>") == "<code>a</code> &lt; &lt;b&gt;"


def test_scales_hold_their_values_and_ticks_are_round():
    scale = axis([0.0, 37.0], 10, 110)
    assert scale(0.0) == 10 and scale(37.0) < 110
    assert scale.ticks() == [0, 10, 20, 30] and axis([], 0, 1).ticks()[0] == 0
    assert [tick(v, [0, 0.25, 0.5]) for v in (0.25, 0.5)] == ["0.25", "0.50"]
    assert [tick(v, [0, 2e-8]) for v in (0, 2e-8)] == ["0", "2e−8"]


def change_row(name="<b>", **values):
    nothing = dict.fromkeys(("low", "high", "truth", "bound"), float("nan"))
    return ChangeRow(name, 100.0, flagged=False, **nothing | values)


def test_charts_escape_names():
    strip = Strip("Dice", "<i>", {"<b>": 0.5})
    table = pd.DataFrame({"subject": ["<b>", "c"], "x": [1.0, 2.0], "y": [1.0, 2.0]})
    drawn = [
        change_chart([change_row()]),
        strip_chart([strip], "Dice", flagged=frozenset()),
        scatter_chart(Points(table, "x", "y", ("<x>", "y"), frozenset())),
    ]
    for chart in drawn:
        assert isinstance(chart, Markup) and "&lt;b&gt;" in chart
        assert not re.search(r"<(b|i|x)>", chart)


def test_change_chart_draws_only_what_is_known():
    bare = change_chart([change_row("a")])
    whole = change_chart([change_row("a", low=-50.0, high=200.0, truth=90.0, bound=150.0)])
    for kind in ("range", "possible", "mark truth"):
        assert f'class="{kind}"' not in bare and f'class="{kind}"' in whole
    assert "under shifts −50 to +200 mm³" in whole


def test_scatter_shades_confident_but_wrong():
    table = pd.DataFrame({"subject": ["a", "b"], "x": [1.0, 2.0], "y": [0.95, 0.2]})
    points = Points(table, "x", "y", ("x", "y"), frozenset("b"), x_line=1.5, y_line=0.9)
    assert "confident but wrong" in scatter_chart(points)
    assert "confident but wrong" not in scatter_chart(
        Points(table, "x", "y", ("x", "y"), frozenset())
    )


def test_levels_without_an_order_are_never_joined():
    rows = robustness_table(normalise_longitudinal(longitudinal(lambda i, shift: 1500.0)))
    summary = robustness_summary(rows)
    plot = ShiftPlot("abs_deltaV_minus_base_mm3", "|ΔΔV|", words.mm3)
    gamma = rows[rows["shift"] == "gamma"]
    assert "<polyline" in shift_chart(rows, summary, plot)
    alone = shift_chart(gamma, summary[summary["shift"] == "gamma"], plot)
    assert "<polyline" not in alone and "opposite directions" in alone


def test_shifted_dice_is_the_difference_at_the_last_timepoint():
    frame = pd.DataFrame(
        [("a", "t0", "none", 0.9), ("a", "t0", "blur-1", 0.9), ("a", "t1", "none", 0.8),
         ("a", "t1", "blur-1", 0.5), ("b", "t0", "none", 0.6), ("b", "t0", "blur-1", 0.4),
         ("b", "t0", "blur-1-both", 0.1)],
        columns=["subject", "timepoint", "shift", "dice"],
    )  # fmt: skip
    rows, summary = shifted_dice(frame)
    found = rows.set_index(["subject", "level"])["dice_minus_base"]
    assert found["a", 1] == pytest.approx(-0.3) and found["b", 1] == pytest.approx(-0.2)
    assert found["a", 0] == 0
    row = summary[(summary["shift"] == "blur") & (summary["level"] == 1)].iloc[0]
    assert row["dice_minus_base_median"] == pytest.approx(-0.25)
    assert row["dice_minus_base_n"] == 2 and np.isfinite(row["dice_minus_base_std"])
