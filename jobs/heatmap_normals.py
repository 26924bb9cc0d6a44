"""How unusual is what a localizer says of a level, among normal spines that it knows?

Uncertainty shows now in one measure, now in another: a rudimentary disc lowers the peak and
shortens a spacing, a disc that could be two levels divides their heat. Each measure is turned into
the share of normals that are at least as suspicious, and the shares are combined as Fisher combines
p values (*Statistical Methods for Research Workers*, 4th ed., 1932, § 21.1). Only normals enter: a
localizer that never saw a transitional vertebra stays one that never saw one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamstore.errors import UnreadableInputError

NAME = "surprise"
"""End of the column."""
SUSPICIOUS = {
    "entropy": 1,
    "label_entropy": 1,
    "off_chain_mass": 1,
    "spacing_deviation": 1,
    "confidence": -1,
}
"""Ends of the columns that are combined, and whether high or low is suspicious."""
DIGITS = 5

Normals = Mapping[str, NDArray[np.float64]]
"""Values of normal spines by column."""


def surprise(measures: Mapping[str, float], level: str, normals: Normals) -> float:
    """Mean of ``-ln p`` over the measures of a level that normals have, in nats.

    p is the share of normals whose value is at least as suspicious, the spine itself counted with
    them: from 1 / (n + 1), beyond all of n normals, to 1. A measure that is not defined (no peak)
    is beyond all. Half of Fisher's statistic, divided by the number of measures; these are not
    independent, so it ranks and is no p value.

    Returns
    -------
    float
        About 1 for an ordinary normal spine, at most ln(n + 1).
    """
    logs = []
    for name, sign in SUSPICIOUS.items():
        column = f"{level}_{name}"
        if column in normals:
            known, value = sign * normals[column], sign * measures[column]
            beyond = 0 if np.isnan(value) else int((known >= value).sum())
            logs.append(-np.log((1 + beyond) / (1 + len(known))))
    return float(np.mean(logs))


def collected(spines: Sequence[Mapping[str, float]], levels: Sequence[str]) -> Normals:
    """Values of normal spines of the columns that `surprise` looks at.

    Parameters
    ----------
    spines : sequence of mapping of column to float
        Measures of each. A column that one of them has no number for is left out.
    """
    columns = [f"{level}_{name}" for level in levels for name in SUSPICIOUS]
    found = {c: np.sort([one[c] for one in spines]) for c in columns}
    return {c: v for c, v in found.items() if np.isfinite(v).all()}


def write_normals(path: Path, normals: Normals, digests: Mapping[str, str]) -> None:
    """Write values, rounded, and which weights they belong to (digest by name)."""
    rounded = {c: [float(f"{v:.{DIGITS}g}") for v in values] for c, values in normals.items()}
    text = json.dumps({"weights": dict(digests), "normals": rounded}, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")


def read_normals(path: Path, digests: Mapping[str, str]) -> Normals:
    """What was written for exactly these weights; empty where there is no file, or for others.

    Raises
    ------
    UnreadableInputError
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["weights"] != dict(digests):
            return {}
        return {c: np.array(values, np.float64) for c, values in found["normals"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableInputError(
            f"{path} does not hold measures of normal spines",
            got=f"{type(error).__name__}: {error}",
            remedy="make the weights again: lam train-localizer DIR",
        ) from error
