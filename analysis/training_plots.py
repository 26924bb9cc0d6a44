"""How did a training go, and what did each ingredient bring? Curves, ablation bars, cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis import style
from analysis.style import styled

MEASURES = {"dice": "Dice", "lesion_f1": "lesion F1", "sensitivity": "voxel sensitivity"}
"""What the curves and bars show."""


@styled
def learning_curves(metrics: pd.DataFrame, title: str) -> Figure:
    """Loss and learning rate, and the validation measures, over the epochs of one run.

    Parameters
    ----------
    metrics : DataFrame
        ``metrics.csv``; epochs without a validation have empty measures.
    title : str
    """
    figure = style.figure(9, 3.2)
    left, right = figure.subplots(1, 2)
    left.plot(metrics["epoch"], metrics["loss"], color=style.BLUE)
    left.set_xlabel("epoch")
    left.set_ylabel("training loss")
    style.lettered(left, "a", title)
    rate = left.twinx()
    rate.plot(metrics["epoch"], metrics["learning_rate"], color=style.GREY, lw=1, ls=":")
    rate.set_ylabel("learning rate (dotted)", color=style.GREY)
    rate.grid(False)
    seen = metrics.dropna(subset=["dice"])
    for (name, label), colour in zip(MEASURES.items(), style.PALETTE, strict=False):
        right.plot(seen["epoch"], seen[name], "o-", ms=3, color=colour, label=label)
    right.set_ylim(0, 1)
    right.set_xlabel("epoch")
    style.lettered(right, "b", "validation, whole volumes")
    if len(seen):
        right.legend(loc="upper left")
    else:
        right.text(0.5, 0.5, "nobody validated", transform=right.transAxes, ha="center")
    return figure


@styled
def ablation_bars(runs: pd.DataFrame, by: list[str], measure: str = "dice") -> Figure:
    """Mean of a measure by setting, every run a point, bars of one standard deviation.

    Parameters
    ----------
    runs : DataFrame
        A row a run: the swept keys, and the measures of its best validation.
    by : list of str
        Keys that are compared; runs that agree in all of them are pooled.
    measure : str
    """
    groups = runs.groupby(by, sort=False, dropna=False)[measure] if by else None
    named = {_label(by, key): part for key, part in groups} if groups is not None else {}
    named = named or {"all runs": runs[measure]}
    figure = style.figure(2.2 + 1.1 * len(named), 3.4)
    axes = figure.subplots()
    for at, (values, colour) in enumerate(zip(named.values(), _colours(len(named)), strict=True)):
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        axes.bar(at, values.mean(), 0.6, yerr=spread, color=colour, alpha=0.8, capsize=4)
        offsets = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]
        axes.plot(at + np.asarray(offsets), values, "o", ms=3, color=style.INK)
    axes.set_xticks(range(len(named)), [f"{n}\nn = {len(v)}" for n, v in named.items()])
    axes.set_ylabel(MEASURES.get(measure, measure))
    axes.set_title("mean, points are runs, whiskers ± 1 SD")
    return figure


def _label(by: list[str], key: Any) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return "\n".join(
        f"{n.removesuffix('.name').rpartition('.')[2]} {v}" for n, v in zip(by, values, strict=True)
    )


def _colours(count: int) -> list[str]:
    return [style.PALETTE[i % len(style.PALETTE)] for i in range(count)]


@styled
def overlay_case(case: Mapping[str, NDArray[Any]], title: str, threshold: float) -> Figure:
    """One axial slice: the image, the truth on it, the prediction on it.

    Parameters
    ----------
    case : mapping
        ``image``, ``truth`` and ``probability``, each (x, y).
    title : str
    threshold : float
        Of the probability.
    """
    image = np.asarray(case["image"], dtype=np.float32)
    inside = image[image != 0]
    low, high = np.percentile(inside, (1, 99.5)) if inside.size else (0, 1)
    figure = style.figure(9, 3.4)
    panels = figure.subplots(1, 3)
    shown = {
        title: None,
        "truth": np.asarray(case["truth"]) > 0,
        "prediction": np.asarray(case["probability"]) >= threshold,
    }
    colours = (style.INK, style.GREEN, style.RED)
    for axes, (name, mask), colour in zip(panels, shown.items(), colours, strict=True):
        axes.imshow(image.T, origin="lower", cmap="gray", vmin=low, vmax=high)
        if mask is not None and mask.any():
            axes.contour(mask.T, [0.5], colors=[colour], linewidths=1)
        axes.set_title(name)
        axes.axis("off")
    return figure
