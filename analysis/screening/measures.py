"""Which measures of a localizer may betray a transitional vertebra, and in which direction?

The direction is declared here, from what each measure means, and never fitted: a measure that
points the wrong way in a cohort gets an AUROC below 0.5 and is shown with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lamstore.errors import AnalysisError

SPINE = "spine"
"""In place of a level, for measures of the whole spine."""
UNIT_LABELS = {"": "", "nats": " (nats)", "mm": " (mm)"}


@dataclass(frozen=True)
class Kind:
    """A kind of measure.

    Attributes
    ----------
    name : str
        End of its column, ``entropy`` of ``l5_s1_entropy``.
    says : str
        In a few words, for plots.
    higher : bool
        Whether higher is suspicious.
    digits : int
        Decimals with which it is written.
    """

    name: str
    says: str
    higher: bool
    unit: str = ""
    digits: int = 2


OF_A_LEVEL = (
    Kind("entropy", "entropy", True, "nats"),
    Kind("confidence", "peak confidence", False, digits=3),
    Kind("spatial_entropy", "spatial entropy", True, "nats"),
    Kind("second_peak", "second peak, relative", True),
    Kind("label_entropy", "which level it is", True, "nats"),
    Kind("off_chain_mass", "mass off the chain", True),
    Kind("spacing_deviation", "spacing unlike the others", True),
    Kind("mutual_information", "mutual information of members", True, "nats", 3),
    Kind("peak_spread_mm", "spread of the members' peaks", True, "mm"),
    Kind("surprise", "unlike known normals", True, "nats"),
)
"""Those of one level, the prior system's first."""
OF_THE_SPINE = (
    Kind("chain_levels", "levels on the chain", False, digits=0),
    Kind("order_violations", "levels out of order", True, digits=0),
)
ENTROPY, CONFIDENCE = OF_A_LEVEL[:2]


@dataclass(frozen=True)
class Measure:
    """A column of the table of measures: a kind at a level."""

    level: str
    kind: Kind

    @property
    def column(self) -> str:
        """Its name in the table."""
        return self.kind.name if self.level == SPINE else f"{self.level}_{self.kind.name}"

    @property
    def label(self) -> str:
        """For a reader: ``entropy, L5/S1 (nats)``."""
        unit = UNIT_LABELS[self.kind.unit]
        return f"{self.kind.says}, {level_name(self.level)}{unit}"

    def score(self, values: pd.Series) -> NDArray[np.float64]:
        """(n,) values turned so that higher is suspicious."""
        numbers = values.to_numpy(np.float64)
        return numbers if self.kind.higher else -numbers

    def value(self, score: float) -> float:
        """What a score is in the measure's own terms."""
        return score if self.kind.higher else -score

    @property
    def sign(self) -> str:
        """How a value compares to a threshold where it is suspicious."""
        return "≥" if self.kind.higher else "≤"


def level_name(level: str) -> str:
    """``L5/S1`` for ``l5_s1``."""
    return "whole spine" if level == SPINE else level.replace("_", "/").upper()


def levels_of(columns: Iterable[str]) -> list[str]:
    """Levels that a table has, in its order."""
    tail = f"_{CONFIDENCE.name}"
    return [name.removesuffix(tail) for name in columns if name.endswith(tail)]


def level_measures(table: pd.DataFrame, levels: Sequence[str]) -> list[Measure]:
    """Measures of the levels of which a table has a number for anybody, and of the spine."""
    wanted = [Measure(level, kind) for level in levels for kind in OF_A_LEVEL]
    wanted += [Measure(SPINE, kind) for kind in OF_THE_SPINE]
    return [m for m in wanted if m.column in table and table[m.column].notna().any()]


def queue_measure(columns: Iterable[str], column: str) -> Measure:
    """The measure that ranks a queue.

    Parameters
    ----------
    columns : iterable of str
        Of the table.
    column : str
        ``screening.queue_measure`` of study.yaml.

    Raises
    ------
    AnalysisError
        When the table has no such column, or nobody has declared which direction is suspicious.
    """
    known = [str(name) for name in columns]
    levels = levels_of(known)
    every = [Measure(level, kind) for level in levels for kind in OF_A_LEVEL]
    every += [Measure(SPINE, kind) for kind in OF_THE_SPINE]
    usable = {m.column: m for m in every if m.column in known}
    if column not in usable:
        raise AnalysisError(
            "the queue cannot be ranked by this measure",
            got=column,
            expected=", ".join(usable),
            remedy="correct screening.queue_measure in study.yaml",
        )
    return usable[column]
