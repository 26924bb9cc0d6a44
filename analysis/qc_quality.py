"""Do the QC flags and uncertainties find the segmentations that failed?

A failure is a subject whose Dice with the change truth is at or below a stated value. Where the
model fails without disagreeing with itself it is "confident but wrong", and no ensemble
uncertainty will find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import Estimate, bootstrap, complete, ranks, wilson
from analysis.tables import require, uncertainty_columns

FAILURE_COLUMN = "dice_chg_sym_cons"
FAILURE_DICE = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class QcQuality:
    """How many failures the flags found.

    Attributes
    ----------
    sensitivity, specificity, precision : Estimate
        Proportions with Wilson intervals; NaN without failures, successes or flags.
    caught, missed, false_alarms : tuple of subjects
        `missed` are the confident but wrong.
    """

    column: str
    failure_at_most: float
    n: int
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    caught: tuple[str, ...]
    missed: tuple[str, ...]
    false_alarms: tuple[str, ...]

    @property
    def n_failures(self) -> int:
        """Number of subjects that failed."""
        return len(self.caught) + len(self.missed)

    def table(self) -> pd.DataFrame:
        """One row per proportion."""
        rows = [
            {
                "what": e.name,
                "failure": f"{self.column} <= {self.failure_at_most:g}",
                "value": e.value,
                "low": e.low,
                "high": e.high,
                "n": e.n,
                "interval": e.method,
                "subjects": " ".join(names),
            }
            for e, names in (
                (self.sensitivity, self.missed),
                (self.specificity, self.false_alarms),
                (self.precision, self.caught),
            )
        ]
        labels = ["missed", "false alarms", "caught"]
        return pd.DataFrame(rows).assign(subjects_are=labels)


def qc_quality(
    table: pd.DataFrame,
    flags: pd.DataFrame,
    column: str = FAILURE_COLUMN,
    at_most: float = FAILURE_DICE,
) -> QcQuality:
    """Compare flags with failures over the subjects whose Dice is defined.

    Parameters
    ----------
    table : DataFrame
        With ``subject`` and the Dice `column`.
    flags : DataFrame
        Of `qc.qc_flags`.
    """
    require(table, ("subject", column), "longitudinal")
    both = table[["subject", column]].dropna().merge(flags, on="subject", validate="1:1")
    failed, flagged = both[column] <= at_most, both["qc_needs_review"].astype(bool)
    caught, missed, alarms = (
        tuple(both.loc[mask, "subject"])
        for mask in (failed & flagged, failed & ~flagged, ~failed & flagged)
    )
    passed = int((~failed).sum())
    return QcQuality(
        column=column,
        failure_at_most=at_most,
        n=len(both),
        sensitivity=wilson("sensitivity", len(caught), len(caught) + len(missed)),
        specificity=wilson("specificity", passed - len(alarms), passed),
        precision=wilson("precision", len(caught), len(caught) + len(alarms)),
        caught=caught,
        missed=missed,
        false_alarms=alarms,
    )


def auroc(score: Floats, failed: Floats) -> Floats:
    """Area under the ROC curve over the last axis (Mann–Whitney, ties half).

    Vectorised over leading axes because the bootstrap asks for thousands; NaN where all or none
    failed.
    """
    positive = failed > 0
    n1 = positive.sum(axis=-1)
    n0 = positive.shape[-1] - n1
    rank_sum = np.where(positive, ranks(score), 0).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((rank_sum - n1 * (n1 + 1) / 2) / np.where(n1 * n0 > 0, n1 * n0, np.nan))


def auprc(score: Floats, failed: Floats) -> Floats:
    """Average precision over the last axis (ties share one threshold); NaN where none failed.

    AP = mean over the failures of the precision at their score, which is Σ (Rₖ − Rₖ₋₁) Pₖ.
    """
    positive = failed > 0
    n1 = positive.sum(axis=-1)
    # Rank counted from the top, last of its ties: how many score at least as high.
    above = ranks(-score, "max")
    hits = ranks(np.where(positive, -score, np.inf), "max")
    total = np.where(positive, hits / above, 0).sum(axis=-1)
    return np.asarray(total / np.where(n1 > 0, n1, np.nan))


def discrimination(
    table: pd.DataFrame,
    column: str = FAILURE_COLUMN,
    at_most: float = FAILURE_DICE,
    seed: int = 0,
) -> pd.DataFrame:
    """AUROC and AUPRC of every uncertainty column for failures, with bootstrap intervals.

    Returns
    -------
    DataFrame
        One row per ``unc_*`` column, best AUROC first; ``prevalence`` is the AUPRC of chance.
    """
    require(table, (column,), "longitudinal")
    rows = []
    for name in uncertainty_columns(table):
        score, dice = complete(table[name], table[column])
        failed = (dice <= at_most).astype(np.float64)
        roc = bootstrap("AUROC", auroc, score, failed, seed=seed)
        prc = bootstrap("AUPRC", auprc, score, failed, seed=seed)
        rows.append(
            {
                "uncertainty": name,
                "failure": f"{column} <= {at_most:g}",
                "n": roc.n,
                "n_failures": int(failed.sum()),
                "prevalence": float(failed.mean()) if failed.size else float("nan"),
                "auroc": roc.value,
                "auroc_low": roc.low,
                "auroc_high": roc.high,
                "auprc": prc.value,
                "auprc_low": prc.low,
                "auprc_high": prc.high,
                "interval": roc.method,
            }
        )
    return pd.DataFrame(rows).sort_values("auroc", ascending=False, ignore_index=True)
