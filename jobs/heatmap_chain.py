"""Do the levels that a localizer found make a spine? Order, spacing, and what lies off the chain.

A spine is a chain: each level below the one before, at the distance of one vertebra. Of every
level's maxima at most one is chosen so that the chosen ones make such a chain and are, together, as
high as can be; a transitional level shows by peaks that no chain takes up, by mass away from it, or
by a spacing unlike the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs.heatmap_measures import Floats, Peak, mass_beyond
from lamstore.config import HeatmapConfig
from lamstore.grid import Grid

Chain = tuple[Peak | None, ...]
"""Of each level the peak on the chain, None for a level that has none."""


def best_chain(candidates: Sequence[Sequence[Peak]], config: HeatmapConfig) -> Chain:
    """The chain of greatest total height.

    Consecutive chosen levels must descend (RAS z) and lie within ``spacing_mm`` of each other,
    times the number of steps between them where levels in between are left out.

    Parameters
    ----------
    candidates : sequence of sequences of Peak
        Maxima of each level, levels from the head down.
    """
    # Best total that ends in each peak, and the way there: a level may follow any earlier one.
    ends: list[tuple[float, tuple[tuple[int, Peak], ...]]] = []
    for level, found in enumerate(candidates):
        new = []
        for peak in found:
            before = [end for end in ends if _follows(end[1][-1], (level, peak), config)]
            total, way = max(before, key=lambda end: end[0], default=(0.0, ()))
            new.append((total + peak.height, (*way, (level, peak))))
        ends += new
    chosen = dict(max(ends, key=lambda end: end[0], default=(0.0, ()))[1])
    return tuple(chosen.get(level) for level in range(len(candidates)))


def _follows(upper: tuple[int, Peak], lower: tuple[int, Peak], config: HeatmapConfig) -> bool:
    steps = lower[0] - upper[0]
    if steps < 1:
        return False
    apart = upper[1].position_mm - lower[1].position_mm
    low, high = config.spacing_mm
    return bool(apart[2] > 0 and steps * low <= np.linalg.norm(apart) <= steps * high)


def chain_measures(
    levels: Sequence[str],
    heatmap: Floats,
    candidates: Sequence[Sequence[Peak]],
    grid: Grid,
    config: HeatmapConfig,
) -> dict[str, float]:
    """Columns that hold the levels against each other.

    Parameters
    ----------
    heatmap : (level, x, y, z) ndarray
    candidates : sequence of sequences of Peak
        Of each level.

    Returns
    -------
    dict
        ``{level}_off_chain_mass``: share of the level's mass farther than ``chain_radius_mm`` from
        its place on the chain, 1 for a level that is not on it;
        ``{level}_spacing_mm``: distance of its highest peak from that of the level above (NaN for
        the first, and where one is empty);
        ``{level}_spacing_deviation``: |ln| of that spacing over the median of the other spacings;
        ``chain_levels``: how many levels are on the chain;
        ``order_violations``: pairs of neighbours whose highest peaks do not descend.
    """
    chain = best_chain(candidates, config)
    columns: dict[str, float] = {}
    for level, level_map, peak in zip(levels, heatmap, chain, strict=True):
        columns[f"{level}_off_chain_mass"] = (
            mass_beyond(level_map, peak.position_mm, config.chain_radius_mm, grid, config.floor)
            if peak
            else 1.0
        )
    tops = np.array([p[0].position_mm if p else np.full(3, np.nan) for p in candidates])
    steps = np.diff(tops, axis=0)
    spacings = [float("nan"), *np.linalg.norm(steps, axis=1).tolist()]
    for i, level in enumerate(levels):
        columns[f"{level}_spacing_mm"] = spacings[i]
        columns[f"{level}_spacing_deviation"] = _deviation(spacings, i)
    columns["chain_levels"] = float(sum(peak is not None for peak in chain))
    columns["order_violations"] = float((steps[:, 2] >= 0).sum())
    return columns


def _deviation(spacings: Sequence[float], i: int) -> float:
    """|ln| of one spacing over the median of the others; NaN without any, or where one is 0."""
    others = [s for k, s in enumerate(spacings) if k != i and np.isfinite(s)]
    if not others or not np.isfinite(spacings[i]) or spacings[i] <= 0 or np.median(others) <= 0:
        return float("nan")
    return float(abs(np.log(spacings[i] / np.median(others))))
