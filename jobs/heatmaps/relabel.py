"""Do a tool's labels of the vertebrae agree with a localizer's heatmaps, and if not, what would?

A tool that counts from one end is wrong by a whole vertebra or not at all. So three answers are
compared: the labels as they are, and shifted by one up or down; each is as likely as the heatmaps
say at the gaps between the vertebrae. A suggestion, for a reader to accept: nothing is overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.heatmaps.centroids import DISC, L1, L5, L6, SACRUM, T13, Centroids
from jobs.heatmaps.places import Gap
from lamstore.grid import Grid

EPS = 1e-3
"""Least probability of anything: one gap alone can not decide."""
SHIFTS = (-1, 0, 1)


@dataclass(frozen=True)
class Suggestion:
    """How labels should move.

    Attributes
    ----------
    shift : int
        Vertebrae by which every label moves down: 1 makes L4 of what is called L3. 0: they stay.
    log_odds : float
        ln of how much likelier the best shift is than the labels as they are; 0 where they stay.
    sacrum_holds_l5 : bool
        The sacrum's label would cover what is now L5: its mask has to be divided by hand.
    """

    shift: int
    log_odds: float
    sacrum_holds_l5: bool


def evidence(
    heatmap: NDArray[np.floating], found: Sequence[Gap], grid: Grid, radius_mm: float = 12.0
) -> NDArray[np.float64]:
    """How much each level claims each gap.

    Parameters
    ----------
    heatmap : (level, x, y, z) ndarray in [0, 1]
        Of a whole series, on `grid`.
    found : sequence of Gap
        In voxels of `grid`.
    radius_mm : float
        Around the centre of a gap; discs lie 30 mm and more apart.

    Returns
    -------
    (gap, level) float64 ndarray
        Largest value within the radius; 0 for a gap outside of the grid.
    """
    voxels = np.argwhere(np.ones(_box(radius_mm, grid))) - (np.array(_box(radius_mm, grid)) // 2)
    near = voxels[np.linalg.norm(voxels @ grid.matrix[:3, :3].T, axis=1) <= radius_mm]
    claims = np.zeros((len(found), len(heatmap)))
    for row, gap in zip(claims, found, strict=True):
        at = np.round(gap.centre).astype(int) + near
        inside = at[((at >= 0) & (at < np.array(grid.shape))).all(axis=1)]
        if len(inside):
            row[:] = heatmap[:, *inside.T].max(axis=1)
    return claims


def suggest(claims: NDArray[np.float64], found: Sequence[Gap], margin: float = 2.0) -> Suggestion:
    """The shift that the heatmaps favour.

    Parameters
    ----------
    claims : (gap, level) ndarray
        See `evidence`.
    found : sequence of Gap
    margin : float
        Log-odds that a shift needs; below it the labels stay. They stay as well where the shifted
        ones are not claimed more: maps that are empty are no evidence.
    """
    totals = {shift: _log_likelihood(claims, found, shift) for shift in SHIFTS}
    best = max(SHIFTS, key=lambda shift: totals[shift])
    log_odds = totals[best] - totals[0]
    if log_odds < margin or _claimed(claims, found, best) <= _claimed(claims, found, 0):
        return Suggestion(0, 0.0, sacrum_holds_l5=False)
    last = max(gap.level for gap in found)
    return Suggestion(best, log_odds, sacrum_holds_l5=last + best < L5 - L1)


def relabelling(labels: Sequence[int], shift: int) -> dict[int, int]:
    """New label of each label that changes.

    T13 and L6 are put back into the ordinary count (T12, L5 or sacrum); what moves below L5 joins
    the sacrum. Discs and endplates (100 and 200 more than their vertebra) follow.
    """
    vertebrae = {label % DISC for label in labels}
    moved = {v: _moved(v, shift, T13 in vertebrae) for v in vertebrae}
    found = {label: moved[label % DISC] + label // DISC * DISC for label in labels}
    return {old: new for old, new in found.items() if shift and old != new}


def relabelled_mask(mask: NDArray[Any], mapping: Mapping[int, int]) -> NDArray[Any]:
    """A mask of integer labels with other labels; a new array of the same type."""
    if mask.dtype.kind == "u" and mask.dtype.itemsize < 4:  # one pass, whatever the labels
        table = np.arange(np.iinfo(mask.dtype).max + 1, dtype=mask.dtype)
        table[list(mapping)] = list(mapping.values())
        return np.asarray(table[mask])
    out = mask.copy()
    for old, new in mapping.items():
        out[mask == old] = new
    return out


def relabelled_centroids(centroids: Centroids, mapping: Mapping[int, int]) -> Centroids:
    """Centroids with other labels; of two that come to share one, that which had it stays."""
    kept = {k: p for k, p in centroids.points.items() if k not in mapping}
    moved = {mapping[k]: p for k, p in sorted(centroids.points.items()) if k in mapping}
    return replace(centroids, points={**moved, **kept})


def _log_likelihood(claims: NDArray[np.float64], found: Sequence[Gap], shift: int) -> float:
    total = 0.0
    for claim, gap in zip(claims, found, strict=True):
        level = gap.level + shift
        none = 1 - claim.sum()
        likely = claim[level] if 0 <= level < len(claim) else none
        total += float(np.log(np.clip(likely, EPS, 1)))
    return total


def _claimed(claims: NDArray[np.float64], found: Sequence[Gap], shift: int) -> float:
    """Sum of what the levels claim of the gaps that would be theirs."""
    pairs = [(row, gap.level + shift) for row, gap in zip(claims, found, strict=True)]
    return float(sum(row[level] for row, level in pairs if 0 <= level < len(row)))


def _moved(label: int, shift: int, has_t13: bool) -> int:
    """Label of a vertebra after a shift along the count; other structures stay."""
    if label == SACRUM or not (1 <= label <= L6 or label == T13):
        return label
    thoracic = has_t13 and label < L1
    moved = (-1 if label == T13 else label - L1 - thoracic) + shift
    return SACRUM if moved > L5 - L1 else max(L1 + moved, 1)


def _box(radius_mm: float, grid: Grid) -> tuple[int, int, int]:
    x, y, z = (2 * int(np.ceil(radius_mm / mm)) + 1 for mm in grid.spacing_mm)
    return x, y, z
