"""Which figures does a screening have? Distributions, ROC and precision-recall, all levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.screening.measures import (
    CONFIDENCE,
    ENTROPY,
    OF_A_LEVEL,
    Kind,
    Measure,
    level_name,
)
from analysis.screening.result import Evidence, Screening
from analysis.style import BLUE, GREY, INK, ORANGE, PALETTE, RED, SEQUENTIAL, figure, styled

DRAWN = 3
"""Curves in the ROC figure: the best measure, then entropy and confidence."""
COLUMNS = 5


def pictures(one: Screening) -> dict[str, Figure]:
    """Figures by name."""
    found = {"distributions": distributions(one)}
    if one.evidence is not None and len(one.evidence.roc):
        found["roc"] = roc(one, one.evidence)
        found["precision_recall"] = precision_recall(one, one.evidence)
        found["levels"] = levels(one, one.evidence)
    return found


def shown_curves(one: Screening) -> list[Measure]:
    """Measures whose curves are drawn: the best, and those of the prior system."""
    level = one.config.score_level
    wanted = [Measure(level, ENTROPY), Measure(level, CONFIDENCE)]
    best = one.evidence.best if one.evidence else None
    ordered = [best, *wanted] if best is not None else wanted
    return [m for m in dict.fromkeys(ordered) if m in one.screening_measures][:DRAWN]


@styled
def distributions(one: Screening) -> Figure:
    """Every measure that screens: a dot a study, normals above transitional spines."""
    shown = one.screening_measures
    rows = -(-len(shown) // COLUMNS)
    picture = figure(2.6 * COLUMNS, 1.9 * rows + 0.2)
    grid = picture.subplots(rows, COLUMNS, squeeze=False)
    for axes, measure in zip(grid.flat, shown, strict=False):
        _strips(axes, one, measure)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    return picture


def _strips(axes: Axes, one: Screening, measure: Measure) -> None:
    values = one.table[measure.column]
    groups: list[tuple[str, pd.Series, str]] = [("all", values, BLUE)]
    if one.evidence is not None:
        truth = one.evidence.positive
        normal, lstv = (values[truth.index[truth == word]] for word in (False, True))
        groups = [("LSTV", lstv, ORANGE), ("normal", normal, BLUE)]
    for y, (_, group, colour) in enumerate(groups):
        known = np.sort(group.dropna().to_numpy(float))
        if not known.size:
            continue
        # Neighbours in rank are set apart in turn: every dot is seen, nothing is random.
        up = y + (np.arange(known.size) % 7 - 3) * 0.09
        axes.scatter(known, up, s=11, color=colour, alpha=0.7, linewidths=0)
        middle = float(np.median(known))
        axes.plot([middle, middle], [y - 0.4, y + 0.4], color=INK, linewidth=1.8)
    axes.set_yticks(range(len(groups)), [f"{name} ({g.notna().sum()})" for name, g, _ in groups])
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_title(measure.label, fontsize=8)
    axes.grid(visible=False, axis="y")


@styled
def roc(one: Screening, evidence: Evidence) -> Figure:
    """ROC curves of the best measure and of those of the prior system."""
    picture = figure(4.6, 4.2)
    axes = picture.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for measure, colour in zip(shown_curves(one), PALETTE, strict=False):
        points = evidence.roc[evidence.roc["measure"] == measure.column]
        area = evidence.area(measure)
        interval = f" ({area['auroc_low']:.2f}–{area['auroc_high']:.2f})"
        label = f"{measure.label}: {area['auroc']:.2f}{interval}"
        axes.plot(points["false_positive_rate"], points["sensitivity"], color=colour, label=label)
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("sensitivity")
    axes.set_aspect("equal")
    axes.legend(loc="lower right", fontsize=7)
    axes.set_title(f"ROC, n = {len(evidence.positive)}")
    return picture


@styled
def precision_recall(one: Screening, evidence: Evidence) -> Figure:
    """Precision-recall curves of the same measures, and what chance gets."""
    picture = figure(4.6, 4.2)
    axes = picture.subplots()
    axes.axhline(float(evidence.positive.mean()), color=GREY, linewidth=0.8, linestyle=":")
    for measure, colour in zip(shown_curves(one), PALETTE, strict=False):
        points = evidence.precision_recall
        points = points[points["measure"] == measure.column]
        row = evidence.area(measure)
        low, high = row["average_precision_low"], row["average_precision_high"]
        label = f"{measure.label}: {row['average_precision']:.2f} ({low:.2f}–{high:.2f})"
        axes.step(points["recall"], points["precision"], where="post", color=colour, label=label)
    axes.set_xlabel("recall (sensitivity)")
    axes.set_ylabel("precision (PPV)")
    axes.set_ylim(0, 1.03)
    axes.legend(loc="lower left", fontsize=7)
    axes.set_title(f"Precision and recall, n = {len(evidence.positive)}")
    return picture


@styled
def levels(one: Screening, evidence: Evidence) -> Figure:
    """AUROC of every measure at every level."""
    kinds: list[Kind] = [k for k in OF_A_LEVEL if (evidence.areas["kind"] == k.name).any()]
    table = evidence.areas.set_index(["kind", "level"])["auroc"]
    cells = [[float(table.get((k.name, level), np.nan)) for level in one.levels] for k in kinds]
    picture = figure(1.1 * len(one.levels) + 2.6, 0.42 * len(kinds) + 1.1)
    axes = picture.subplots()
    axes.imshow(np.array(cells), cmap=SEQUENTIAL, vmin=0.5, vmax=1, aspect="auto")
    for i, row in enumerate(cells):
        for j, value in enumerate(row):
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            colour = RED if value < 0.5 else "white" if value < 0.8 else INK
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(one.levels)), [level_name(level) for level in one.levels])
    axes.set_yticks(range(len(kinds)), [k.says for k in kinds])
    axes.grid(visible=False)
    axes.set_title("AUROC by level")
    return picture
