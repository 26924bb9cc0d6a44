"""From which value on is a spine suspicious, and how often is that right in studies not looked at?

Thresholds are chosen on one half of the labelled studies and judged on the other, then the other
way round. A threshold judged on the studies that chose it is too good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.screening.delong import auroc_estimate, delong
from analysis.screening.measures import ENTROPY, Measure
from analysis.stats import MINIMUM_N, wilson
from lamstore.config import ScreeningConfig

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HALVES = ("first half", "second half")
BOTH = "each study by the other half"
CONFIGURED = "study.yaml"
YOUDEN, FIXED, HIGH = "Youden", "fixed sensitivity", "high_entropy"
ALL = "all"


@dataclass(frozen=True)
class Judgement:
    """Studies by truth and call.

    Attributes
    ----------
    undefined : int
        Studies without the measure: not judged.
    """

    tp: int
    fn: int
    fp: int
    tn: int
    undefined: int = 0

    def __add__(self, other: Judgement) -> Judgement:
        return Judgement(*(a + b for a, b in zip(vars(self).values(), vars(other).values(),
                                                 strict=True)))  # fmt: skip

    def record(self) -> dict[str, Any]:
        """Flat row: counts, proportions with Wilson's intervals."""
        row: dict[str, Any] = {"n": self.tp + self.fn + self.fp + self.tn, **vars(self)}
        for name, hits, n in (
            ("sensitivity", self.tp, self.tp + self.fn),
            ("specificity", self.tn, self.tn + self.fp),
            ("ppv", self.tp, self.tp + self.fp),
            ("npv", self.tn, self.tn + self.fn),
        ):
            found = wilson(name, hits, n)
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        return row


def judge(score: Floats, positive: Bools, cut: float) -> Judgement:
    """Hold calls (score ≥ cut) against the truth; studies without a score are not called."""
    known = np.isfinite(score)
    called = score >= cut
    return Judgement(
        tp=int((known & positive & called).sum()),
        fn=int((known & positive & ~called).sum()),
        fp=int((known & ~positive & called).sum()),
        tn=int((known & ~positive & ~called).sum()),
        undefined=int((~known).sum()),
    )


def choose_cut(score: Floats, positive: Bools, sensitivity: float | None = None) -> float:
    """Score from which on a study is called: midway between the last one called and the next.

    Parameters
    ----------
    score : (n,) ndarray
        Both classes have a finite score.
    sensitivity : float, optional
        The highest cut that reaches it. Without: the cut of greatest sensitivity + specificity
        (Youden 1950), of several the highest.
    """
    from sklearn.metrics import roc_curve

    known = np.isfinite(score)
    away, hit, cuts = roc_curve(positive[known], score[known], drop_intermediate=False)
    # The first point calls nobody, at a cut above every score.
    gain = np.round(hit[1:] - away[1:], 12)  # so that equal gains are equal: the highest cut wins
    at = int(np.argmax(gain if sensitivity is None else hit[1:] >= sensitivity - 1e-12))
    return float(cuts[1 + at : 3 + at].mean())


def halves(positive: Bools, seed: int) -> Bools:
    """(n,) whether a study is in the first half; either half has half of each class.

    Raises
    ------
    ValueError
        When a class has fewer than two studies.
    """
    from sklearn.model_selection import train_test_split

    first, _ = train_test_split(
        np.arange(positive.size), test_size=0.5, stratify=positive, random_state=seed
    )
    return np.isin(np.arange(positive.size), first)


def why_no_halves(positive: Bools) -> str:
    """Why the studies cannot be halved, empty where they can."""
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2 * MINIMUM_N:
        return (
            f"{m} transitional and {n} normal studies: for thresholds that are chosen on one half "
            f"and judged on the other {2 * MINIMUM_N} of each are needed"
        )
    return ""


def threshold_table(
    table: pd.DataFrame,
    positive: Bools,
    measures: Sequence[Measure],
    config: ScreeningConfig,
) -> pd.DataFrame:
    """Rows of every measure and rule: a threshold, and how it does where it was not chosen."""
    first = halves(positive, config.split_seed)
    rows: list[dict[str, Any]] = []
    for measure in measures:
        score = measure.score(table[measure.column])
        if all(_enough(score[half], positive[half]) for half in (first, ~first)):
            rows += _chosen(measure, score, positive, first, config)
    return pd.DataFrame([*rows, *_configured(table, positive, measures, config)])


def _enough(score: Floats, positive: Bools) -> bool:
    known = np.isfinite(score)
    return bool(min((known & positive).sum(), (known & ~positive).sum()) >= MINIMUM_N)


def _chosen(
    measure: Measure, score: Floats, positive: Bools, first: Bools, config: ScreeningConfig
) -> Iterator[dict[str, Any]]:
    for rule, wanted in ((YOUDEN, None), (FIXED, config.sensitivity)):
        judged = []
        for half, names in ((first, HALVES), (~first, HALVES[::-1])):
            cut = choose_cut(score[half], positive[half], wanted)
            judged.append(judge(score[~half], positive[~half], cut))
            yield _row(measure, rule, measure.value(cut), names, judged[-1])
        yield _row(measure, rule, float("nan"), (BOTH, ALL), judged[0] + judged[1])


def _configured(
    table: pd.DataFrame, positive: Bools, measures: Sequence[Measure], config: ScreeningConfig
) -> Iterator[dict[str, Any]]:
    """The entropy from which on risk is high: nothing was chosen, so everybody judges it."""
    for measure in measures:
        if measure.kind is ENTROPY:
            cut = np.nextafter(config.high_entropy, np.inf)  # high is above, not from
            judged = judge(measure.score(table[measure.column]), positive, float(cut))
            yield _row(measure, HIGH, config.high_entropy, (CONFIGURED, ALL), judged)


def _row(
    measure: Measure, rule: str, threshold: float, names: tuple[str, str], judged: Judgement
) -> dict[str, Any]:
    head = {
        "measure": measure.column,
        "rule": rule,
        "suspicious": ">" if rule == HIGH else measure.sign,
        "threshold": threshold,
        "chosen_on": names[0],
        "judged_on": names[1],
    }
    return head | judged.record()


def selection_table(
    table: pd.DataFrame, positive: Bools, measures: Sequence[Measure], seed: int
) -> pd.DataFrame:
    """The best measure of one half, and its AUROC in the other: what choosing it is worth.

    The best of several measures looks better than it is where it was chosen. Measures that are not
    defined in every study cannot screen, and do not take part.
    """
    first = halves(positive, seed)
    rows = []
    for half, names in ((first, HALVES), (~first, HALVES[::-1])):
        scores = {m.column: m.score(table[m.column]) for m in measures}
        areas = {
            name: float(delong(score[half], positive[half]).auroc[0])
            for name, score in scores.items()
            if np.isfinite(score).all()
        }
        if not areas:
            continue
        best = max(areas, key=lambda name: areas[name])
        found = auroc_estimate(best, scores[best][~half], positive[~half])
        rows.append(
            {
                "chosen_on": names[0],
                "measure": best,
                "auroc_where_chosen": areas[best],
                "judged_on": names[1],
                "auroc": found.value,
                "auroc_low": found.low,
                "auroc_high": found.high,
                "n": found.n,
            }
        )
    return pd.DataFrame(rows)
