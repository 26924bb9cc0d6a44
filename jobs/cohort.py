"""What do all units of a cohort say together? Scalars of the ledger become labelled arrays.

The one writer of ``/engines/<name>/metrics``: every scalar that inference and comparison recorded,
as float64 over (subject, shift) or (subject, timepoint, shift), NaN where there is none. Written
whole, since a shard per scalar would be a file per number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.workbench import Outcome, Workbench
from lamstore.ledger import Record
from lamstore.tables import unconsolidate, write_table
from lamstore.units import Unit

VERSION = "4"

Cells = dict[str, dict[tuple[str, ...], float]]
"""Column to value by (subject, shift) or (subject, timepoint, shift)."""


def cohort(bench: Workbench, unit: Unit, wanted: Mapping[str, str], engine_digest: str) -> Outcome:
    """Gather the scalars of one engine into its metrics group.

    Parameters
    ----------
    wanted : mapping of unit key to fingerprint
        Other records are of an earlier study.yaml or of files that have changed since.
    engine_digest : str
        Of the engine's options and weights; kept with the metrics.
    """
    inferred, compared = (_records(bench, job, wanted) for job in ("infer", "compare"))
    pairs, scans = pair_columns(compared), scan_columns(inferred, compared)
    subjects = bench.store.labels("subject")
    timepoints = bench.store.labels("timepoint")
    shifts = bench.store.labels(f"engines/{unit.engine}/shift")
    name = f"engines/{unit.engine}/metrics"
    unconsolidate(bench.study.store_path)
    if name in bench.store.root:
        del bench.store.root[name]
    attributes = {"columns": [*pairs, *scans], "engine_digest": engine_digest}
    group = bench.store.root.create_group(name, attributes=attributes)
    for column, cells in pairs.items():
        write_table(group, column, ("subject", "shift"), _filled(cells, subjects, shifts))
    for column, cells in scans.items():
        values = _filled(cells, subjects, timepoints, shifts)
        write_table(group, column, ("subject", "timepoint", "shift"), values)
    counts = {"scans": len(inferred), "comparisons": len(compared)}
    return Outcome(result=counts | {"columns": len(pairs) + len(scans), "engine": engine_digest})


def _records(bench: Workbench, job: str, wanted: Mapping[str, str]) -> list[Record]:
    """Done records of a job in an order that no run's history decides."""
    done = bench.study.ledger.records(job, "done")
    current = (r for r in done if wanted.get(r.unit.key) == r.unit.fingerprint)
    return sorted(current, key=lambda record: record.unit)


def pair_columns(compared: Iterable[Record]) -> Cells:
    """Longitudinal columns by (subject, shift)."""
    cells: Cells = {}
    for record in compared:
        at = (record.unit.subject, record.unit.shift)
        _take(cells, record.result.get("longitudinal", {}), at)
    return cells


def scan_columns(inferred: Iterable[Record], compared: Iterable[Record]) -> Cells:
    """Uncertainty, segmentation and heatmap columns by (subject, timepoint, shift)."""
    cells: Cells = {}
    for record in inferred:
        unit = record.unit
        at = (unit.subject, unit.timepoint, unit.shift)
        summary = record.result.get("uncertainty", {})
        named = {_uncertainty_name(name): value for name, value in summary.items()}
        if "lesion_volume_mm3" in record.result:
            named["lesion_volume_mm3"] = record.result["lesion_volume_mm3"]
        _take(cells, named | record.result.get("heatmaps", {}), at)
    for record in compared:
        for timepoint, row in record.result.get("segmentation", {}).items():
            _take(cells, row, (record.unit.subject, timepoint, record.unit.shift))
    return cells


def _uncertainty_name(name: str) -> str:
    return name if name.endswith("_voxels") else f"unc_{name}"


def _take(cells: Cells, row: Mapping[str, Any], at: tuple[str, ...]) -> None:
    for column, value in row.items():
        # JSON has no NaN: the ledger's null is one.
        cells.setdefault(column, {})[at] = np.nan if value is None else float(value)


def _filled(cells: Mapping[tuple[str, ...], float], *axes: tuple[str, ...]) -> NDArray[np.float64]:
    positions = [{label: i for i, label in enumerate(axis)} for axis in axes]
    values = np.full(tuple(len(axis) for axis in axes), np.nan)
    for at, value in cells.items():
        values[tuple(p[label] for p, label in zip(positions, at, strict=True))] = value
    return values
