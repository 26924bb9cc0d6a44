"""What does one scan contribute to the calibration of a cohort? Two histograms that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

from analysis import calibration as cal

MINIMUM_PROBABILITY = 0.01
"""The reliability diagram leaves out voxels below it: sure background hides any error."""

UPPER = {"ens_var": 0.25, "prob_p1mp": 0.25, "prob_entropy": log(2), "mutual_information": log(2)}
"""Largest value of a measure; the two divergences are bounded by ln 1e6 alone."""


@dataclass(frozen=True)
class Tally:
    """Histograms of some scans.

    Attributes
    ----------
    scans : int
        Pairs of scans for a change truth.
    retention : mapping of measure to RetentionHistogram
    unreadable : int
        Scans whose stored bytes are damaged; they are in nothing else.
    """

    scans: int
    reliability: cal.Reliability
    retention: Mapping[str, cal.RetentionHistogram]
    unreadable: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.scans + other.scans,
            self.reliability + other.reliability,
            {m: h + other.retention[m] for m, h in self.retention.items()},
            self.unreadable + other.unreadable,
        )


def tally(
    probability: NDArray[np.floating],
    predicted: NDArray[np.bool_],
    uncertainty: NDArray[np.floating],
    truth: NDArray[np.bool_],
    measures: Sequence[str],
) -> Tally:
    """Histograms of one scan's brain voxels.

    Parameters
    ----------
    probability, predicted, truth : (n,) ndarray
    uncertainty : (measure, n) ndarray
    """
    retention = {
        name: cal.retention_histogram(values, predicted, truth, _edges(name))
        for name, values in zip(measures, uncertainty, strict=True)
    }
    reliability = cal.reliability(probability, truth, minimum_probability=MINIMUM_PROBABILITY)
    return Tally(1, reliability, retention)


@lru_cache
def _edges(measure: str) -> cal.Floats:
    return cal.uncertainty_edges(UPPER.get(measure, log(1e6)))
