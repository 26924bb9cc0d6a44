"""What does a localizer make of one image: heatmaps for the store, measures for the ledger?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.engines.base import Localization, Localizer
from jobs.heatmap_chain import chain_measures
from jobs.heatmap_grid import onto
from jobs.heatmap_measures import (
    Floats,
    label_entropy,
    left_right_axis,
    level_measures,
    named,
    peak_measures,
    peak_planes,
    peak_spread_mm,
    peaks,
)
from jobs.heatmap_normals import NAME as SURPRISE
from jobs.heatmap_normals import surprise
from lamstore.config import HeatmapConfig
from lamstore.errors import EngineError
from lamstore.grid import Grid

VERSION = "2"
"""Raised whenever the same heatmaps give other measures."""

STEPS = 2048
"""Steps from 0 to 1 in which heatmaps are stored: the precision that float16 has below 1. A softmax
is nowhere quite 0; without this the faint rest of it would be most of what lies on disk."""


def check_localization(engine: Localizer, found: Localization, grid: Grid, what: str) -> None:
    """Refuse an engine's output that breaks the contract.

    Raises
    ------
    EngineError
        Naming the engine, the unit (`what`) and what is wrong.
    """
    lead = (len(engine.members), len(engine.levels))
    expected, got = (*lead, *(found.grid or grid).shape), found.heatmap.shape
    if got != expected or not all(lead):
        raise EngineError(
            f"{engine.name} returned heatmaps of another shape for {what}",
            got=str(got),
            expected=f"{expected}, at least one member and level",
        )
    if found.planes is not None and (found.planes.shape[:2] != lead or found.planes.ndim != 4):
        raise EngineError(
            f"{engine.name} returned planes of another shape for {what}",
            got=str(found.planes.shape),
            expected=f"{lead} and rows, columns",
        )
    for values in (found.heatmap, found.planes):
        low, high = (0, 1) if values is None else (values.min(), values.max())
        if not (low >= 0 and high <= 1):  # NaN too
            raise EngineError(
                f"{engine.name} returned heatmaps outside [0, 1] for {what}",
                got=f"from {low} to {high}",
            )


def heatmap_measures(
    engine: Localizer, found: Localization, grid: Grid, config: HeatmapConfig
) -> dict[str, float]:
    """Every scalar of one scan, level by level, in the order of the table's columns.

    First ``{level}_confidence``, ``{level}_entropy`` and ``{level}_spatial_entropy`` of all levels,
    then what the maximum hides (`jobs.heatmap_measures`, `jobs.heatmap_chain`), then how unusual
    that is where the engine knows normals (`jobs.heatmap_normals`). `grid` is that of the image;
    measures are taken on the heatmaps' own.
    """
    planes, grid = found.planes, found.grid or grid
    if planes is None:
        planes = peak_planes(found.heatmap, left_right_axis(grid))
    mean = mean_heatmap(found)
    first: dict[str, float] = {}
    rest: dict[str, float] = {}
    candidates = [peaks(level_map, grid, config) for level_map in mean]
    for i, level in enumerate(engine.levels):
        known = level_measures(planes[:, i])
        rest |= named(level, peak_measures(candidates[i]))
        rest[f"{level}_label_entropy"] = (
            label_entropy(mean, candidates[i][0].position_mm, grid)
            if candidates[i]
            else float(np.log(len(engine.levels)))  # what is nowhere could be any
        )
        if "mutual_information" in known:
            rest[f"{level}_mutual_information"] = known.pop("mutual_information")
            rest[f"{level}_peak_spread_mm"] = peak_spread_mm(found.heatmap[:, i], grid)
        first |= named(level, known)
    columns = first | rest | chain_measures(engine.levels, mean, candidates, grid, config)
    if normals := engine.normals:
        values = {level: surprise(columns, level, normals) for level in engine.levels}
        columns |= {f"{level}_{SURPRISE}": value for level, value in values.items()}
    return columns


def mean_heatmap(found: Localization) -> Floats:
    """(level, x, y, z) mean over members; the only member itself, uncopied."""
    first: Floats = found.heatmap[0]
    if len(found.heatmap) == 1:
        return first
    # NumPy's own mean takes twice as long along the first of several axes.
    mean: Floats = first + found.heatmap[1]
    for other in found.heatmap[2:]:
        mean += other
    mean /= np.float32(len(found.heatmap))
    return mean


def image_heatmap(found: Localization, grid: Grid) -> Floats:
    """(level, x, y, z) float32 mean over members on the grid of the image."""
    return onto(mean_heatmap(found), found.grid or grid, grid)


def stored_heatmap(found: Localization, grid: Grid) -> NDArray[np.float16]:
    """(level, x, y, z) as it goes to the store, on the image's grid.

    The mean over members in steps of 1 / 2048, x fastest in memory.
    """
    stored = onto(mean_heatmap(found), found.grid or grid, grid, np.float16, STEPS)
    return stored.astype(np.float16, copy=False)
