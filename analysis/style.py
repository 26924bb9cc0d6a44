"""What do all figures have in common?

One look for every figure: no pyplot state (figures are safe in worker threads), the Okabe–Ito
colours that colour-blind readers can tell apart, and cividis for continuous scales.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine, TightLayoutEngine

P = ParamSpec("P")

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
INK, GREY, PALE = "#222222", "#8A8F98", "#E4E7EB"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
SEQUENTIAL = "cividis"
NAMED = 60
"""Above this many subjects a figure does not name each one and stops growing."""
DPI = 150

RC: Any = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "text.color": INK,
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a figure function under the common style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def figure(width: float, height: float, *, constrained: bool = False) -> Figure:
    """Empty figure, in inches; `constrained` is for legends outside the axes and many panels.

    It measures every axes twice, tight layout once, and measuring costs as much as drawing.
    """
    layout = ConstrainedLayoutEngine() if constrained else TightLayoutEngine(pad=0.5)
    return Figure(figsize=(width, height), layout=layout)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, drawn once; `Figure.savefig` draws a figure with a layout twice."""
    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call]


def lettered(axes: Axes, letter: str, title: str) -> None:
    """Panel title such as ``a  ΔV``."""
    axes.set_title(f"{letter}   {title}")


def note(axes: Axes, text: str) -> None:
    """Small grey remark below the axes' title, at its right end."""
    axes.text(
        1.0, 1.02, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=8, color=GREY
    )


def name_points(axes: Axes, x: Any, y: Any, names: Any) -> None:
    """Write names beside points; those in the right half to their left."""
    low, high = axes.get_xlim()
    log = axes.get_xscale() == "log"
    for a, b, name in zip(x, y, names, strict=True):
        place = axes.transAxes.inverted().transform(axes.transData.transform((a, b)))[0]
        right = bool(place > 0.6)
        axes.annotate(
            str(name),
            (a, b),
            xytext=(-6 if right else 6, 3),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=7,
            color=INK,
        )
    if not log:
        axes.set_xlim(low, high)
