"""How does `train.yaml` become a `TrainConfig`, and a `TrainConfig` become text again?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jobs.training.config import TrainConfig
from lamstore.errors import ConfigError


def read_train_config(path: Path) -> TrainConfig:
    """Parse train.yaml; paths in it are relative to its own folder.

    Raises
    ------
    ConfigError
        When the file is missing, is not YAML, has an unknown key or a value out of range.
    """
    return parse_train_config(read_mapping(path), path)


def read_mapping(path: Path) -> dict[str, Any]:
    """The YAML mapping of a file, not yet checked; ConfigError when it is none."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", remedy="lam train --example > train.yaml, then edit it"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML", got=str(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} cannot be used", got=type(raw).__name__, expected="a mapping")
    return raw


def parse_train_config(raw: Mapping[str, Any], path: Path) -> TrainConfig:
    """Check a mapping that came from `path`, against whose folder its paths are resolved."""
    try:
        config = TrainConfig.model_validate(raw)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{path} cannot be used", got="; ".join(lines)) from error
    return _resolved(config, path.resolve().parent)


def _resolved(config: TrainConfig, folder: Path) -> TrainConfig:
    split, augment = config.split, config.augment
    if split.file is not None:
        split = split.model_copy(update={"file": folder / split.file})
    if augment is not None and augment.transplant is not None:
        masks = tuple(str(folder / pattern) for pattern in augment.transplant.masks)
        transplant = augment.transplant.model_copy(update={"masks": masks})
        augment = augment.model_copy(update={"transplant": transplant})
    initial = None if config.initial is None else (folder / config.initial).resolve()
    where = {
        "initial": initial,
        "study": (folder / config.study).resolve(),
        "runs": (folder / config.runs).resolve(),
    }
    return config.model_copy(update={**where, "split": split, "augment": augment})


def render_train_config(config: TrainConfig) -> str:
    """train.yaml as text, with everything that decides a result spelled out."""
    body = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return (
        f"# Everything that decides this model. `lam train` with it gives the same again.\n{body}"
    )
