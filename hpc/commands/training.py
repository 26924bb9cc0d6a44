"""How is a model trained? `lam train`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamstore.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from hpc.training_sweep import SweepRun

INTERRUPTED = 130
"""Exit status when told to stop: the state is kept."""


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("train", rich_help_panel="Train")(train)


class On(StrEnum):
    """Where the runs of a sweep are trained."""

    LOCAL = "local"
    SLURM = "slurm"


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="TRAIN.YAML", help="What to train, and on what.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was interrupted.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Values of a key: loss=dice_bce,tversky, fold=0:5, optimizer.lr=1e-3,3e-3, "
            "without=nothing,transplant,augment; repeat for their product."
        ),
    ] = None,
    on: Annotated[On, typer.Option("--on", help="Who trains a sweep.")] = On.LOCAL,
    profile: Annotated[str | None, typer.Option(help="slurm: cluster profile.")] = None,
    throttle: Annotated[int | None, typer.Option(min=1, help="slurm: runs at once.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="slurm: only write the scripts.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a train.yaml to start from.")
    ] = False,
) -> None:
    """Train a lesion segmenter from a study's store: one run, or a sweep as one array."""
    from rich.console import Console

    if example:
        from hpc.training_example import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        return
    if config is None:
        raise ConfigError("lam train needs a train.yaml", remedy="lam train --example > train.yaml")
    console = Console()
    if not sweep:
        if on is On.SLURM:
            raise ConfigError(
                "--on slurm trains a sweep", remedy="--sweep seed=0 is a sweep of one"
            )
        _one(config, console, resume=resume)
        return
    from hpc.training_sweep import expand, parse_sweep, write_sweep

    runs = expand(config, parse_sweep(sweep))
    folder = write_sweep(runs, resume=resume)
    console.print(f"{len(runs)} runs in {folder}", highlight=False)
    if on is On.LOCAL:
        _here(folder, runs, console)
        return
    from hpc.profiles import load_profile
    from hpc.training_slurm import submit, write_scripts
    from lamstore.study import Study

    section = Study.at(runs[0].config.study).config.cluster
    script = write_scripts(folder, runs, load_profile(section, profile, throttle=throttle))
    if dry_run:
        console.print(f"submit with: bash {script}", highlight=False)
        return
    jobs = submit(script)
    console.print(
        f"submitted as {', '.join(jobs)}; logs in {script.parent}; "
        f"at the end {folder / 'sweep.csv'}",
        highlight=False,
    )


def _one(config: Path, console: Console, *, resume: bool) -> None:
    from hpc.training import train_here
    from jobs.training.config_file import read_train_config

    found = train_here(read_train_config(config), console, resume=resume)
    if not found.done:
        console.print(f"Go on with: lam train {config} --resume", highlight=False)
        raise typer.Exit(INTERRUPTED)
    console.print(
        f"{found.progress.ended}; the results are in {found.files.folder}", highlight=False
    )


def _here(folder: Path, runs: Sequence[SweepRun], console: Console) -> None:
    from hpc.training import train_here
    from hpc.training_table import gather

    for run in runs:
        if not train_here(run.config, console, resume=True).done:
            console.print("Go on with the same command and --resume", highlight=False)
            raise typer.Exit(INTERRUPTED)
    _, settings = gather(folder)
    console.print(settings.to_string(index=False, float_format="%.3f"), highlight=False)
    console.print(f"Results: {folder / 'sweep.csv'}, ablation.csv, ablation.png", highlight=False)
