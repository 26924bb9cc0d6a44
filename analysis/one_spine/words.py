"""What does the answer say in sentences, and which numbers stand beside them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report.headline import Tile, Tone
from analysis.report.words import count, listed, number
from analysis.screening.groups import RISKS, risk_of
from analysis.screening.measures import OF_A_LEVEL, level_name
from lamstore.config import ScreeningConfig

Measures = Mapping[str, float]
Normals = Mapping[str, NDArray[np.float64]]
IN_THE_TABLE = ("confidence", "entropy", "spatial_entropy", "label_entropy", "surprise")
TONES: Mapping[str, Tone] = {"high": "bad", "medium": "warn"}
KINDS = {kind.name: kind for kind in OF_A_LEVEL}


def risk(measures: Measures, config: ScreeningConfig) -> str:
    """Risk group of the spine, as in a study."""
    return str(risk_of(_series([entropy(measures, config)]), config).iloc[0])


def entropy(measures: Measures, config: ScreeningConfig) -> float:
    """The number that decides the risk group; NaN where there is none."""
    return measures.get(f"{config.score_level}_entropy", float("nan"))


def _series(values: Sequence[float] | NDArray[np.float64]) -> pd.Series:
    return pd.Series(np.asarray(values, np.float64))


def verdict(measures: Measures, config: ScreeningConfig) -> str:
    """One sentence."""
    group, level = risk(measures, config), level_name(config.score_level)
    if group == "undefined":
        return f"No risk group: there is no entropy at {level}."
    return (
        f"{group.capitalize()} risk group: entropy {number(entropy(measures, config))} at {level}."
    )


def because(
    measures: Measures, normals: Normals, levels: Sequence[str], config: ScreeningConfig
) -> list[str]:
    """Sentences below the verdict."""
    bounds = (
        f"The bounds are study.yaml's: high above {config.high_entropy:g}, medium from "
        f"{config.medium_entropy:g} on."
    )
    return [
        bounds,
        *_known(normals, config),
        *_unusual(measures, levels),
        *_foreign(measures, normals, levels),
        *_chain(measures, levels),
    ]


def _known(normals: Normals, config: ScreeningConfig) -> list[str]:
    """How the same bounds divide the known normals: whether they fit this network."""
    known = normals.get(f"{config.score_level}_entropy")
    if known is None:
        return ["Nothing is known of normal spines under these weights."]
    groups = risk_of(_series(known), config).value_counts()
    parts = [f"{groups[name]} {name}" for name in RISKS if name in groups]
    said = f"They call {listed(parts)} of the {len(known)} known normal spines"
    if 2 * groups.get("low", 0) < len(known):
        said += ": they do not fit these networks (the defaults are the prior system's)"
    return [f"{said}."]


def _unusual(measures: Measures, levels: Sequence[str]) -> list[str]:
    found = {k: measures[f"{k}_surprise"] for k in levels if f"{k}_surprise" in measures}
    if not found:
        return []
    most = max(found, key=lambda k: found[k])
    return [
        f"Most unlike known normals is {level_name(most)}: surprise {number(found[most])}, where "
        "about 1 is ordinary."
    ]


def _foreign(measures: Measures, normals: Normals, levels: Sequence[str]) -> list[str]:
    """That no level is among the known normals: a single vertebra does not do that."""
    columns = [f"{level}_entropy" for level in levels]
    if not all(c in normals and measures[c] > normals[c].max() for c in columns):
        return []
    return [
        "Every level's entropy is beyond all known normals: these images are unlike those that the "
        "networks know, which says nothing of a single vertebra."
    ]


def _chain(measures: Measures, levels: Sequence[str]) -> list[str]:
    on, wrong = int(measures["chain_levels"]), int(measures["order_violations"])
    said = []
    if on < len(levels):
        said.append(f"Only {on} of {len(levels)} levels lie on one chain.")
    if wrong:
        said.append(f"{count(wrong, 'pair of neighbours', 'pairs of neighbours')} do not descend.")
    return said


def tiles(measures: Measures, config: ScreeningConfig) -> list[Tile]:
    """The numbers of the level that screens."""
    level, group = config.score_level, risk(measures, config)
    tone = TONES.get(group, "plain")
    return [
        Tile(
            _spoken(name).capitalize(),
            number(measures[f"{level}_{name}"], KINDS[name].digits),
            f"{level_name(level)}{', nats' if KINDS[name].unit else ''}",
            tone if name == "entropy" else "plain",
        )
        for name in ("entropy", "confidence", "spatial_entropy", "surprise")
        if f"{level}_{name}" in measures
    ]


def table(measures: Measures, levels: Sequence[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Heads, and a row a level."""
    names = [n for n in IN_THE_TABLE if f"{levels[0]}_{n}" in measures]
    heads = [_spoken(name) for name in names]
    rows = [
        (
            level_name(level),
            *(number(measures[f"{level}_{name}"], KINDS[name].digits) for name in names),
        )
        for level in levels
    ]
    return heads, rows


def _spoken(name: str) -> str:
    """As the columns of a study's table are called."""
    return name.replace("_", " ")
