"""What does one training read and leave behind? A run's folder, from config to weights.

::

    runs/<name>/
      train.yaml          everything that decides the model, spelled out
      splits.json         who trained, who validated
      best.safetensors    averaged weights of the best validation
      last.pt             everything to go on from
      metrics.csv         a row an epoch
      validation.csv      a row a validated scan
      cases.npz           slices of validation scans, for pictures
      summary.json        what came out, from what
      events/             TensorBoard
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import nn

from jobs.patches.loader import batches
from jobs.patches.splits import write_splits
from jobs.training.cohort import Cohort, open_cohort
from jobs.training.config import TrainConfig
from jobs.training.config_file import render_train_config
from jobs.training.evaluate import Scan, measure, read_scan
from jobs.training.loop import Files, Listener, Trainer
from jobs.training.record import Writer, write_summary
from jobs.training.state import Progress, Row, load_state
from jobs.unet.weights import Facts, save_weights
from lamstore.config import digest
from lamstore.errors import ConfigError
from lamstore.store import Store

MOST_PICTURES = 6
"""Validation scans of which a slice is kept."""

UNDECIDING = {"name", "runs", "workers", "device"}
"""Keys of the config that decide no weight (a device moves the last digits)."""


@dataclass(frozen=True)
class Trained:
    """How a run stands.

    Attributes
    ----------
    files : Files
    progress : Progress
    done : bool
        False when it was told to stop.
    """

    files: Files
    progress: Progress
    done: bool


def recipe_digest(config: TrainConfig) -> str:
    """Digest of everything in the config that decides the model."""
    return digest(config.model_dump(mode="json", exclude=UNDECIDING))


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    listen: Listener | None = None,
    stop: Event | None = None,
) -> Trained:
    """Train one model, or go on with it; a run that is over is left as it is.

    Parameters
    ----------
    config : TrainConfig
    resume : bool
        Go on from the state in the run's folder, if there is one.
    listen : callable, optional
        Hears of every step.
    stop : Event, optional
        When set, the state is written after the step at hand, and training ends.

    Raises
    ------
    ConfigError
        When the run's folder holds a training and `resume` is false, or the data do not do.
    """
    files = Files(config.runs / config.name)
    recipe = recipe_digest(config)
    if files.state.exists() and not resume:
        raise ConfigError(
            f"there is a training in {files.folder} already",
            remedy="lam train … --resume goes on with it; or give the config another name",
        )
    if is_done(files.folder, recipe):
        return Trained(files, load_state(files.state, recipe)[0], done=True)
    cohort = open_cohort(config)
    files.folder.mkdir(parents=True, exist_ok=True)
    judge = _Judge(config, recipe, cohort, files)
    trainer = Trainer(config, recipe, files, judge.keep)
    if files.state.exists():
        trainer.restore()
    else:
        (files.folder / "train.yaml").write_text(render_train_config(config), encoding="utf-8")
        if cohort.splits is not None:
            write_splits(files.folder / "splits.json", cohort.splits)
    with Writer(files.folder, trainer.progress) as writer:
        done = trainer.run(
            partial(_batches, config, cohort, trainer.device),
            judge.validate,
            _both(writer.hear, listen or _nobody),
            stop or Event(),
        )
    if done:
        write_summary(files.folder, config, recipe, cohort, trainer)
    return Trained(files, trainer.progress, done)


def is_done(folder: Path, recipe: str) -> bool:
    """Whether a run's folder holds a finished training of this recipe."""
    try:
        return bool(orjson.loads((folder / "summary.json").read_bytes())["recipe"] == recipe)
    except FileNotFoundError:
        return False


def _nobody(_: Progress) -> None:
    pass


def _both(first: Listener, second: Listener) -> Listener:
    def hear(progress: Progress) -> None:
        first(progress)
        second(progress)

    return hear


def _batches(config: TrainConfig, cohort: Cohort, device: torch.device, start: int) -> Any:
    return batches(
        cohort.source,
        config.batch,
        steps=config.steps,
        start=start,
        workers=config.workers,
        transform=cohort.augmenter,
        pin_memory=device.type == "cuda",
    )


class _Judge:
    """Validates a network, and keeps the best with pictures of what it finds."""

    def __init__(self, config: TrainConfig, recipe: str, cohort: Cohort, files: Files) -> None:
        self._config, self._cohort, self._files = config, cohort, files
        self._facts = _facts(config, recipe, cohort)
        self._slices: dict[str, NDArray[Any]] = {}

    def validate(self, module: nn.Module) -> list[Row]:
        """Rows of all validation scans."""
        from jobs.training.predict import Predictor

        predict = Predictor(module, self._facts, self._config)
        store, rows = Store(self._cohort.study.store_path), []
        self._slices = {}
        for number, (subject, timepoint) in enumerate(self._cohort.validation):
            scan = read_scan(store, subject, timepoint, self._config.channels)
            found = predict(scan)
            rows.append(measure(found, scan, self._config.threshold))
            if number < MOST_PICTURES:
                self._slices |= _slices(scan, found, self._config)
        return rows

    def keep(self, module: nn.Module) -> None:
        """Write the module's weights, and slices of the last validation."""
        save_weights(self._files.best, module, self._facts)
        if self._slices:
            np.savez_compressed(
                self._files.folder / "cases.npz", allow_pickle=False, **self._slices
            )


def _facts(config: TrainConfig, recipe: str, cohort: Cohort) -> Facts:
    return Facts(
        network=config.spec,
        required=config.needed,
        spacing_mm=config.spacing_mm,
        patch=config.patch,
        window=config.window,
        threshold=config.threshold,
        recipe=recipe,
        notes={
            "name": config.name,
            "seed": config.seed,
            "trained_on": list(cohort.fold.train),
            "validated_on": list(cohort.fold.validation),
            "donors": len(cohort.donors),
        },
    )


def _slices(
    scan: Scan, probability: NDArray[np.float32], config: TrainConfig
) -> dict[str, NDArray[Any]]:
    """Image, truth and probability of the axial slice with most lesion, for a picture."""
    voxels = scan.truth.sum(axis=(0, 1))
    z = int(voxels.argmax()) if voxels.any() else scan.truth.shape[2] // 2
    image = scan.images[next(c for c in config.channels if c in scan.images)]
    name = f"{scan.subject} {scan.timepoint}"
    parts = {"image": image * scan.brain, "truth": scan.truth, "probability": probability}
    return {f"{name}/{part}": values[:, :, z] for part, values in parts.items()}


__all__ = ["Trained", "recipe_digest", "train"]
