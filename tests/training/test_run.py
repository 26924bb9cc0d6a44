"""Does a training learn, leave what it promises, and go on after an interruption as if nothing?"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pandas as pd
import pytest
import torch
from rich.console import Console

from hpc.training import stopping
from jobs.training.config_file import parse_train_config, read_train_config
from jobs.training.run import train
from jobs.unet.weights import load_network, load_weights
from lamstore.errors import ConfigError, StoreError
from tests.training.cohort import write_config

TIMES = ["seconds", "patches_per_s"]


def metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns=TIMES)


def stop_after(steps: int) -> dict[str, Any]:
    """Listener and flag that stop a training after so many steps."""
    stop = Event()
    return {"stop": stop, "listen": lambda p: stop.set() if p.step >= steps else None}


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    """An uninterrupted run."""
    home = tmp_path_factory.mktemp("whole")
    return train(read_train_config(write_config(home / "whole.yaml", study))).files.folder


def test_a_run_leaves_its_folder(whole):
    expected = {"train.yaml", "splits.json", "best.safetensors", "last.pt", "metrics.csv"}
    expected |= {"validation.csv", "summary.json", "events", "cases.npz"}
    assert expected <= {path.name for path in whole.iterdir()}
    summary = orjson.loads((whole / "summary.json").read_bytes())
    assert summary["trained_on"] == ["a", "b"]
    assert summary["validated_on"] == ["c"]
    assert summary["loss"] == {"name": "dice_bce", "bce_weight": 1.0, "batch_dice": True}
    rows = metrics(whole)
    assert rows["epoch"].tolist() == [1, 2, 3]
    assert rows["dice"].notna().tolist() == [False, True, True]
    _, facts = load_network(whole / "best.safetensors")
    assert facts.notes["trained_on"] == ["a", "b"]
    assert facts.recipe == summary["recipe"]


@pytest.mark.parametrize(("steps", "workers"), [(3, 1), (4, 0), (9, 0)])
def test_an_interrupted_run_goes_on_as_if_nothing(whole, study, tmp_path, steps, workers):
    config = read_train_config(write_config(tmp_path / "cut.yaml", study, workers=workers))
    cut = train(config, **stop_after(steps))
    assert not cut.done
    assert cut.progress.step == steps
    found = train(config, resume=True)
    assert found.done
    folder = found.files.folder
    pd.testing.assert_frame_equal(metrics(folder), metrics(whole), check_exact=True)
    assert (folder / "validation.csv").read_text() == (whole / "validation.csv").read_text()
    one, two = (load_weights(f / "best.safetensors").state for f in (folder, whole))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_a_finished_run_is_left_alone(whole, study):
    config = read_train_config(whole / "train.yaml")
    before = (whole / "best.safetensors").stat().st_mtime_ns
    assert train(config, resume=True).done
    assert (whole / "best.safetensors").stat().st_mtime_ns == before


def test_a_run_is_not_overwritten_nor_mixed_with_another(whole):
    config = read_train_config(whole / "train.yaml")
    with pytest.raises(ConfigError, match="already"):
        train(config)
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(StoreError, match="another training"):
        train(other, resume=True)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_step(number):
    before = signal.getsignal(number)
    with stopping(Console(quiet=True)) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(2)
    assert signal.getsignal(number) is before


def test_training_learns(study, tmp_path):
    path = write_config(
        tmp_path / "learn.yaml",
        study,
        epochs=4,
        steps_per_epoch=20,
        validate_every=4,
        batch=4,
        prior=0.1,
        ema=0.9,
        optimizer={"lr": 0.02},
        augment=None,
    )
    rows = metrics(train(read_train_config(path)).files.folder)
    assert rows["loss"].iloc[-1] < 0.5 * rows["loss"].iloc[0]
    assert rows["dice"].iloc[-1] > 0.5


def test_patience_ends_a_run_and_everybody_may_train(study, tmp_path):
    path = write_config(
        tmp_path / "p.yaml", study, epochs=9, steps_per_epoch=1, validate_every=1, patience=1,
        optimizer={"lr": 1e-9}, ema=0, threshold=0.9,
    )  # fmt: skip
    found = train(read_train_config(path))
    assert found.progress.ended == "no better Dice in 1 validations"
    assert found.progress.step < 9
    path = write_config(
        tmp_path / "all.yaml", study, epochs=1, split={"rule": "all"}, window=[24, 24, 24],
        network={"features": [4, 8, 8], "strides": [2, 2], "deep_supervision": True},
    )  # fmt: skip
    found = train(read_train_config(path))
    assert load_network(found.files.best)[1].window == (24, 24, 24)
    assert not (found.files.folder / "validation.csv").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": 1}, "colour"),
        ({"patch": [16, 16, 15]}, "patch .* multiples of 2"),
        ({"window": [24, 24, 15]}, "window .* multiples of 2"),
        ({"channels": ["flair", "flair"]}, "distinct"),
        ({"required": ["t2w"]}, "t2w"),
        ({"split": {"rule": "subjects"}}, "validation"),
        ({"split": {"rule": "kfold", "folds": 2, "fold": 2}}, "folds count from 0"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(study, tmp_path, change, says):
    with pytest.raises(ConfigError, match=says):
        read_train_config(write_config(tmp_path / "t.yaml", study, **change))


def test_a_name_is_short_for_a_section(tmp_path):
    config = parse_train_config({"study": "s", "loss": "tversky"}, tmp_path / "t.yaml")
    assert config.loss.name == "tversky"
    assert config.study == tmp_path / "s"
