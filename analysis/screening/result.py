"""What does screening find in a table of measures, with labels and without?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.screening.discrimination import auroc_table, comparison_table, curves
from analysis.screening.groups import audit_queue, risk_of, risk_table
from analysis.screening.labels import Join, Labels, join_labels
from analysis.screening.measures import ENTROPY, SPINE, Measure, level_measures, levels_of
from analysis.screening.probability import calibration_table
from analysis.screening.thresholds import selection_table, threshold_table, why_no_halves
from analysis.stats import MINIMUM_N
from lamstore.config import ScreeningConfig
from lamstore.errors import AnalysisError

ID = "study_id"
NOT_VALIDATED = (
    "There are no labels: nothing was validated. Risk groups and queue say which studies the model "
    "is unsure of, not which are transitional. `lam analyse STUDY --labels labels.csv` holds the "
    "measures against labels."
)


@dataclass(frozen=True)
class Evidence:
    """What labels show; empty tables where too few studies have one.

    Attributes
    ----------
    areas : DataFrame
        A row a measure of any level.
    roc, precision_recall, comparison, thresholds, selection, calibration : DataFrame
        Of the measures that screen.
    best : Measure or None
        The measure that screens of greatest AUROC, of those that are defined in every labelled
        study; None where there is none, or only one class.
    """

    labels: Labels
    join: Join
    positive: pd.Series
    areas: pd.DataFrame
    roc: pd.DataFrame
    precision_recall: pd.DataFrame
    comparison: pd.DataFrame
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)
    selection: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    best: Measure | None = None

    def area(self, measure: Measure) -> pd.Series:
        """Its row of `areas`."""
        return self.areas[self.areas["measure"] == measure.column].iloc[0]


@dataclass(frozen=True)
class Screening:
    """One engine's screening of a cohort.

    Attributes
    ----------
    table : DataFrame
        A row a study, indexed by study id: the last timepoint as acquired.
    measures : tuple of Measure
        Of all levels that have a number.
    screening_measures : tuple of Measure
        Those of the level that screens, and of the whole spine.
    evidence : Evidence or None
        None without labels.
    missing : tuple of str
        What could not be computed, and why.
    """

    engine: str
    config: ScreeningConfig
    table: pd.DataFrame
    measures: tuple[Measure, ...]
    screening_measures: tuple[Measure, ...]
    risk: pd.Series
    groups: pd.DataFrame
    queue: pd.DataFrame
    evidence: Evidence | None
    missing: tuple[str, ...]

    @property
    def levels(self) -> list[str]:
        """From the head down."""
        return levels_of(self.table.columns)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by file stem, those without rows left out."""
        found = {"risk_groups": self.groups, "audit_queue": self.queue}
        if (e := self.evidence) is not None:
            found |= {
                "auroc": e.areas,
                "roc": e.roc,
                "precision_recall": e.precision_recall,
                "comparison": e.comparison,
                "thresholds": e.thresholds,
                "selection": e.selection,
                "calibration": e.calibration,
            }
        return {name: table for name, table in found.items() if len(table)}


def one_row_a_study(table: pd.DataFrame) -> pd.DataFrame:
    """The last timepoint of each study, indexed by study id: statistics want one scan a person."""
    last = table.sort_values([ID, "timepoint"]).drop_duplicates(ID, keep="last")
    return last.set_index(last[ID].astype(str)).drop(columns=ID)


def analyse(
    engine: str,
    table: pd.DataFrame,
    labels: Labels | None,
    known: Iterable[str],
    config: ScreeningConfig,
) -> Screening:
    """Screen one engine's table.

    Parameters
    ----------
    table : DataFrame
        Rows of `analysis.heatmap_tables` of this engine.
    labels : Labels or None
    known : iterable of str
        Every study of the cohort, also those without measures.

    Raises
    ------
    AnalysisError
        When the level that screens is not among those of the table, or no study has both a label
        and measures.
    """
    studies = one_row_a_study(table)
    levels = levels_of(studies.columns)
    if config.score_level not in levels:
        raise AnalysisError(
            f"the level that screens is not among those of {engine}",
            got=config.score_level,
            expected=", ".join(levels),
            remedy="correct screening.score_level in study.yaml",
        )
    measures = level_measures(studies, levels)
    chosen = [m for m in measures if m.level in (config.score_level, SPINE)]
    risk = risk_of(studies[Measure(config.score_level, ENTROPY).column], config)
    evidence, missing = (None, [NOT_VALIDATED])
    if labels is not None:
        evidence, missing = _evidence(studies, measures, chosen, labels, known, config)
    lstv, kind = (labels.lstv, labels.kind) if labels else ({}, {})
    return Screening(
        engine=engine,
        config=config,
        table=studies,
        measures=tuple(measures),
        screening_measures=tuple(chosen),
        risk=risk,
        groups=risk_table(risk, lstv, config),
        queue=audit_queue(studies, risk, chosen, lstv, kind, config),
        evidence=evidence,
        missing=tuple(missing),
    )


def _evidence(
    studies: pd.DataFrame,
    measures: list[Measure],
    chosen: list[Measure],
    labels: Labels,
    known: Iterable[str],
    config: ScreeningConfig,
) -> tuple[Evidence, list[str]]:
    join = join_labels(labels, [str(s) for s in studies.index], known)
    table = studies.loc[list(join.labelled)]
    truth = pd.Series([labels.lstv[s] for s in join.labelled], index=table.index, name="lstv")
    positive = truth.to_numpy(bool)
    areas = auroc_table(table, positive, measures, chosen, config.split_seed)
    roc, precision_recall = curves(table, positive, chosen)
    found = Evidence(
        labels=labels,
        join=join,
        positive=truth,
        areas=areas,
        roc=roc,
        precision_recall=precision_recall,
        comparison=comparison_table(table, positive, chosen),
        best=_best(areas, chosen),
    )
    why = _too_few(positive)
    if lack := why_no_halves(positive):
        return found, [*why, f"Thresholds and calibration: {lack}."]
    seed = config.split_seed
    tables = {
        "thresholds": threshold_table(table, positive, chosen, config),
        "selection": selection_table(table, positive, chosen, seed),
        "calibration": calibration_table(table, positive, chosen, seed),
    }
    return Evidence(**vars(found) | tables), why


def _best(areas: pd.DataFrame, chosen: list[Measure]) -> Measure | None:
    rows = areas.set_index("measure").loc[[m.column for m in chosen]]
    values = rows["auroc"].where(rows["n_undefined"] == 0).to_numpy(float)
    return chosen[int(np.nanargmax(values))] if np.isfinite(values).any() else None


def _too_few(positive: np.ndarray) -> list[str]:
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        only = "transitional" if m else "normal"
        return [f"ROC curves and AUROC: all {m + n} labelled studies are {only}."]
    if min(m, n) < MINIMUM_N:
        return [
            f"Intervals and tests: {m} transitional and {n} normal studies, {MINIMUM_N} of each "
            "are needed."
        ]
    return []
