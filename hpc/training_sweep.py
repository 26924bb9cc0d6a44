"""Which runs does a sweep ask for? The product of all values, a config and a folder each.

``loss=dice_bce,tversky`` sets a key of train.yaml (dotted: ``optimizer.lr=1e-3,3e-3``),
``fold=0:5`` counts from 0 to 4, and ``without=nothing,transplant,augment`` leaves out one
ingredient at a time, which is the ablation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import yaml

from jobs.training.config import TrainConfig
from jobs.training.config_file import (
    parse_train_config,
    read_mapping,
    read_train_config,
    render_train_config,
)
from lamstore.errors import ConfigError

ALIASES = {
    "loss": "loss.name",
    "optimizer": "optimizer.name",
    "schedule": "schedule.name",
    "fold": "split.fold",
    "lr": "optimizer.lr",
}
NAMED = ("loss", "optimizer", "schedule")
"""Sections for which a name alone may stand."""

REPEATS = ("split.fold", "split.seed", "seed")
"""Keys over which runs of one setting are averaged."""

WITHOUT = "without"
INGREDIENTS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "transplant": {"augment.transplant": None},
    "tissue": {"augment.tissue_contrast": 0.0},
    "contrast": {
        "augment.tissue_contrast": 0.0,
        "augment.curve": 0.0,
        "augment.gamma": 0.0,
        "augment.gain": 0.0,
        "augment.bias_field": 0.0,
        "augment.shift_suite": 0.0,
    },
    "augment": {"augment": None},
    "ema": {"ema": 0.0},
}
"""What each value of ``without`` changes in train.yaml."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes
    ----------
    name : str
        Of its folder.
    values : dict of swept key to value
    config : TrainConfig
    """

    name: str
    values: dict[str, Any]
    config: TrainConfig


def parse_sweep(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Values by key, from ``key=value,value`` or ``key=begin:end``.

    Raises
    ------
    ConfigError
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = ALIASES.get(key.strip(), key.strip())
        if not (key and equals and values) or key in found:
            raise ConfigError(
                "a sweep cannot be read",
                got=text,
                expected="loss=dice_bce,tversky or fold=0:5, each key once",
            )
        found[key] = _values(values)
    return found


def _values(text: str) -> list[Any]:
    span = re.fullmatch(r"(\d+):(\d+)", text)
    if span:
        return list(range(int(span[1]), int(span[2])))
    # A comma within [] or {} belongs to the value.
    return [yaml.safe_load(part) for part in re.split(r",(?![^\[{]*[\]}])", text)]


def expand(path: Path, sweep: Mapping[str, Sequence[Any]]) -> list[SweepRun]:
    """Every run of a sweep over a train.yaml; each config is checked.

    Raises
    ------
    ConfigError
        When a key is unknown, or a value cannot be used.
    """
    raw = read_mapping(path)
    base = parse_train_config(raw, path)
    folder = base.runs / base.name
    runs = []
    for values in product(*sweep.values()):
        chosen = dict(zip(sweep, values, strict=True))
        body = deepcopy(raw)
        for key, value in chosen.items():
            for name, change in _changes(key, value).items():
                _set(body, name, change)
        name = "_".join(f"{k.rpartition('.')[2]}-{v}" for k, v in _spoken(chosen).items())
        body |= {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64], "runs": str(folder)}
        config = parse_train_config(body, path)
        runs.append(SweepRun(config.name, chosen, config))
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise ConfigError(
            "the runs of a sweep cannot be told apart", got=", ".join(names) or "no run"
        )
    return runs


def _spoken(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """``loss.name`` is called loss."""
    return {key.removesuffix(".name"): value for key, value in chosen.items()}


def _changes(key: str, value: Any) -> Mapping[str, Any]:
    if key != WITHOUT:
        return {key: value}
    if value not in INGREDIENTS:
        raise ConfigError(
            "nothing of this name can be left out", got=str(value), expected=", ".join(INGREDIENTS)
        )
    return INGREDIENTS[value]


def _set(body: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = body.get(section)
        if isinstance(inner, str) and section in NAMED:
            inner = {"name": inner}
        body[section] = dict(inner) if isinstance(inner, dict) else {}
        body = body[section]
    body[last] = value


def write_sweep(runs: Sequence[SweepRun], *, resume: bool) -> Path:
    """Write every run's config and ``sweep.json`` into the sweep's folder; gives the folder.

    Raises
    ------
    ConfigError
        When the folder holds a sweep already and `resume` is false, or another sweep.
    """
    folder = runs[0].config.runs
    body = {run.name: run.values for run in runs}
    path = folder / "sweep.json"
    if path.exists():
        before = orjson.loads(path.read_bytes())
        if not resume or before != orjson.loads(orjson.dumps(body)):
            raise ConfigError(
                f"there is a sweep in {folder} already",
                got=f"{len(before)} runs",
                remedy="--resume goes on with the same sweep; or give train.yaml another name",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        text = render_train_config(run.config)
        (folder / f"{run.name}.yaml").write_text(text, encoding="utf-8")
    path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return folder


def read_sweep(folder: Path) -> list[SweepRun]:
    """The runs of a sweep's folder, in order; ConfigError when it holds none."""
    try:
        body = orjson.loads((folder / "sweep.json").read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no sweep in {folder}") from error
    return [
        SweepRun(name, values, read_train_config(folder / f"{name}.yaml"))
        for name, values in body.items()
    ]
