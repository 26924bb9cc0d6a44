"""How far off is a localizer on generated spines that it has not seen, and does it notice LSTV?

Everything goes through the engine, as in a study. Normals give the distance of each level's
highest peak from its landmark; normals and transitional spines together give, for every measure
of uncertainty, the area under the ROC curve of telling the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.engines.base import EngineInput, Localizer
from jobs.locate import heatmap_measures
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import Lumbar, generate_lumbar
from jobs.lumbar.spec import KINDS
from lamstore.config import HeatmapConfig
from lamstore.grid import Grid

TRANSITIONAL = tuple(kind for kind in KINDS if kind != "normal")
LOW_IS_SUSPECT = ("_confidence", "chain_levels")
"""Endings of measures that are low where a localizer is unsure; all others are high."""


@dataclass(frozen=True)
class Judged:
    """One generated spine under a localizer.

    Attributes
    ----------
    seed : int
    kind : str
    error_mm : mapping of level to float
        Distance of the highest peak from the landmark; NaN where there is no peak.
    measures : mapping of column to float
        As the table of a study has them.
    """

    seed: int
    kind: str
    error_mm: dict[str, float]
    measures: dict[str, float]


def judge(engine: Localizer, made: Lumbar, config: HeatmapConfig) -> Judged:
    """Run the engine, loaded, on one generated spine."""
    image = made.volume.astype(np.float32)
    grid = Grid.of(image.shape, made.affine)
    everywhere = np.ones(image.shape, bool)
    found = engine.locate(
        EngineInput(f"{made.kind}{made.spec.seed}", "t0", "none",
                    {engine.required_modalities[0]: image}, everywhere, grid)
    )  # fmt: skip
    measures = heatmap_measures(engine, found, grid, config)
    errors = {level: _distance(made, level, measures) for level in engine.levels}
    return Judged(made.spec.seed, made.kind, errors, measures)


def _distance(made: Lumbar, level: str, measures: dict[str, float]) -> float:
    peak = np.array([measures[f"{level}_peak_{axis}_mm"] for axis in "xyz"])
    return float(np.linalg.norm(peak - made.landmarks[level]))


def judge_generated(
    engine: Localizer, normals: Iterable[int], transitional: Iterable[int]
) -> list[Judged]:
    """Judge freshly generated spines; transitional seeds take the four kinds in turn."""
    config = HeatmapConfig()
    found = [judge(engine, generate_lumbar(draw_spec(s, "normal")), config) for s in normals]
    for i, seed in enumerate(transitional):
        spec = draw_spec(seed, TRANSITIONAL[i % len(TRANSITIONAL)])
        found.append(judge(engine, generate_lumbar(spec), config))
    return found


def localization(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Of the normals, by level: median and 95th percentile of the error (mm), and n."""
    normals = [one for one in judged if one.kind == "normal"]
    summary = {}
    for level in normals[0].error_mm if normals else ():
        errors = np.array([one.error_mm[level] for one in normals])
        summary[level] = {
            "median_mm": float(np.median(errors)),
            "p95_mm": float(np.percentile(errors, 95)),
            "within_10_mm": float((errors < 10).mean()),
            "n": float(len(errors)),
        }
    return summary


def screening(judged: Sequence[Judged], kinds: Sequence[str] = TRANSITIONAL) -> dict[str, float]:
    """AUROC of normals against `kinds` by measure, best first; measures with NaN are left out."""
    chosen = [one for one in judged if one.kind == "normal" or one.kind in kinds]
    suspect = np.array([one.kind != "normal" for one in chosen])
    found = {}
    for column in chosen[0].measures if chosen else ():
        values = np.array([one.measures[column] for one in chosen])
        if np.isfinite(values).all() and "_peak_" not in column:
            sign = -1 if column.endswith(LOW_IS_SUSPECT) else 1
            found[column] = _auroc(sign * values, suspect)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, score))
