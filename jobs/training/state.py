"""What must be kept so that a training goes on as if it had never stopped?

Weights, their average, the optimizer's moments, the scaler, the schedule, torch's random state, the
position, what the epoch at hand has summed, and every row of the metrics so far. Patches need
nothing: they are a function of the seed and the step. One file, replaced in one step, that holds
tensors and plain values only and is read with ``weights_only``.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lamstore.errors import StoreError

VERSION = 1

Row = dict[str, float | int | str]


@dataclass
class Progress:
    """Where a training is.

    Attributes
    ----------
    step : int
        Steps done.
    loss_sum : float
        Over the steps of the epoch at hand.
    epoch_s, total_s : float
        Seconds of the epoch at hand, and of all, interruptions left out.
    best, best_epoch : float, int
        Highest mean Dice of a validation, and when; -1 before the first.
    waited : int
        Validations since then.
    rows : list of dict
        ``metrics.csv``, a row an epoch.
    cases : list of dict
        ``validation.csv``, a row a validated scan.
    ended : str
        Why the training is over; empty while it is not.
    """

    step: int = 0
    loss_sum: float = 0.0
    epoch_s: float = 0.0
    total_s: float = 0.0
    best: float = -1.0
    best_epoch: int = -1
    waited: int = 0
    rows: list[Row] = field(default_factory=list)
    cases: list[Row] = field(default_factory=list)
    ended: str = ""


def save_state(path: Path, recipe: str, progress: Progress, parts: dict[str, Any]) -> None:
    """Replace the state of a run in one step.

    Parameters
    ----------
    recipe : str
        Digest of what decides the training.
    parts : dict
        State dicts of whatever else there is.
    """
    whole = {
        "version": VERSION,
        "recipe": recipe,
        "progress": vars(progress),
        "random": torch.get_rng_state(),
        **parts,
    }
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(whole, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_state(path: Path, recipe: str) -> tuple[Progress, dict[str, Any]]:
    """The progress and the other parts of a run's state.

    Raises
    ------
    StoreError
        When the file is damaged, or belongs to another recipe or version.
    """
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            remedy="delete the run's folder and train again",
        ) from error
    if whole["version"] != VERSION or whole["recipe"] != recipe:
        raise StoreError(
            f"{path} is of another training",
            got=f"recipe {whole['recipe'][:12]}, version {whole['version']}",
            expected=f"recipe {recipe[:12]}, version {VERSION}",
            remedy="give the changed config another name, or delete the run's folder",
        )
    torch.set_rng_state(whole["random"])
    return Progress(**whole["progress"]), whole
