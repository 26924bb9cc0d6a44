"""What does a localizer say of each study, as tables? ``lstv_uncertainty_metrics.csv``.

The columns of the prior system come first and are exactly its own: study_id, series_id, then
confidence, entropy and spatial entropy level by level. What the maximum hides follows, then engine,
harmonization and timepoint. A row is a scan as acquired; the same scans under shifts, where the
study has any, are ``lstv_uncertainty_shifts.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from lamstore.config import Variant
from lamstore.study import Study
from lamstore.units import NO_SHIFT

PRIOR = ("confidence", "entropy", "spatial_entropy")
"""Measures of the prior system's table, by level."""
TABLE = "lstv_uncertainty_metrics"
SHIFTS_TABLE = "lstv_uncertainty_shifts"


def heatmap_tables(study: Study) -> dict[str, pd.DataFrame]:
    """Tables of every localizer of a study, by file stem; empty when it has none.

    Returns
    -------
    dict of str to DataFrame
        A row per study (and shift) of which heatmaps were computed. Numbers are those of the
        ledger at full precision; NaN where a measure is not defined.
    """
    import lamstore

    tree = lamstore.open(study.path)
    frames = []
    for variant in study.config.variants:
        group = f"/engines/{variant.name}"
        if f"{group}/metrics" in tree.groups and "level" in tree[group].coords:
            metrics = tree[f"{group}/metrics"].to_dataset()
            levels = [str(level) for level in tree[group].coords["level"].values]
            shifts = tree[group].coords["shift"]
            frames.append(_rows(metrics.assign_coords(shift=shifts), levels, variant))
    if not frames:
        return {}
    every = pd.concat(frames, ignore_index=True)
    series = series_ids(study)
    at = zip(every["study_id"], every["timepoint"], strict=True)
    every.insert(1, "series_id", [series.get(key, "") for key in at])
    plain = every[every["shift"] == NO_SHIFT].drop(columns="shift").reset_index(drop=True)
    return {TABLE: plain} | ({SHIFTS_TABLE: every} if every["shift"].nunique() > 1 else {})


def is_localizer_study(study: Study) -> bool:
    """Whether the engines of a study that has a store are localizers."""
    import lamstore

    tree = lamstore.open(study.path)
    groups = [f"/engines/{variant.name}" for variant in study.config.variants]
    return any("level" in tree[g].coords for g in groups if g in tree.groups)


def series_ids(study: Study) -> dict[tuple[str, str], str]:
    """What the dataset calls the series of each (subject, timepoint), as ingest recorded it."""
    return {
        (record.unit.subject, timepoint): str(name)
        for record in study.ledger.records("ingest", "done")
        for timepoint, name in record.result.get("sessions", {}).items()
    }


def _rows(metrics: xr.Dataset, levels: Sequence[str], variant: Variant) -> pd.DataFrame:
    columns = [str(name) for name in metrics.attrs["columns"]]
    first = [f"{level}_{measure}" for level in levels for measure in PRIOR]
    ordered = [*first, *(name for name in columns if name not in first)]
    frame = metrics[columns].to_dataframe().dropna(how="all", subset=columns).reset_index()
    shifts = pd.Categorical(frame["shift"], categories=metrics.get_index("shift"))
    frame = frame.assign(shift=shifts).sort_values(["subject", "timepoint", "shift"])
    frame = frame.rename(columns={"subject": "study_id"}).assign(
        shift=lambda rows: rows["shift"].astype(str),
        engine=variant.engine.name,
        harmonization=variant.harmonization,
    )
    return frame[["study_id", *ordered, "engine", "harmonization", "timepoint", "shift"]]
