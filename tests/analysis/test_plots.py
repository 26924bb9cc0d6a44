"""Do figures show the numbers they are given?"""

import numpy as np
import pytest

from analysis import calibration, plots, plots_robustness, robustness, tables
from analysis.gallery import gallery


def test_change_bars_are_the_measured_change(cohort):
    base = tables.base_rows(tables.normalise_longitudinal(cohort))
    ax = plots.change_per_subject(base, frozenset({"s01"})).axes[0]
    widths = [p.get_width() for p in ax.containers[0]]
    assert widths == pytest.approx(sorted(base["delta_lesion_vol_mm3"] / 1000))
    colours = {p.get_facecolor() for p in ax.containers[0]}
    assert len(colours) == 2


def test_gamma_levels_are_not_joined_by_a_line(cohort):
    table = robustness.robustness_table(tables.normalise_longitudinal(cohort))
    summary = robustness.robustness_summary(table)
    both = plots_robustness.robustness_curves(table, summary, mode="both").axes[0]
    noise = plots_robustness.robustness_curves(table, summary).axes[0]
    assert all(line.get_linestyle() == "None" for line in both.lines)
    assert any("not severities" in t.get_text() for t in both.texts)
    joined = [line for line in noise.lines if line.get_linestyle() == "-"]
    assert joined[0].get_ydata().tolist() == pytest.approx([0, 650, 1300])


def test_retention_shows_chance_perfect_and_every_measure():
    truth, predicted = np.arange(100) < 30, np.arange(100) < 50
    edges = calibration.uncertainty_edges(1)
    curve = calibration.retention_curve(
        calibration.retention_histogram(np.linspace(0, 1, 100), predicted, truth, edges)
    )
    ax = plots.retention({"a": curve, "b": curve}).axes[0]
    assert len(ax.lines) == 4
    assert ax.lines[2].get_ydata()[-1] == pytest.approx(0.2)


def test_reliability_says_what_was_dropped():
    found = calibration.reliability([0.0, 0.2, 0.9], [1, 0, 1], minimum_probability=0.1)
    words = " ".join(t.get_text() for t in plots.reliability_diagram(found).axes[0].texts)
    assert "dropped 1 with p < 0.1" in words
    assert "of which 1 are lesion" in words


def test_every_picture_has_a_name_of_its_own_and_says_what_to_look_for(complete):
    pictures = list(gallery(complete))
    names = [p.name for p in pictures]
    assert len(set(names)) == len(names) > 12
    assert all(p.look_for and p.title for p in pictures)
