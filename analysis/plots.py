"""How does the audit look? One function a figure: tables in, matplotlib figure out.

Nothing is computed here but what drawing needs, and nothing is saved. Figures about robustness
are in `analysis.plots_robustness`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.agreement import PROXIES
from analysis.calibration import Reliability, RetentionCurve
from analysis.phenotypes import Phenotypes
from analysis.stats import Correlation, complete
from analysis.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    PALETTE,
    RED,
    SEQUENTIAL,
    figure,
    lettered,
    name_points,
    note,
    styled,
)

MARKERS = "osD^vP"


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
    fig = figure(7.2, max(2.4, 0.21 * len(rows) + 1.0))
    ax = fig.subplots()
    colours = [ORANGE if s in flagged else BLUE for s in rows["subject"]]
    ax.barh(rows.index, rows["delta_lesion_vol_mm3"] / 1000, color=colours, height=0.7)
    ax.barh([0], [0], color=BLUE, label="measured ΔV")
    if flagged:
        ax.barh([0], [0], color=ORANGE, label="measured ΔV, flagged by QC")
    if "change_gt_vol_mm3" in rows:
        truth = rows["change_gt_vol_mm3"] / 1000
        ax.plot(truth, rows.index, "D", ms=4, mfc="white", mec=INK, label="true change volume")
    ax.axvline(0, color=INK, lw=0.8)
    ax.set_yticks(rows.index, rows["subject"])
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("volume (ml)")
    ax.set_title("Measured lesion volume change")
    note(ax, f"n = {len(rows)}")
    ax.legend(loc="lower right")
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
        ax.text(failure_at_most, -0.6, " failures to the left", fontsize=8, color=GREY, va="center")
    ax.set_yticks(range(len(present)), [f"{PROXIES[p]}\n{p}" for p in present])
    ax.set_xlim(-0.02, 1.0)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("Dice with the change truth")
    ax.set_title("Overlap of each change proxy with the truth")
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
    named = rows[is_flagged | rows.index.isin(extreme)]
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
def pca(found: Phenotypes, flagged: frozenset[str] = frozenset()) -> Figure:
    """Subjects on the first two components, coloured by cluster, and the loadings beside."""
    fig = figure(9.4, 4.4)
    ax, bars = fig.subplots(1, 2, width_ratios=(1.5, 1))
    rows = found.assignments
    second = "pca2" if "pca2" in rows else "pca1"
    for cluster, group in rows.groupby("cluster"):
        i = int(group["cluster"].iloc[0])
        edge = [RED if s in flagged else "white" for s in group["subject"]]
        ax.scatter(
            group["pca1"],
            group[second],
            s=52,
            color=PALETTE[i % len(PALETTE)],
            marker=MARKERS[i % len(MARKERS)],
            edgecolors=edge,
            linewidths=1.4,
            label=f"cluster {cluster} (n = {len(group)})",
            zorder=3,
        )
    if flagged & set(rows["subject"]):
        ax.scatter([], [], s=52, color="white", edgecolors=RED, linewidths=1.4, label="QC flag")
    extent = rows[["pca1", second]].sub(rows[["pca1", second]].median()).abs()
    far = (extent / extent.max().replace(0, 1)).max(axis=1)
    named = rows[rows["subject"].isin(flagged) | (far >= far.quantile(0.8))]
    ax.margins(0.12)
    name_points(ax, named["pca1"], named[second], named["subject"])
    ax.set_xlabel(f"component 1 ({found.explained[0]:.0%} of the variance)")
    last = found.explained[1] if found.explained.size > 1 else found.explained[0]
    ax.set_ylabel(f"component {min(2, found.explained.size)} ({last:.0%})")
    lettered(ax, "a", "Subjects")
    note(ax, f"k = {found.k}, silhouette {found.silhouette:.2f}")
    ax.legend(loc="best")
    _loadings(bars, found, second)
    return fig


def _loadings(ax: Axes, found: Phenotypes, second: str) -> None:
    names = found.loadings.index
    position = np.arange(len(names))
    for i, component in enumerate(("pca1", second)):
        ax.barh(
            position + 0.2 * (2 * i - 1),
            found.loadings[component],
            height=0.38,
            color=(GREY, INK)[i],
            label=f"component {i + 1}",
        )
    ax.axvline(0, color=INK, lw=0.8)
    ax.set_yticks(position, [str(n).replace("_mm3", "") for n in names], fontsize=7)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    lettered(ax, "b", "What the components are made of")
    ax.set_xlabel("loading")
    ax.legend(loc="best")


@styled
def coassignment(found: Phenotypes) -> Figure:
    """How often two subjects share a cluster over the seeds; ordered by cluster."""
    rows = found.assignments
    order = rows.sort_values(["cluster", "stability", "subject"]).index.to_numpy()
    size = max(4.2, 0.21 * len(rows) + 1.6)
    fig = figure(size + 0.6, size)
    ax = fig.subplots()
    image = ax.imshow(found.coassignment[np.ix_(order, order)], cmap=SEQUENTIAL, vmin=0, vmax=1)
    names = rows["subject"].to_numpy()[order]
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    for edge in np.flatnonzero(np.diff(rows["cluster"].to_numpy()[order])) + 0.5:
        ax.axhline(edge, color="white", lw=2)
        ax.axvline(edge, color="white", lw=2)
    ax.grid(visible=False)
    bar = fig.colorbar(image, ax=ax, shrink=0.75, format=PercentFormatter(1))
    bar.set_label("seeds in which two subjects share a cluster")
    ax.set_title(f"Stability of {found.k} clusters")
    note(ax, f"n = {len(rows)}")
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
        text = f"{name}: {curve.gain:.0%} of the possible gain"
        ax.plot(curve.fraction, curve.error, color=PALETTE[i % len(PALETTE)], label=text)
    ax.set_xlabel("fraction of voxels that the model keeps (most certain first)")
    ax.set_ylabel("wrong voxels that remain (fraction of all)")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, None)
    ax.set_title("Are the uncertain voxels the wrong ones?")
    ax.legend(loc="upper left")
    return fig
