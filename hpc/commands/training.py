"""How is a model trained? `lam train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamstore.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("train", rich_help_panel="Train")(train)


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="TRAIN.YAML", help="What to train, and on what.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was interrupted.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a train.yaml to start from.")
    ] = False,
) -> None:
    """Train a lesion segmenter from a study's store: one run."""
    from rich.console import Console

    if example:
        from hpc.training_example import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        return
    if config is None:
        raise ConfigError("lam train needs a train.yaml", remedy="lam train --example > train.yaml")
    from hpc.training import train_here
    from jobs.training.config import read_train_config

    console = Console()
    found = train_here(read_train_config(config), console, resume=resume)
    if not found.done:
        console.print(f"Go on with: lam train {config} --resume", highlight=False)
        raise typer.Exit(130)
    console.print(
        f"{found.progress.ended}; the results are in {found.files.folder}", highlight=False
    )
