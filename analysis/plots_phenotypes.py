"""How do the groups of subjects look, and how stable are they?"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.phenotypes import Phenotypes
from analysis.style import (
    GREY,
    INK,
    NAMED,
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
    wanted = rows["subject"].isin(flagged) | (far >= far.quantile(0.8))
    named = rows[wanted & (len(rows) <= NAMED)]
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
    lettered(ax, "b", "Loadings")
    ax.set_xlabel("loading")
    ax.legend(loc="best")


@styled
def coassignment(found: Phenotypes) -> Figure:
    """How often two subjects share a cluster over the seeds; ordered by cluster."""
    rows = found.assignments
    order = rows.sort_values(["cluster", "stability", "subject"]).index.to_numpy()
    size = max(4.2, 0.21 * len(rows) + 1.6) if len(rows) <= NAMED else 6.0
    fig = figure(size + 0.6, size)
    ax = fig.subplots()
    image = ax.imshow(found.coassignment[np.ix_(order, order)], cmap=SEQUENTIAL, vmin=0, vmax=1)
    names = rows["subject"].to_numpy()[order]
    if len(names) <= NAMED:
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        ax.set_yticks(range(len(names)), names, fontsize=7)
    else:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("subjects, by cluster")
    for edge in np.flatnonzero(np.diff(rows["cluster"].to_numpy()[order])) + 0.5:
        ax.axhline(edge, color="white", lw=2)
        ax.axvline(edge, color="white", lw=2)
    ax.grid(visible=False)
    bar = fig.colorbar(image, ax=ax, shrink=0.75, format=PercentFormatter(1))
    bar.set_label("seeds in which two subjects share a cluster")
    ax.set_title(f"Stability of {found.k} clusters")
    note(ax, f"n = {len(rows)}")
    return fig
