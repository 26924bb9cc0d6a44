"""How do calibration and error retention read as tables? ``reliability.csv``, ``retention.csv``,
``calibration.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from analysis import voxels
from analysis.store_tables import put_table
from analysis.voxels import Calibration, VoxelAudit


def reliability_table(audit: VoxelAudit) -> pd.DataFrame:
    """A row a bin: range of the probability, voxels, mean probability, fraction of truth."""
    frames = []
    for one in audit.found:
        r = one.tally.reliability
        edges = np.linspace(0, 1, r.count.size + 1)
        columns = {
            "probability_from": edges[:-1],
            "probability_to": edges[1:],
            "voxels": r.count,
            "mean_probability": r.confidence,
            "fraction_truth": r.accuracy,
        }
        frames.append(pd.DataFrame({**one.labels(), **columns}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def retention_table(audit: VoxelAudit) -> pd.DataFrame:
    """A row a point of each curve: fraction kept, error that remains, Dice after correction."""
    frames = []
    for one in audit.found:
        for measure, curve in one.curves().items():
            columns = {"fraction_kept": curve.fraction, "error": curve.error, "dice": curve.dice}
            frame = pd.DataFrame({**one.labels(), "measure": measure, **columns})
            frames.append(frame.drop_duplicates("fraction_kept"))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def calibration_summary(audit: VoxelAudit) -> list[dict[str, Any]]:
    """Numbers of each engine and truth: ECE, Brier, areas; what was binned, and what dropped."""
    return [_summary(one) for one in audit.found]


def _summary(one: Calibration) -> dict[str, Any]:
    r = one.tally.reliability
    facts = {
        "scans": one.tally.scans,
        "unreadable_scans": one.tally.unreadable,
        "bins": r.count.size,
        "minimum_probability": r.minimum_probability,
        "voxels": r.n,
        "dropped_voxels": r.dropped,
        "dropped_truth_voxels": r.dropped_truth,
        "ece": r.ece,
        "brier": r.brier,
    }
    areas = ("area", "area_random", "area_oracle", "gain", "dice_area")
    retention = {m: {n: getattr(c, n) for n in areas} for m, c in one.curves().items()}
    return {**one.labels(), **facts, "retention": retention}


def write_voxel_audit(audit: VoxelAudit, folder: Path) -> list[Path]:
    """Write ``reliability.csv``, ``retention.csv`` and ``calibration.json`` into `folder`.

    Nothing is written where nothing was found, and files of an earlier audit go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("reliability.csv", "retention.csv", "calibration.json")]
    for path in paths:
        path.unlink(missing_ok=True)
    if not audit.found:
        return []
    put_table(reliability_table(audit), paths[0])
    put_table(retention_table(audit), paths[1])
    body = {
        "definitions": voxels.__doc__,
        "found": calibration_summary(audit),
        "missing": audit.missing,
    }
    part = paths[2].with_name(f".{paths[2].name}.part")
    part.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
    part.replace(paths[2])
    return paths
