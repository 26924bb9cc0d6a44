"""Can a measure be read as a probability? Fitted on one half, checked on the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.calibration import reliability
from analysis.screening.measures import Measure
from analysis.screening.thresholds import halves
from analysis.stats import MINIMUM_N, wilson

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Method = Literal["logistic", "isotonic"]

METHODS: tuple[Method, ...] = ("logistic", "isotonic")
BINS = 5
"""Of equal width over 0 to 1; cohorts of labelled spines are small."""


def fitted(score: Floats, positive: Bools, at: Floats, method: Method) -> Floats:
    """Probabilities at scores, by a curve fitted to others.

    Parameters
    ----------
    score : (n,) ndarray
        Finite; both classes.
    at : (k,) ndarray
        Finite.
    method : {"logistic", "isotonic"}
        Logistic: of the standardized score, with scikit-learn's default penalty, without which
        classes that are apart have no solution. Isotonic: constant outside the fitted range.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    if method == "isotonic":
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, positive)
        return np.asarray(curve.predict(at), np.float64)
    middle, spread = score.mean(), score.std() or 1.0
    model = LogisticRegression().fit(((score - middle) / spread)[:, None], positive)
    return np.asarray(model.predict_proba(((at - middle) / spread)[:, None])[:, 1], np.float64)


def cross_fitted(
    score: Floats, positive: Bools, first: Bools, method: Method
) -> tuple[Floats, Floats]:
    """Probability of each study by the half that it is not in, and by that half's share alone.

    Returns
    -------
    probability, base : (n,) ndarray
        NaN where the score is.
    """
    probability, base = np.full(score.size, np.nan), np.full(score.size, np.nan)
    known = np.isfinite(score)
    for half in (first, ~first):
        fit, other = half & known, ~half & known
        probability[other] = fitted(score[fit], positive[fit], score[other], method)
        base[other] = positive[fit].mean()
    return probability, base


def calibration_table(
    table: pd.DataFrame, positive: Bools, measures: Sequence[Measure], seed: int
) -> pd.DataFrame:
    """A row a measure, method and bin of the probability.

    Every study gets its probability from the half that it is not in. ``brier`` is the mean squared
    error over all bins, ``brier_base`` that of the other half's share of transitional spines alone.
    """
    first = halves(positive, seed)
    frames = [pd.DataFrame()]
    for measure in measures:
        score = measure.score(table[measure.column])
        known = np.isfinite(score)
        cells = [known & half & who for half in (first, ~first) for who in (positive, ~positive)]
        if min(int(cell.sum()) for cell in cells) >= MINIMUM_N:
            for method in METHODS:
                named = {"measure": measure.column, "method": method}
                rows = _bins(*cross_fitted(score, positive, first, method), positive)
                frames.append(pd.DataFrame([named | row for row in rows]))
    return pd.concat(frames, ignore_index=True)


def _bins(probability: Floats, base: Floats, positive: Bools) -> Iterator[dict[str, Any]]:
    known = np.isfinite(probability)
    found = reliability(probability[known], positive[known], bins=BINS)
    reference = float(((base[known] - positive[known]) ** 2).mean())
    for i, n in enumerate(found.count.tolist()):
        share = wilson("share", round(float(found.sum_truth[i])), n)
        yield {
            "probability_from": i / BINS,
            "probability_to": (i + 1) / BINS,
            "n": n,
            "mean_probability": float(found.confidence[i]),
            "share_lstv": share.value,
            "share_low": share.low,
            "share_high": share.high,
            "brier": found.brier,
            "brier_base": reference,
            "n_all": found.n,
        }
