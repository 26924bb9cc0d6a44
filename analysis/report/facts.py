"""What does the report know? Everything that a study's files say, gathered once.

Subjects come from the cohort's manifest and the ledger, so that one that failed at the first step
is as present as one that worked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import pandas as pd

from analysis.audit import audit
from analysis.qc import QcThresholds, cohort_thresholds, joined
from analysis.result import AuditOptions, AuditResult
from analysis.store_tables import StudyTables, study_tables
from analysis.tables import (
    base_rows,
    normalise_longitudinal,
    normalise_uncertainty,
    uncertainty_columns,
)
from analysis.voxels import VoxelAudit
from lamstore.config import NO_HARMONIZATION, EngineConfig, StudyConfig
from lamstore.errors import AnalysisError, LamstoreError, MissingArrayError
from lamstore.ledger import Record
from lamstore.study import Study
from lamstore.units import NO_SHIFT, Unit


@dataclass(frozen=True)
class Failure:
    """A unit that failed: what it was, and its error as the ledger has it."""

    unit: Unit
    message: str

    @property
    def where(self) -> str:
        """``infer t1 gamma-1``."""
        return " ".join(p for p in (self.unit.job, self.unit.timepoint, self.unit.shift) if p)

    @property
    def decisive(self) -> bool:
        """Whether the subject has no result as acquired because of it."""
        return self.unit.shift in ("", NO_SHIFT)


@dataclass(frozen=True)
class JobCount:
    """Units of a job and the time they took, summed over workers."""

    done: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class EngineFacts:
    """One engine's results.

    Attributes
    ----------
    audit : AuditResult or None
        None without any comparison of two timepoints; `why` then says why.
    longitudinal, segmentation, uncertainty : DataFrame
        Rows of this engine (possibly none).
    failures : tuple of Failure
        Of this engine, and of the steps before any engine.
    """

    config: EngineConfig
    audit: AuditResult | None
    why: str
    longitudinal: pd.DataFrame
    segmentation: pd.DataFrame
    uncertainty: pd.DataFrame
    failures: tuple[Failure, ...]

    @property
    def name(self) -> str:
        """Of its group in the store."""
        return self.config.name


@dataclass(frozen=True)
class Facts:
    """Everything that the page is made from."""

    title: str
    path: str
    config: StudyConfig
    made_at: str
    subjects: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    failures: tuple[Failure, ...]
    jobs: Mapping[str, JobCount]
    headers: tuple[Mapping[str, Any], ...]
    engines: tuple[EngineFacts, ...]
    missing: tuple[str, ...] = field(default=())


def gather(study: Study, voxels: VoxelAudit | None = None) -> Facts:
    """Read tables, ledger and manifest of a study, and audit each engine; join its `voxels`."""
    known, left_out = _cohort(study)
    jobs, failed, seen = _ledger(study)
    subjects = known or seen
    names = {variant.name for variant in study.config.variants}
    failures = tuple(
        f for f in failed if f.unit.subject in subjects and f.unit.engine in {"", *names}
    )
    tables, missing = _tables(study)
    engines = (
        _engine(config, tables, study.config, _of(failures, config.name), voxels)
        for config in study.config.engines
    )
    return Facts(
        title="/".join(study.path.parts[-2:]),
        path=str(study.path),
        config=study.config,
        made_at=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        subjects=tuple(subjects),
        left_out=left_out,
        failures=failures,
        jobs=jobs,
        headers=tuple(study.ledger.headers()),
        engines=tuple(engines),
        missing=missing,
    )


def _of(failures: Iterable[Failure], engine: str) -> tuple[Failure, ...]:
    return tuple(f for f in failures if f.unit.engine in ("", engine))


def _cohort(study: Study) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Subjects of the manifest in the dataset's order, and what the dataset leaves out."""
    path = study.path / "cohort.json"
    if not path.is_file():
        return [], ()
    body = orjson.loads(path.read_bytes())
    left_out = tuple((str(label), str(reason)) for label, reason in body.get("left_out", ()))
    return [str(entry["subject"]) for entry in body["entries"]], left_out


def _ledger(study: Study) -> tuple[dict[str, JobCount], list[Failure], list[str]]:
    """Counts by job, failures, and every subject that was taken up."""
    counts: dict[str, JobCount] = {}
    failures: list[Failure] = []
    subjects: dict[str, None] = {}
    for record in study.ledger.records():
        unit = record.unit
        before = counts.get(unit.job, JobCount(0, 0, 0.0))
        counts[unit.job] = JobCount(
            before.done + (record.state == "done"),
            before.failed + (record.state == "failed"),
            before.seconds + record.seconds,
        )
        if unit.job == "ingest":
            subjects[unit.subject] = None
        if record.state == "failed" and unit.subject:
            failures.append(_failure(record))
    return counts, failures, sorted(subjects)


def _failure(record: Record) -> Failure:
    return Failure(record.unit, record.error.get("message") or "no message was recorded")


def _tables(study: Study) -> tuple[StudyTables, tuple[str, ...]]:
    try:
        return study_tables(study), ()
    except MissingArrayError as error:
        nothing = StudyTables(pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
        return nothing, (f"every result: {error.what}",)


def _engine(
    config: EngineConfig,
    tables: StudyTables,
    study: StudyConfig,
    failures: tuple[Failure, ...],
    voxels: VoxelAudit | None,
) -> EngineFacts:
    mine = {
        name: frame[frame["engine"] == config.name].reset_index(drop=True) if len(frame) else frame
        for name, frame in vars(tables).items()
    }
    found, why = _audit(mine["longitudinal"], mine["uncertainty"], study)
    if found is not None and voxels is not None:
        found = replace(found, voxels=voxels.of(config.name))
    # Only the audit compares harmonizations; subject by subject the page shows the engine alone.
    mine = {name: _alone(frame) for name, frame in mine.items()}
    return EngineFacts(config=config, audit=found, why=why, failures=failures, **mine)


def _alone(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    return frame[frame["harmonization"] == NO_HARMONIZATION].reset_index(drop=True)


def _audit(
    longitudinal: pd.DataFrame, uncertainty: pd.DataFrame, study: StudyConfig
) -> tuple[AuditResult | None, str]:
    if longitudinal.empty:
        return None, "no subject has results at two timepoints"
    unsure = uncertainty if len(uncertainty) else None
    options = AuditOptions(
        primary=_primary(unsure),
        quantile=study.qc.uncertainty_quantile,
        failure_at_most=study.qc.failure_dice,
    )
    try:
        thresholds = _thresholds(longitudinal, unsure, study, options.primary)
        return audit(longitudinal, unsure, None, thresholds, options), ""
    except AnalysisError as error:
        return None, str(error)


def _primary(uncertainty: pd.DataFrame | None) -> str:
    """``ens_var``, or the first measure that a model without an ensemble has."""
    default = AuditOptions().primary
    columns = [] if uncertainty is None else uncertainty_columns(uncertainty)
    tail = "_mean_lesion_t1"
    stems = [c.removeprefix("unc_").removesuffix(tail) for c in columns if c.endswith(tail)]
    return default if default in stems or not stems else stems[0]


def _thresholds(
    longitudinal: pd.DataFrame, uncertainty: pd.DataFrame | None, study: StudyConfig, primary: str
) -> QcThresholds | None:
    """A reference cohort's, or where study.yaml asks for two quantiles; else the audit's own."""
    qc = study.qc
    if qc.thresholds is not None:
        return QcThresholds.read(qc.thresholds)
    if uncertainty is None or qc.uncertainty_quantile == qc.change_quantile:
        return None
    base = base_rows(normalise_longitudinal(longitudinal))
    together = joined(base, normalise_uncertainty(uncertainty))
    try:
        return cohort_thresholds(together, primary, qc.uncertainty_quantile, qc.change_quantile)
    except LamstoreError:
        return None  # the audit meets the same gap, and says so
