"""Which subjects need a look, and why?

A subject is flagged when the uncertainty of its follow-up is high *for the cohort*: above the
0.9 quantile of ``ens_var``'s mean in lesion or of its 95th percentile in brain. Its change is "not
confident" when it is flagged and |ΔV| is high too. Thresholds are kept as JSON, so that new
subjects are judged by a reference cohort and not by themselves. How good these flags are is
`analysis.qc_quality`'s question.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis.tables import require
from lamstore.errors import AnalysisError

PRIMARY = "ens_var"
QUANTILE = 0.9
SMALL_COHORT = 10
"""Below this many subjects a cohort's own quantile says nothing about a subject."""

LESION, BRAIN, CHANGE = "unc_mean_lesion_t1", "unc_p95_brain_t1", "abs_delta_lesion_vol_mm3"


class Threshold(BaseModel):
    """A column and the value above which it counts as high."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    value: float = Field(allow_inf_nan=False)


class QcThresholds(BaseModel):
    """What counts as high, and in which cohort; the content of ``qc_thresholds.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cohort_n: int = Field(ge=1)
    primary_uncertainty: str
    qc_quantile: float = Field(gt=0, lt=1)
    change_quantile: float = Field(gt=0, lt=1)
    thresholds: Mapping[str, Threshold]
    generated_at: str | None = None

    def value(self, key: str) -> float:
        """Threshold of `LESION`, `BRAIN` or `CHANGE`."""
        return self.thresholds[key].value

    def column(self, key: str) -> str:
        """Column that `value` applies to, as named in a normalised table."""
        # Published files name the column of a joined table.
        return self.thresholds[key].column.removeprefix("phase2_")

    def to_json(self) -> str:
        """Text of ``qc_thresholds.json``."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"

    @classmethod
    def read(cls, path: Path) -> QcThresholds:
        """Read ``qc_thresholds.json``.

        Raises
        ------
        AnalysisError
            When it is not there or is no such file.
        """
        if not path.is_file():
            raise AnalysisError(f"there are no thresholds at {path}", remedy="check the path")
        try:
            result = cls.model_validate_json(path.read_text())
        except ValidationError as error:
            raise AnalysisError(
                f"{path} holds no QC thresholds",
                got="; ".join(
                    f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
                ),
                expected="a qc_thresholds.json that lam wrote, or the published one",
            ) from error
        missing = [k for k in (LESION, BRAIN, CHANGE) if k not in result.thresholds]
        if missing:
            raise AnalysisError(f"{path} lacks the thresholds {', '.join(missing)}")
        return result


def joined(base: pd.DataFrame, uncertainty: pd.DataFrame) -> pd.DataFrame:
    """Unshifted longitudinal rows with the uncertainty summaries of the same subject.

    Raises
    ------
    AnalysisError
        When no subject is in both tables.
    """
    columns = [c for c in uncertainty if c == "subject" or c not in base]
    table = base.merge(uncertainty[columns], on="subject", how="inner", validate="1:1")
    if table.empty:
        raise AnalysisError(
            "no subject is in both the longitudinal and the uncertainty table",
            got=f"{base['subject'].iloc[0]}, … and {uncertainty['subject'].iloc[0]}, …",
            remedy="name the subjects alike",
        )
    return table


def cohort_thresholds(
    table: pd.DataFrame,
    primary: str = PRIMARY,
    qc_quantile: float = QUANTILE,
    change_quantile: float = QUANTILE,
) -> QcThresholds:
    """Thresholds from a cohort's own quantiles (linear interpolation; undefined left out).

    Parameters
    ----------
    table : DataFrame
        Of `joined`.

    Raises
    ------
    AnalysisError
        When a column is missing or undefined for every subject.
    """
    columns = {
        LESION: f"unc_{primary}_mean_lesion_t1",
        BRAIN: f"unc_{primary}_p95_brain_t1",
        CHANGE: "delta_lesion_vol_mm3",
    }
    require(table, columns.values(), "uncertainty")
    thresholds = {}
    for key, column in columns.items():
        quantile = change_quantile if key == CHANGE else qc_quantile
        value = float(table[column].abs().quantile(quantile))
        if np.isnan(value):
            raise AnalysisError(f"{column} is undefined for every subject: no threshold")
        thresholds[key] = Threshold(column=column, value=value)
    return QcThresholds(
        cohort_n=len(table),
        primary_uncertainty=primary,
        qc_quantile=qc_quantile,
        change_quantile=change_quantile,
        thresholds=thresholds,
    )


def cohort_warning(thresholds: QcThresholds) -> str | None:
    """What to say when the thresholds come from a small cohort; None when they do not."""
    if thresholds.cohort_n >= SMALL_COHORT:
        return None
    return (
        f"The QC thresholds come from {thresholds.cohort_n} subjects. Below {SMALL_COHORT} a "
        "cohort cannot judge itself: its own quantile always flags about one in ten, whatever "
        "their quality. Give those of a reference cohort (qc.thresholds, --thresholds)."
    )


def qc_flags(table: pd.DataFrame, thresholds: QcThresholds) -> pd.DataFrame:
    """Judge every subject, with the reason in words.

    Returns
    -------
    DataFrame
        ``subject``, ``qc_needs_review``, ``qc_change_not_confident``, ``qc_reason`` (empty when
        not flagged), and the judged values. A subject without lesion at follow-up has no mean in
        lesion and is judged by the brain alone; when both are undefined it needs review.
    """
    keys = (LESION, BRAIN, CHANGE)
    require(table, [thresholds.column(k) for k in keys], "joined")
    rows = []
    for _, row in table.iterrows():
        value = {k: abs(float(row[thresholds.column(k)])) for k in keys}
        high = {k: value[k] > thresholds.value(k) for k in keys}
        unjudged = np.isnan(value[LESION]) and np.isnan(value[BRAIN])
        review = bool(high[LESION] or high[BRAIN] or unjudged)
        rows.append(
            {
                "subject": row["subject"],
                "qc_needs_review": review,
                "qc_change_not_confident": review and bool(high[CHANGE]),
                "qc_reason": _reason(value, thresholds) if review else "",
                **value,
            }
        )
    return pd.DataFrame(rows)


def _reason(value: Mapping[str, float], thresholds: QcThresholds) -> str:
    words = {
        LESION: "the members disagree inside the predicted lesions",
        BRAIN: "the members disagree across the brain",
        CHANGE: "so the large change is not to be trusted",
    }
    said = [
        f"{words[k]} ({thresholds.column(k)} {value[k]:.3g}, threshold {thresholds.value(k):.3g})"
        for k in (LESION, BRAIN, CHANGE)
        if value[k] > thresholds.value(k)
    ]
    if np.isnan(value[LESION]) and np.isnan(value[BRAIN]):
        said.insert(0, "its uncertainty is undefined: it cannot be judged")
    return "; ".join(said)
