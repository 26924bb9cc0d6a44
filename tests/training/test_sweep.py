"""Is a sweep the product of its values, and does its table say what its runs found?"""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from hpc.cli import app, register
from hpc.profiles import Profile
from hpc.training_example import EXAMPLE
from hpc.training_slurm import write_scripts
from hpc.training_sweep import expand, parse_sweep, read_sweep, write_sweep
from jobs.training.config_file import read_train_config
from lamstore.errors import ConfigError
from tests.training.cohort import write_config


def test_values_are_read_as_yaml():
    found = parse_sweep(["loss=dice_bce,tversky", "fold=0:3", "patch=[8,8,8],[16,16,16]"])
    assert found == {
        "loss.name": ["dice_bce", "tversky"],
        "split.fold": [0, 1, 2],
        "patch": [[8, 8, 8], [16, 16, 16]],
    }


@pytest.mark.parametrize("text", ["loss", "=1", "loss=", "fold"])
def test_a_sweep_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_sweep([text])


def test_a_sweep_is_a_product_that_keeps_the_rest(study, tmp_path):
    path = write_config(tmp_path / "t.yaml", study, loss={"name": "dice_bce", "beta": 0.9})
    runs = expand(path, parse_sweep(["loss=dice_bce,tversky", "seed=0:2"]))
    assert [run.name for run in runs] == [
        "loss-dice_bce_seed-0",
        "loss-dice_bce_seed-1",
        "loss-tversky_seed-0",
        "loss-tversky_seed-1",
    ]
    assert {run.config.loss.beta for run in runs} == {0.9}
    assert runs[3].config.loss.name == "tversky"
    assert runs[3].config.seed == 1
    assert runs[0].config.runs == tmp_path / "runs" / "t"


def test_an_ablation_leaves_out_one_ingredient_at_a_time(study, tmp_path):
    path = write_config(tmp_path / "t.yaml", study)
    every, graft, plain = expand(path, parse_sweep(["without=nothing,transplant,augment"]))
    assert every.config.augment.transplant is not None
    assert graft.config.augment.transplant is None
    assert graft.config.augment.margin == every.config.augment.margin == 4
    assert plain.config.augment is None


@pytest.mark.parametrize("text", ["colour=1,2", "without=luck", "seed=-1"])
def test_a_sweep_over_what_there_is_not_is_refused(study, tmp_path, text):
    with pytest.raises(ConfigError):
        expand(write_config(tmp_path / "t.yaml", study), parse_sweep([text]))


def test_a_sweep_is_read_back_and_not_mixed_with_another(study, tmp_path):
    path = write_config(tmp_path / "t.yaml", study)
    runs = expand(path, parse_sweep(["seed=0:2"]))
    folder = write_sweep(runs, resume=False)
    assert read_sweep(folder) == runs
    assert write_sweep(runs, resume=True) == folder
    with pytest.raises(ConfigError, match="already"):
        write_sweep(runs, resume=False)
    with pytest.raises(ConfigError, match="already"):
        write_sweep(expand(path, parse_sweep(["seed=0:3"])), resume=True)


def test_the_script_of_a_sweep_is_one_array(study, tmp_path):
    runs = expand(write_config(tmp_path / "t.yaml", study), parse_sweep(["seed=0:3"]))
    folder = write_sweep(runs, resume=False)
    submit = write_scripts(folder, runs, Profile(throttle=2, jobs={"train": {"gres": "gpu:1"}}))
    array = (folder / "slurm" / "train.sbatch").read_text()
    assert "#SBATCH --array=0-2%2" in array
    assert "#SBATCH --gres=gpu:1" in array
    assert "hpc.training_task" in array
    assert "scontrol requeue" in array
    assert "--array" not in (folder / "slurm" / "tables.sbatch").read_text()
    assert "afterany:${id[train]}" in submit.read_text()


def test_a_sweep_here_ends_in_tables_and_bars(study, tmp_path):
    register()
    path = write_config(tmp_path / "t.yaml", study, epochs=1, steps_per_epoch=1)
    arguments = ["train", str(path), "--sweep", "loss=dice_bce,tversky", "--sweep", "seed=0:2"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    folder = tmp_path / "runs" / "t"
    runs, settings = (pd.read_csv(folder / name) for name in ("sweep.csv", "ablation.csv"))
    assert runs["done"].all()
    assert settings["loss.name"].tolist() == ["dice_bce", "tversky"]
    assert settings["n"].tolist() == [2, 2]
    expected = runs.groupby("loss.name")["sensitivity"].mean()
    assert settings["sensitivity_mean"].tolist() == pytest.approx(expected.tolist())
    assert (folder / "ablation.png").stat().st_size > 1000
    assert (folder / "loss-tversky_seed-1" / "figures" / "curves.png").exists()
    assert list((folder / "loss-tversky_seed-1" / "figures").glob("overlay_case_c_t0.png"))


def test_the_example_is_a_config(study, tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(EXAMPLE)
    assert read_train_config(path).channels == ("flair", "t1w")
