"""How good is the network on whole scans that it has not seen?

The engine's own inference (`jobs.unet`), on the subject's own grid, against the stored truth: what
is measured here is what an audit of the finished model would find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray
from torch import nn

from jobs.metrics.lesionwise import ISBI_2015, detect
from jobs.metrics.segmentation import segmentation_metrics
from jobs.training.state import Row
from lamstore.grid import Grid
from lamstore.store import Store

COLUMNS = (
    "dice",
    "iou",
    "sensitivity",
    "precision",
    "lesion_recall",
    "lesion_precision",
    "lesion_f1",
    "lesion_f1_any",
)
"""Means of a validation. Lesion-wise by the rule of Shifts 2022 (IoU of at least 0.5, faces);
``lesion_f1_any`` where one shared voxel is enough (ISBI 2015)."""

Predict = Callable[[nn.Module, "Scan"], NDArray[np.float32]]
"""Probability (x, y, z) of one scan on its own grid."""


@dataclass(frozen=True)
class Scan:
    """One scan with its truth.

    Attributes
    ----------
    subject, timepoint : str
    images : dict of modality to (x, y, z) float32 ndarray
        As stored; only channels that there are.
    brain, truth : (x, y, z) bool ndarray
    grid : Grid
    """

    subject: str
    timepoint: str
    images: dict[str, NDArray[np.float32]]
    brain: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    grid: Grid


def read_scan(store: Store, subject: str, timepoint: str, channels: Sequence[str]) -> Scan:
    """One scan from the store."""
    has = store.available(subject)
    at = {"subject": subject, "timepoint": timepoint}
    images = {
        channel: np.ascontiguousarray(
            store.read("volume", **at, modality=channel)[0, 0, 0], np.float32
        )
        for channel in channels
        if (timepoint, channel) in has
    }
    brain = store.read("brainmask", subject=subject)[0].astype(bool)
    truth = store.read("lesion_truth", **at)[0, 0].astype(bool)
    return Scan(subject, timepoint, images, brain, truth, store.grid(subject))


def measure(probability: NDArray[np.float32], scan: Scan, threshold: float) -> Row:
    """The row of one scan in ``validation.csv``: see `jobs.metrics.segmentation`."""
    mask = probability >= threshold
    found = segmentation_metrics(mask, scan.truth, scan.grid)
    any_overlap = detect(mask, scan.truth, scan.grid.voxel_volume_mm3, ISBI_2015)
    return {
        "subject": scan.subject,
        "timepoint": scan.timepoint,
        **found,
        "lesion_f1_any": any_overlap.f1,
    }


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Mean of every column of `COLUMNS` over the scans that define it; nan where none does."""
    found = {}
    for name in COLUMNS:
        values = [v for row in rows if isfinite(v := float(row[name]))]
        found[name] = sum(values) / len(values) if values else nan
    return found
