"""How well does each measure tell transitional spines from normal ones? Curves, areas, tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.paired import holm
from analysis.screening.delong import auroc_estimate, delong, paired_p_value
from analysis.screening.measures import Measure
from analysis.stats import CONFIDENCE, MINIMUM_N, RESAMPLES, Estimate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BOOTSTRAP_ELEMENTS = 2_000_000
"""Numbers resampled at a time."""
QUARTILES = (0.25, 0.5, 0.75)


def average_precision(cases: Floats, controls: Floats) -> Floats:
    """Average precision over the last axis: mean over cases of the precision at their score.

    Equal to ``sklearn.metrics.average_precision_score``, ties included, for thousands of resamples
    at once.

    Parameters
    ----------
    cases : (…, m) ndarray
        Scores of positives, higher means positive.
    controls : (…, n) ndarray
    """
    m = cases.shape[-1]
    every = np.concatenate([cases, controls], axis=-1)
    at_least = stats.rankdata(-every, method="max", axis=-1)[..., :m]
    cases_at_least = stats.rankdata(-cases, method="max", axis=-1)
    return np.asarray((cases_at_least / at_least).mean(axis=-1))


def average_precision_estimate(name: str, score: Floats, positive: Bools, seed: int) -> Estimate:
    """Average precision with a percentile bootstrap over the studies of each class.

    Classes are resampled apart, so that the share of positives, which is what chance gets, stays.
    """
    defined = np.isfinite(score)
    cases, controls = score[defined & positive], score[defined & ~positive]
    n = cases.size + controls.size
    nan = float("nan")
    if not cases.size or not controls.size:
        return Estimate(name, nan, nan, nan, n, "only one class")
    value = float(average_precision(cases, controls))
    if min(cases.size, controls.size) < MINIMUM_N:
        return Estimate(name, value, nan, nan, n, f"fewer than {MINIMUM_N} studies of a class")
    found = stats.bootstrap(
        (cases, controls),
        lambda a, b, axis: average_precision(a, b),
        n_resamples=RESAMPLES,
        batch=max(1, BOOTSTRAP_ELEMENTS // n),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    method = f"percentile bootstrap within classes, {RESAMPLES} resamples"
    return Estimate(name, value, float(found.low), float(found.high), n, method)


def auroc_table(
    table: pd.DataFrame,
    positive: Bools,
    measures: Sequence[Measure],
    precise: Sequence[Measure],
    seed: int,
) -> pd.DataFrame:
    """A row a measure: AUROC with its interval, distribution of either class.

    Parameters
    ----------
    table : DataFrame
        A row a labelled study.
    positive : (n,) bool ndarray
    precise : sequence of Measure
        Those that get an average precision as well.
    """
    wanted = {m.column for m in precise}
    rows = []
    for measure in measures:
        score = measure.score(table[measure.column])
        area = auroc_estimate(measure.column, score, positive)
        row = _about(measure) | _counts(score, positive) | _prefixed("auroc", area)
        row |= _spread(table[measure.column].to_numpy(float), positive)
        if measure.column in wanted:
            found = average_precision_estimate(measure.column, score, positive, seed)
            row |= _prefixed("average_precision", found)
        rows.append(row)
    return pd.DataFrame(rows)


def _about(measure: Measure) -> dict[str, Any]:
    return {
        "measure": measure.column,
        "level": measure.level,
        "kind": measure.kind.name,
        "suspicious": "higher" if measure.kind.higher else "lower",
    }


def _counts(score: Floats, positive: Bools) -> dict[str, int]:
    defined = np.isfinite(score)
    return {
        "n_lstv": int((positive & defined).sum()),
        "n_normal": int((~positive & defined).sum()),
        "n_undefined": int((~defined).sum()),
    }


def _prefixed(name: str, found: Estimate) -> dict[str, Any]:
    return {
        name: found.value,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_interval": found.method,
    }


def _spread(values: Floats, positive: Bools) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, who in (("normal", ~positive), ("lstv", positive)):
        known = values[who & np.isfinite(values)]
        marks = np.quantile(known, QUARTILES) if known.size else np.full(3, np.nan)
        row |= {f"{name}_q{100 * q:.0f}": float(v) for q, v in zip(QUARTILES, marks, strict=True)}
    return row


def curves(
    table: pd.DataFrame, positive: Bools, measures: Sequence[Measure]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points of the ROC curve and of the precision-recall curve of each measure.

    Thresholds are in the measure's own terms; the first point of a ROC curve has none (NaN). A
    measure without studies of both classes has no curve.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    rocs, precisions = [pd.DataFrame()], [pd.DataFrame()]
    for measure in measures:
        score = measure.score(table[measure.column])
        defined = np.isfinite(score)
        wanted, known = positive[defined], score[defined]
        if wanted.all() or not wanted.any():
            continue
        away, hit, cut = roc_curve(wanted, known, drop_intermediate=False)
        cut = np.where(np.isfinite(cut), measure.value(1.0) * cut, np.nan)
        named = {"measure": measure.column, "threshold": cut}
        rocs.append(pd.DataFrame({**named, "false_positive_rate": away, "sensitivity": hit}))
        precision, recall, cut = precision_recall_curve(wanted, known)
        named = {
            "measure": measure.column,
            "threshold": np.append(measure.value(1.0) * cut, np.nan),
        }
        precisions.append(pd.DataFrame({**named, "recall": recall, "precision": precision}))
    return tuple(pd.concat(f, ignore_index=True) for f in (rocs, precisions))  # type: ignore[return-value]


def comparison_table(
    table: pd.DataFrame, positive: Bools, measures: Sequence[Measure]
) -> pd.DataFrame:
    """Paired DeLong test of every two measures, on the studies in which both are defined.

    ``p_holm`` is adjusted over all rows (Holm): whichever two are looked at were not chosen
    beforehand.
    """
    rows = []
    for a, b in combinations(measures, 2):
        scores = np.stack([m.score(table[m.column]) for m in (a, b)])
        both = np.isfinite(scores).all(axis=0)
        areas = delong(scores[:, both], positive[both]).auroc
        rows.append(
            {
                "a": a.column,
                "b": b.column,
                "n": int(both.sum()),
                "n_lstv": int(positive[both].sum()),
                "auroc_a": areas[0],
                "auroc_b": areas[1],
                "difference": areas[0] - areas[1],
                "p_value": paired_p_value(scores, positive),
            }
        )
    found = pd.DataFrame(rows)
    return found.assign(p_holm=holm(found["p_value"])) if rows else found
