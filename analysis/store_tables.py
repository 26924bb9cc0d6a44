"""What do the store and the ledger say as tables? ``tables/*.csv`` and ``*.parquet``.

Values come from the metrics arrays of the store, which labels failed from the ledger. The columns
are those of the published MS-LAM tables, after ``engine``, ``subject``, ``shift`` and
``harmonization``. QC judges each engine behind each harmonization by its own cohort.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr

from analysis.heatmap_tables import heatmap_tables
from analysis.qc import PRIMARY, QcThresholds, cohort_thresholds, joined, qc_flags
from lamstore.config import QcConfig, Variant
from lamstore.errors import MissingArrayError
from lamstore.ledger import Record
from lamstore.study import Study
from lamstore.units import NO_SHIFT

PARTS = ("shift_name", "shift_level", "shift_mode")
QC = ("qc_needs_review", "qc_change_not_confident")
CONTEXT = (
    "phase2_delta_lesion_vol_mm3",
    "phase2_dice_chg_sym_cons",
    "phase2_chg_sym_cons_abs_vol_err_mm3",
)
"""Longitudinal columns that the published uncertainty table repeats, under its names for them."""


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study.

    Attributes
    ----------
    longitudinal : DataFrame
        A row per engine, subject, shift and harmonization; ``ok`` is False where the unit failed.
    segmentation : DataFrame
        A row per engine, subject, timepoint, shift and harmonization that has a lesion truth.
    uncertainty : DataFrame
        A row per engine, subject, shift and harmonization with columns for t0 and t1.
    """

    longitudinal: pd.DataFrame
    segmentation: pd.DataFrame
    uncertainty: pd.DataFrame

    def named(self) -> dict[str, pd.DataFrame]:
        """By file stem; tables without rows are left out."""
        every = {
            "longitudinal_metrics": self.longitudinal,
            "segmentation_metrics": self.segmentation,
            "uncertainty_metrics": self.uncertainty,
        }
        return {name: frame for name, frame in every.items() if len(frame)}


def study_tables(study: Study) -> StudyTables:
    """Tables of every engine of a study.

    Raises
    ------
    MissingArrayError
        When no metrics have been gathered yet.
    """
    import lamstore

    tree = lamstore.open(study.path)
    failures = list(study.ledger.records(state="failed"))
    parts = []
    for variant in study.config.variants:
        path = f"/engines/{variant.name}/metrics"
        # Those of a localizer: `analysis.heatmap_tables`.
        if path in tree.groups and "level" not in tree[f"/engines/{variant.name}"].coords:
            metrics = tree[path].to_dataset()
            metrics = metrics.assign_coords(shift=tree[f"/engines/{variant.name}"].coords["shift"])
            frames = _engine_tables(variant.name, metrics, failures, study.config.qc)
            parts.append([_labelled(frame, variant) for frame in frames])
    if not parts:
        raise MissingArrayError(f"{study.path} has no metrics yet", remedy=f"lam run {study.path}")
    return StudyTables(
        *(pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    )


def _labelled(frame: pd.DataFrame, variant: Variant) -> pd.DataFrame:
    """Rows of a group of the store under its engine, with its harmonization after the shift."""
    if frame.empty:
        return frame
    named = frame.assign(engine=variant.engine.name)
    named.insert(list(named.columns).index("shift") + 1, "harmonization", variant.harmonization)
    return named


def _engine_tables(
    engine: str, metrics: xr.Dataset, failures: Iterable[Record], qc: QcConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    columns = [str(name) for name in metrics.attrs["columns"]]
    pairs = [n for n in columns if "timepoint" not in metrics[n].dims]
    scans = [n for n in columns if "timepoint" in metrics[n].dims]
    truth = [n for n in scans if not n.startswith("unc_") and not n.endswith("_voxels")]
    truth = [n for n in truth if n != "lesion_volume_mm3"]
    unsure = [n for n in scans if n.startswith("unc_") or n.endswith("_voxels")]
    failed = {(r.unit.subject, r.unit.shift): r for r in failures if r.unit.engine == engine}
    longitudinal = _with_failures(_rows(metrics, pairs, engine), failed, engine)
    uncertainty = _judged(_wide(metrics, unsure, engine), longitudinal, qc)
    return longitudinal, _rows(metrics, truth, engine), uncertainty


def _judged(uncertainty: pd.DataFrame, longitudinal: pd.DataFrame, qc: QcConfig) -> pd.DataFrame:
    """The published table's context: QC flags of the unshifted rows, and what they are held to.

    A flag is empty under a shift and where a subject has no pair of timepoints.
    """
    if uncertainty.empty:
        return uncertainty
    context = pd.DataFrame({"engine": [], "subject": [], "shift": []}, dtype=object)
    if len(longitudinal) and longitudinal["ok"].any():
        context = _context(longitudinal[longitudinal["ok"].astype(bool)])
    frame = uncertainty.merge(context, on=["engine", "subject", "shift"], how="left")
    flags = _flags(uncertainty, longitudinal, qc)
    frame = frame.merge(flags, on=["subject", "shift"], how="left")
    frame.insert(3, "ok", True)
    frame.insert(4, "warnings", "")
    first = ["engine", "subject", "shift", "ok", "warnings", *QC, *CONTEXT]
    return frame.reindex(columns=[*first, *(c for c in frame if c not in first)])


def _context(longitudinal: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{name: longitudinal[name] for name in ("engine", "subject", "shift")},
            CONTEXT[0]: longitudinal["delta_lesion_vol_mm3"],
            CONTEXT[1]: longitudinal["dice_chg_sym_cons"],
            CONTEXT[2]: longitudinal["chg_sym_cons_vol_err_mm3"].abs(),
        }
    )


def _flags(uncertainty: pd.DataFrame, longitudinal: pd.DataFrame, qc: QcConfig) -> pd.DataFrame:
    nothing = pd.DataFrame({"subject": [], "shift": []}, dtype=object)
    if longitudinal.empty or not any(str(c).startswith(f"unc_{PRIMARY}_") for c in uncertainty):
        return nothing
    base = longitudinal[(longitudinal["shift"] == NO_SHIFT) & longitudinal["ok"].astype(bool)]
    plain = uncertainty[uncertainty["shift"] == NO_SHIFT]
    if base.empty or not set(base["subject"]) & set(plain["subject"]):
        return nothing
    table = joined(base.drop(columns=["engine", "shift"]), plain.drop(columns=["engine", "shift"]))
    if qc.thresholds is not None:
        thresholds = QcThresholds.read(qc.thresholds)
    else:
        quantiles = (qc.uncertainty_quantile, qc.change_quantile)
        thresholds = cohort_thresholds(table, PRIMARY, *quantiles)
    return qc_flags(table, thresholds)[["subject", *QC]].assign(shift=NO_SHIFT)


def _rows(metrics: xr.Dataset, columns: list[str], engine: str) -> pd.DataFrame:
    """A row per label combination that has any value."""
    if not columns:
        return pd.DataFrame()
    frame = metrics[columns].to_dataframe().dropna(how="all", subset=columns).reset_index()
    frame = frame.drop(columns=[n for n in PARTS if n in frame])
    labels = [n for n in ("subject", "timepoint", "shift") if n in frame]
    order = metrics.get_index("shift")
    frame["shift"] = pd.Categorical(frame["shift"], categories=order)
    frame = frame.sort_values(["subject", "shift", *labels[1:-1]]).reset_index(drop=True)
    frame["shift"] = frame["shift"].astype(str)
    frame.insert(0, "engine", engine)
    return frame[["engine", *labels, *columns]]


def _with_failures(
    frame: pd.DataFrame, failed: dict[tuple[str, str], Record], engine: str
) -> pd.DataFrame:
    """Columns ``ok`` and ``warnings``; a row for each pair that failed."""
    if frame.empty:
        return frame
    frame.insert(3, "ok", True)
    frame.insert(4, "warnings", "")
    known = set(zip(frame["subject"], frame["shift"], strict=True))
    lost = [
        {
            "engine": engine,
            "subject": subject,
            "shift": shift,
            "ok": False,
            "warnings": record.error.get("message", "").splitlines()[0],
        }
        for (subject, shift), record in failed.items()
        if shift and (subject, shift) not in known
    ]
    return pd.concat([frame, pd.DataFrame(lost)], ignore_index=True) if lost else frame


def _wide(metrics: xr.Dataset, columns: list[str], engine: str) -> pd.DataFrame:
    """Uncertainty with a column per timepoint, as the published table has it.

    Under a shift that leaves the baseline as acquired, the baseline's values are those at
    ``none``.
    """
    if not columns:
        return pd.DataFrame()
    data = metrics[columns]
    # Of a scan that was computed something is known; its lesion means may be NaN for want of one.
    computed = data.to_array().notnull().any("variable")
    filled = data.where(computed, data.sel(shift=NO_SHIFT, drop=True))
    frames = [
        filled.sel(timepoint=t, drop=True)
        .drop_vars(PARTS, errors="ignore")
        .rename({name: f"{name}_{t}" for name in columns})
        for t in data["timepoint"].values
    ]
    merged = xr.merge(frames).where(computed.any("timepoint"))
    return _rows(merged, [str(n) for n in merged.data_vars], engine)


def write_tables(study: Study) -> list[Path]:
    """Write every table as CSV and Parquet into ``tables/``; the files' paths."""
    study.tables.mkdir(exist_ok=True)
    written = []
    for name, frame in (heatmap_tables(study) or study_tables(study).named()).items():
        for suffix in (".csv", ".parquet"):
            written.append(put_table(frame, study.tables / f"{name}{suffix}"))
    return written


def put_table(frame: pd.DataFrame, path: Path) -> Path:
    """Write beside and move into place: a reader never sees half a table."""
    part = path.with_name(f".{path.name}.part")
    if path.suffix == ".csv":
        frame.to_csv(part, index=False)
    else:
        frame.to_parquet(part, index=False)
    return part.replace(path)
