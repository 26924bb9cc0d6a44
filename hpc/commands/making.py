"""How does a study begin? `lam new` and `lam demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamstore.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("new", rich_help_panel="Begin")(new)
    app.command("check", rich_help_panel="Begin")(check)
    app.command("demo", rich_help_panel="Begin")(demo)


def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Directory to make.")],
    dataset: Annotated[
        str,
        typer.Option(
            help="Layout of the cohort: open-ms, open-ms-raw, open-ms-mni, bids, nifti-table."
        ),
    ],
    root: Annotated[Path, typer.Option(help="Where the cohort lies (for nifti-table: the CSV).")],
    engine: Annotated[
        list[str] | None, typer.Option(help="Model to audit; repeat for several.")
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="Modality that every subject must have (default flair); repeatable."),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring files on another grid onto the subject's.")
    ] = False,
) -> None:
    """Describe a cohort: writes STUDY/study.yaml and shows what the headers say."""
    from rich.console import Console

    from hpc.commands.tables import cohort_table
    from hpc.run import look
    from lamstore.config import DatasetConfig, EngineConfig, StudyConfig, render_config
    from lamstore.study import create_study

    if not root.exists():
        raise ConfigError(f"there is nothing at {root}", remedy="correct --root")
    config = StudyConfig(
        dataset=DatasetConfig(
            adapter=dataset,
            root=root.resolve(),
            resample=resample,
            modalities=tuple(modality or ("flair",)),
        ),
        engines=tuple(
            EngineConfig(engine=name, label=None) for name in engine or ("flair-zscore",)
        ),
    )
    _refuse_unknown(config)
    made = create_study(study, render_config(config))
    console = Console()
    try:
        manifest = look(made)
    except ConfigError:
        (made.path / "study.yaml").unlink()
        raise
    console.print(cohort_table(manifest.check))
    usable, listed = len(manifest.check.usable), len(manifest.check.subjects)
    console.print(
        f"{usable} of {listed} subjects can be taken in. Next: [cyan]lam run {study}[/cyan]"
        f" (what decides the result is in {made.path / 'study.yaml'})",
        highlight=False,
    )


def check(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")],
) -> None:
    """What the headers of the cohort say: who can be taken in, and what is wrong elsewhere."""
    from rich.console import Console

    from hpc.commands.tables import cohort_table
    from hpc.run import look
    from lamstore.study import Study

    found, console = look(Study.at(study), keep=False).check, Console()
    console.print(cohort_table(found))
    for subject in found.subjects:
        for problem in subject.problems:
            console.print(f"[red]✗[/red] {subject.subject}", highlight=False)
            console.print(f"    {problem}".replace("\n", "\n    "), highlight=False, markup=False)
    for label, reason in found.left_out:
        console.print(f"[dim]left out {label}: {reason}[/dim]", highlight=False)
    raise typer.Exit(0 if found.ok else 1)


def _refuse_unknown(config: object) -> None:
    from jobs.engines import load_engine
    from lamstore.config import StudyConfig

    assert isinstance(config, StudyConfig)
    for engine in config.engines:
        if engine.engine != "precomputed":  # its options are for the user to fill in
            load_engine(engine.engine, engine.options)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to make.")],
    workers: Annotated[int | None, typer.Option(help="Worker processes (default: cores).")] = None,
) -> None:
    """A whole audit on a generated cohort: six brains, two timepoints, known lesions."""
    from rich.console import Console

    from hpc.commands.auditing import run_study
    from hpc.demo import make_demo

    console = Console()
    study = make_demo(folder, console)
    raise typer.Exit(run_study(study, workers, console))
