"""How does the audit look? One function a figure: tables in, matplotlib figure out.

Nothing is computed here but what drawing needs, and nothing is saved. Figures about robustness
are in `analysis.plots_robustness`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.agreement import PROXIES
from analysis.calibration import Reliability, RetentionCurve
from analysis.stats import Correlation, complete
from analysis.style import (
    BLUE,
    GREY,
    INK,
    NAMED,
    ORANGE,
    PALE,
    PALETTE,
    figure,
    name_points,
    note,
    styled,
)


def describe(c: Correlation) -> str:
    """A correlation in one line for a figure."""
    e, name = c.estimate, {"spearman": "Spearman ρ", "pearson": "Pearson r"}.get(c.method, "ρ")
    interval = "" if np.isnan(e.low) else f" [{e.low:.2f}, {e.high:.2f}]"
    return f"{name} = {e.value:.2f}{interval}, n = {e.n}"


@styled
def change_per_subject(base: pd.DataFrame, flagged: frozenset[str] = frozenset()) -> Figure:
    """ΔV of every subject, smallest to largest, beside the change truth where there is one.

    Parameters
    ----------
    base : DataFrame
        Unshifted rows with ``delta_lesion_vol_mm3``.
    flagged : set of subjects
        Drawn in the colour of QC flags.
    """
    rows = base.sort_values("delta_lesion_vol_mm3", ignore_index=True)
    fig = figure(7.2, max(2.4, 0.21 * min(len(rows), NAMED) + 1.0), constrained=True)
    ax = fig.subplots()
    colours = [ORANGE if s in flagged else BLUE for s in rows["subject"]]
    ax.barh(rows.index, rows["delta_lesion_vol_mm3"] / 1000, color=colours, height=0.7)
    ax.barh([0], [0], color=BLUE, label="measured ΔV")
    if flagged:
        ax.barh([0], [0], color=ORANGE, label="measured ΔV, flagged by QC")
    if "change_gt_vol_mm3" in rows:
        truth = rows["change_gt_vol_mm3"] / 1000
        size = 4 if len(rows) <= NAMED else 2
        ax.plot(truth, rows.index, "D", ms=size, mfc="white", mec=INK, label="true change volume")
    ax.axvline(0, color=INK, lw=0.8)
    if len(rows) <= NAMED:
        ax.set_yticks(rows.index, rows["subject"])
    else:
        ax.set_yticks([])
        ax.set_ylabel("subjects, by measured change")
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("volume (ml)")
    ax.set_title("Measured lesion volume change")
    note(ax, f"n = {len(rows)}")
    fig.legend(loc="outside lower center", ncols=3)
    return fig


@styled
def dice_dots(base: pd.DataFrame, failure_at_most: float | None = None) -> Figure:
    """Dice with the change truth of every subject and proxy; the median as a bar."""
    present = [p for p in PROXIES if f"dice_{p}" in base]
    fig = figure(7.2, 0.62 * len(present) + 1.2)
    ax = fig.subplots()
    for i, proxy in enumerate(present):
        (values,) = complete(base[f"dice_{proxy}"])
        # Spread by rank within near-equal values: every subject is seen, nothing is random.
        offset = ((np.argsort(np.argsort(values)) % 5) - 2) * 0.09
        ax.plot(values, i + offset, "o", ms=5, color=BLUE, alpha=0.75, mec="white", mew=0.5)
        ax.plot([np.median(values)] * 2, [i - 0.32, i + 0.32], color=ORANGE, lw=2.5)
    if failure_at_most is not None:
        ax.axvspan(-0.02, failure_at_most, color=PALE, zorder=0)
        ax.text(0.0, len(present) - 0.55, "failures", fontsize=7.5, color=INK, va="center")
    ax.set_yticks(range(len(present)), [f"{PROXIES[p]}\n{p}" for p in present])
    ax.set_xlim(-0.02, 1.0)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("Dice with the change truth")
    ax.set_title("Overlap with the change truth")
    note(ax, f"dots: subjects, bar: median, n = {len(base)}")
    return fig


@styled
def scatter(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    labels: tuple[str, str],
    title: str,
    correlation: Correlation | None = None,
    flagged: frozenset[str] = frozenset(),
    log: bool = False,
) -> Figure:
    """Two columns against each other; flagged subjects and extremes are named.

    Serves uncertainty against error, uncertainty against shift sensitivity and confounders.
    """
    rows = table[["subject", x, y]].dropna()
    fig = figure(5.2, 4.0)
    ax = fig.subplots()
    is_flagged = rows["subject"].isin(flagged)
    for mask, colour, marker, label in (
        (~is_flagged, BLUE, "o", "not flagged" if flagged else None),
        (is_flagged, ORANGE, "D", "flagged by QC"),
    ):
        if mask.any():
            chosen = rows[mask]
            ax.plot(
                chosen[x],
                chosen[y],
                marker,
                ms=6.5,
                color=colour,
                mec="white",
                mew=0.6,
                label=label,
            )
    if log and (rows[x] > 0).all():
        ax.set_xscale("log")
    extreme = set(rows.nlargest(2, y).index) | set(rows.nlargest(2, x).index)
    named = rows[(is_flagged & (len(rows) <= NAMED)) | rows.index.isin(extreme)]
    name_points(ax, named[x], named[y], named["subject"])
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    ax.set_title(title)
    if correlation is not None:
        fig.text(0.99, 0.005, describe(correlation), ha="right", fontsize=8, color=GREY)
        ax.set_xlabel(f"{labels[0]}\n ")
    if flagged:
        ax.legend(loc="best")
    return fig


@styled
def qc_roc(
    table: pd.DataFrame, discrimination: pd.DataFrame, column: str, at_most: float, best: int = 4
) -> Figure:
    """ROC curves of the `best` uncertainties for failures (Dice `column` <= `at_most`)."""
    fig = figure(5.6, 4.6)
    ax = fig.subplots()
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
    for i, (_, row) in enumerate(discrimination.head(best).iterrows()):
        score, dice = complete(table[str(row["uncertainty"])], table[column])
        cuts = np.concatenate([[np.inf], np.unique(score)[::-1]])
        failed = dice <= at_most
        hits = [(score[failed] >= c).mean() for c in cuts]
        alarms = [(score[~failed] >= c).mean() for c in cuts]
        name = str(row["uncertainty"]).removeprefix("unc_")
        text = f"{name}: {row['auroc']:.2f} [{row['auroc_low']:.2f}, {row['auroc_high']:.2f}]"
        # Steps drawn slightly apart where curves coincide.
        ax.plot(alarms, np.array(hits) - 0.006 * i, color=PALETTE[i], label=text)
    ax.set_xlabel("false alarms (1 − specificity)")
    ax.set_ylabel("failures found (sensitivity)")
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.03, 1.01)
    ax.set_title(f"Does uncertainty find failures (Dice ≤ {at_most:g})?")
    first = discrimination.iloc[0]
    ax.legend(
        loc="lower right",
        title=f"AUROC [95 % interval], {first['n_failures']} failures of {first['n']}",
        title_fontsize=8,
    )
    return fig


@styled
def reliability_diagram(found: Reliability) -> Figure:
    """Observed lesion frequency against predicted probability, and how many voxels say so."""
    fig = figure(4.6, 5.0)
    ax, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    full = found.count > 0
    width = 1 / found.count.size
    centre = (np.arange(found.count.size) + 0.5) * width
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfect")
    ax.bar(centre[full], found.accuracy[full], width * 0.92, color=PALE, edgecolor=GREY, lw=0.6)
    ax.plot(found.confidence[full], found.accuracy[full], "o-", color=BLUE, ms=5, label="model")
    ax.set_ylabel("fraction that is lesion")
    ax.set_ylim(0, 1.02)
    ax.set_title("Does a probability mean what it says?")
    ax.legend(loc="upper left")
    ax.text(
        0.98,
        0.04,
        f"ECE {found.ece:.4f}, Brier {found.brier:.4f}\n{found.n:,} voxels; dropped "
        f"{found.dropped:,} with p < {found.minimum_probability:g},\n"
        f"of which {found.dropped_truth:,} are lesion",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize=7.5,
        color=INK,
    )
    below.bar(centre[full], found.count[full], width * 0.92, color=GREY)
    below.set_yscale("log")
    below.set_xlabel("predicted probability")
    below.set_ylabel("voxels")
    below.set_xlim(0, 1)
    return fig


@styled
def retention(curves: dict[str, RetentionCurve]) -> Figure:
    """Error that remains when the most uncertain voxels are handed to an expert.

    Parameters
    ----------
    curves : mapping of measure to RetentionCurve
        Of the same voxels, so that all end in the same error.
    """
    fig = figure(5.6, 4.2)
    ax = fig.subplots()
    e = max(float(c.error[-1]) for c in curves.values())
    ax.plot([0, 1], [0, e], color=GREY, lw=1, ls=":", label="chance")
    ax.plot([0, 1 - e, 1], [0, 0, e], color=GREY, lw=1, ls="--", label="perfect")
    for i, (name, curve) in enumerate(curves.items()):
        gain = round(curve.gain, 2) + 0.0  # No minus sign before a zero.
        text = f"{name}: {gain:.0%} of the possible gain"
        ax.plot(curve.fraction, curve.error, color=PALETTE[i % len(PALETTE)], label=text)
    ax.set_xlabel("fraction of voxels that the model keeps (most certain first)")
    ax.set_ylabel("wrong voxels that remain (fraction of all)")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, None)
    ax.set_title("Are the uncertain voxels the wrong ones?")
    ax.legend(loc="upper left")
    return fig
