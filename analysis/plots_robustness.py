"""How does the effect of simulated shifts look, and what does a harmonization change?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.protection import ALL, Protection
from analysis.robustness import ABSOLUTE, UNORDERED, level_name
from analysis.style import BLUE, GREY, INK, ORANGE, PALE, figure, note, styled
from analysis.tables import BASE

LABELS = {
    ABSOLUTE: "|ΔV shifted − ΔV| (mm³)",
    "dice_sym_minus_base": "Dice change (chg_sym_cons)",
    "dice_tight_minus_base": "Dice change (chg_tight)",
    "dice_new_minus_base": "Dice change (new_cons)",
    "relative_risk": "|ΔΔV| / true change volume",
}


@styled
def robustness_curves(
    robustness: pd.DataFrame,
    summary: pd.DataFrame,
    column: str = ABSOLUTE,
    mode: str = "t1_only",
    harmonization: str = BASE,
) -> Figure:
    """Effect of each shift by level: median with IQR above, mean ± SD below; subjects as dots.

    Levels that are opposite directions (gamma) are not joined by a line.
    """
    chosen = summary[(summary["mode"] == mode) & (summary["harmonization"] == harmonization)]
    rows = robustness[(robustness["mode"] == mode) & (robustness["harmonization"] == harmonization)]
    shifts = sorted(set(chosen["shift"]))
    fig = figure(2.7 * len(shifts) + 0.9, 5.6, constrained=True)
    panels = fig.subplots(2, len(shifts), sharex="col", sharey=True, squeeze=False)
    for i, shift in enumerate(shifts):
        part = chosen[chosen["shift"] == shift].sort_values("level")
        dots = rows[rows["shift"] == shift]
        for ax, kind in ((panels[0, i], "median"), (panels[1, i], "mean")):
            _curve(ax, part, dots, column, kind)
        panels[0, i].set_title(shift)
        note(panels[0, i], f"n = {int(part[f'{column}_n'].min())}")
    for ax, text in ((panels[0, 0], "median, IQR"), (panels[1, 0], "mean ± SD")):
        ax.set_ylabel(f"{LABELS.get(column, column)}\n{text}")
    said = "follow-up shifted" if mode == "t1_only" else "both visits shifted alike"
    fig.suptitle(f"Effect of simulated scanner shifts ({said})", x=0.01, ha="left", fontsize=11)
    return fig


def _curve(ax: Axes, part: pd.DataFrame, dots: pd.DataFrame, column: str, kind: str) -> None:
    x = part["level"].to_numpy(float)
    centre = part[f"{column}_{kind}"].to_numpy(float)
    if kind == "median":
        low, high = (part[f"{column}_{q}"].to_numpy(float) for q in ("q25", "q75"))
    else:
        spread = part[f"{column}_std"].fillna(0).to_numpy(float)
        low, high = centre - spread, centre + spread
    colour = BLUE if kind == "median" else ORANGE
    names = part["shift"].iloc[0]
    ax.plot(dots["level"], dots[column], "o", ms=3.5, color=GREY, alpha=0.45, mew=0, zorder=1)
    if names in UNORDERED:
        ax.errorbar(x, centre, (centre - low, high - centre), fmt="D", color=colour, capsize=4)
        ax.text(0.5, 0.96, "opposite directions,\nnot severities", transform=ax.transAxes,
                ha="center", va="top", fontsize=7.5, color=GREY, style="italic")  # fmt: skip
    else:
        ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
        ax.plot(x, centre, "D-", color=colour, ms=5)
    ax.set_xticks(x, [level_name(str(names), int(v)).replace(" (", "\n(") for v in x], fontsize=7.5)
    ax.set_xlim(-0.4, x.max() + 0.4)
    ax.grid(axis="x", visible=False)


@styled
def relative_risk(robustness: pd.DataFrame, mode: str = "t1_only") -> Figure:
    """Spurious change of every subject against its true change; above the diagonal it drowns it."""
    chosen = (robustness["mode"] == mode) & (robustness["harmonization"] == BASE)
    rows = robustness[chosen & (robustness["level"] > 0)].dropna(subset=["relative_risk"])
    fig = figure(5.4, 4.2)
    ax = fig.subplots()
    groups = rows.groupby("subject")
    truth, worst = groups["change_gt_vol_mm3"].first(), groups[ABSOLUTE].max()
    middle = groups[ABSOLUTE].median()
    for t, a, b in zip(truth, middle, worst, strict=True):
        ax.plot([t, t], [max(a, 1), max(b, 1)], color=GREY, lw=1, zorder=1)
    ax.plot(truth, middle.clip(lower=1), "o", color=BLUE, ms=5, label="median over shifts")
    ax.plot(truth, worst.clip(lower=1), "^", color=ORANGE, ms=6, label="worst shift")
    ends = np.array([min(truth.min(), 10.0), max(truth.max(), worst.max()) * 1.3])
    ax.fill_between(ends, ends, ends[1] * 3, color=PALE, zorder=0)
    ax.plot(ends, ends, color=INK, lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(truth.min() / 1.5, truth.max() * 1.5)
    ax.set_ylim(max(1, middle.min() / 2), max(worst.max(), truth.max()) * 1.5)
    ax.set_xlabel("true change volume (mm³)")
    ax.set_ylabel("spurious change |ΔΔV| (mm³)")
    ax.set_title("Shaded: the shift fakes more than the true change")
    note(ax, f"n = {len(truth)}")
    ax.legend(loc="lower right")
    return fig


@styled
def worst_subjects(sensitivity: pd.DataFrame, largest: int = 20) -> Figure:
    """The subjects whose ΔV the shifts move most: mean, 95th percentile and maximum of |ΔΔV|."""
    rows = sensitivity.nlargest(largest, "deltav_abs_max").iloc[::-1].reset_index(drop=True)
    fig = figure(7.2, max(2.2, 0.24 * len(rows) + 1.1))
    ax = fig.subplots()
    ax.hlines(rows.index, rows["deltav_abs_mean"], rows["deltav_abs_max"], color=PALE, lw=5)
    for column, colour, marker, label in (
        ("deltav_abs_mean", BLUE, "o", "mean over shifts"),
        ("deltav_abs_p95", GREY, "|", "95th percentile"),
        ("deltav_abs_max", ORANGE, "D", "worst shift (named)"),
    ):
        ax.plot(rows[column], rows.index, marker, color=colour, ms=6, label=label)
    for i, row in rows.iterrows():
        ax.annotate(str(row["worst_shift"]), (row["deltav_abs_max"], float(str(i))),
                    xytext=(7, 0), textcoords="offset points", va="center", fontsize=7)  # fmt: skip
    ax.set_yticks(rows.index, rows["subject"])
    ax.margins(x=0.14)
    ax.set_xlim(left=0)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("|ΔV shifted − ΔV| (mm³)")
    ax.set_title("Whose change is least to be trusted?")
    note(ax, f"{len(rows)} of {len(sensitivity)} subjects")
    ax.legend(loc="lower right")
    return fig


@styled
def protection_bars(found: Protection, mode: str = "t1_only") -> Figure:
    """Fraction of the spurious change that each harmonization removes, with interval."""
    rows = found.removed[found.removed["mode"] == mode]
    names: Sequence[str] = sorted(set(rows["harmonization"]))
    kinds = [(s, v) for s, v in dict.fromkeys(zip(rows["shift"], rows["level"], strict=True))]
    fig = figure(2.6 * len(names) + 1.8, 0.34 * len(kinds) + 1.3)
    panels = fig.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(panels, names, strict=True):
        part = rows[rows["harmonization"] == name].set_index(["shift", "level"]).loc[kinds]
        y = np.arange(len(part))
        value = part["removed_fraction"].to_numpy(float)
        low, high = (part[c].fillna(part["removed_fraction"]).to_numpy(float)
                     for c in ("removed_low", "removed_high"))  # fmt: skip
        colours = [ORANGE if v < 0 else BLUE for v in value]
        ax.barh(y, value, color=colours, height=0.62)
        ax.errorbar(value, y, xerr=(value - low, high - value), fmt="none", ecolor=INK, lw=1)
        ax.axvline(0, color=INK, lw=0.8)
        ax.set_title(name)
        note(ax, f"n = {int(part['n'].min())}")
        ax.set_xlim(min(-0.25, max(value.min() * 1.1, -2.0)), 1.05)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    words = ["all shifts" if s == ALL else f"{s}: {level_name(s, int(v))}" for s, v in kinds]
    panels[0].set_yticks(range(len(kinds)), words)
    panels[0].invert_yaxis()
    fig.supxlabel("spurious |ΔΔV| removed (below 0: added)", fontsize=9)
    return fig
