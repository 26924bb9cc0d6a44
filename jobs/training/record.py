"""What is written down while a model is trained? Tables, TensorBoard's events, the summary."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import orjson
import torch

from jobs.training.cohort import Cohort
from jobs.training.config import TrainConfig
from jobs.training.evaluate import means
from jobs.training.loop import Trainer
from jobs.training.losses import describe
from jobs.training.state import Progress, Row
from lamstore import __version__


class Writer:
    """Keeps the tables and TensorBoard's events up with the progress."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._seen = folder, len(progress.rows)
        self._step = progress.step
        self._events: Any = None

    def __enter__(self) -> Writer:
        from torch.utils.tensorboard import SummaryWriter

        # Events of steps that an interruption lost are hidden.
        self._events = SummaryWriter(str(self._folder / "events"), purge_step=self._step)
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()

    def hear(self, progress: Progress) -> None:
        """Write what is new."""
        if len(progress.rows) == self._seen:
            return
        self._seen = len(progress.rows)
        row = progress.rows[-1]
        _write_table(self._folder / "metrics.csv", progress.rows)
        _write_table(self._folder / "validation.csv", progress.cases)
        for name, value in row.items():
            if name not in ("epoch", "step") and not _is_nan(value):
                self._events.add_scalar(name, value, progress.step)
        self._events.flush()


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    """Replace a CSV file; nan becomes an empty cell. Nothing is written for no rows."""
    if not rows:
        return
    part = path.with_name(f".{path.name}")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if _is_nan(v) else v for k, v in row.items()} for row in rows)
    part.replace(path)


def write_summary(
    folder: Path, config: TrainConfig, recipe: str, cohort: Cohort, trainer: Trainer
) -> None:
    """Write ``summary.json``: what came out, from what."""
    progress = trainer.progress
    best = [row for row in progress.cases if row["epoch"] == progress.best_epoch]
    body = {
        "name": config.name,
        "recipe": recipe,
        "lamstore": __version__,
        "torch": torch.__version__,
        "ended": progress.ended,
        "steps": progress.step,
        "seconds": round(progress.total_s, 1),
        "device": str(trainer.device),
        "parameters": sum(p.numel() for p in trainer.module.parameters()),
        "loss": describe(config.loss),
        "seed": config.seed,
        "fold": config.split.fold if cohort.splits is not None else None,
        "trained_on": cohort.fold.train,
        "validated_on": cohort.fold.validation,
        "donors": cohort.donors,
        "donors_left_out": cohort.left_out,
        "best_epoch": progress.best_epoch,
        "best": _plain(means(best)),
        "last": _plain(dict(progress.rows[-1])),
        "config": config.model_dump(mode="json"),
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    (folder / "summary.json").write_bytes(orjson.dumps(body, option=options))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Without nan, which JSON does not have."""
    return {key: None if _is_nan(value) else value for key, value in row.items()}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and isnan(value)
