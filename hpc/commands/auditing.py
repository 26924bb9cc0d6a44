"""How does a study get done? `lam run`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamstore.errors import ConfigError
from lamstore.study import Study

if TYPE_CHECKING:
    from rich.console import Console

    from hpc.launch import Request

CLUSTER = "On a cluster"
PART = "Part of a cohort"


class On(StrEnum):
    """Where units run."""

    LOCAL = "local"
    SLURM = "slurm"
    DASK = "dask"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("run", rich_help_panel="Audit")(run)


StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")]
Where = Annotated[On, typer.Option("--on", help="Who does the work.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes here (default: cores), or dask workers.")
]
Image = Annotated[Path | None, typer.Option(help="Apptainer image in which the work is done.")]
ProfileName = Annotated[str | None, typer.Option(rich_help_panel=CLUSTER, help="Cluster profile.")]
Adapt = Annotated[
    str | None,
    typer.Option(rich_help_panel=CLUSTER, help="dask: as many workers as needed, MIN:MAX."),
]
Throttle = Annotated[
    int | None, typer.Option(min=1, rich_help_panel=CLUSTER, help="slurm: tasks at once.")
]
PerTask = Annotated[
    int | None,
    typer.Option(min=1, rich_help_panel=CLUSTER, help="slurm: by default from measured times."),
]
Retries = Annotated[
    int,
    typer.Option(min=0, rich_help_panel=CLUSTER, help="slurm: so often resubmit what was lost."),
]
Wait = Annotated[
    bool, typer.Option("--wait", rich_help_panel=CLUSTER, help="slurm: stay, show progress.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", rich_help_panel=CLUSTER, help="slurm: only write the scripts.")
]
Trial = Annotated[int | None, typer.Option(min=1, rich_help_panel=PART, help="So many subjects.")]
Seed = Annotated[int, typer.Option(rich_help_panel=PART, help="Which ones (--trial).")]
Subjects = Annotated[
    list[str] | None,
    typer.Option(
        rich_help_panel=PART, help="Only this one, with verbose logs and pictures; repeatable."
    ),
]


def run(
    study: StudyPath,
    on: Where = On.LOCAL,
    workers: Workers = None,
    container: Image = None,
    profile: ProfileName = None,
    adapt: Adapt = None,
    throttle: Throttle = None,
    units_per_task: PerTask = None,
    retries: Retries = 0,
    wait: Wait = False,
    dry_run: DryRun = False,
    trial: Trial = None,
    seed: Seed = 0,
    subject: Subjects = None,
) -> None:
    """Do what is not done yet: ingest → infer → compare → cohort → report.

    Interrupt it, kill it, change study.yaml, add subjects: the next run does just what is missing
    or changed. A unit that fails is recorded and stops no other; the next run tries it again.
    """
    from rich.console import Console

    from hpc.launch import Request, launch

    request = Request(
        on=on.value,
        workers=workers,
        adapt=_range(adapt) if adapt else None,
        profile=profile,
        throttle=throttle,
        units_per_task=units_per_task,
        container=container,
        retries=retries,
        trial=trial,
        seed=seed,
        subjects=tuple(subject or ()),
        wait=wait,
        dry_run=dry_run,
    )
    _refuse_mixture(on, request)
    raise typer.Exit(launch(Study.at(study), request, Console()))


def _refuse_mixture(on: On, asked: Request) -> None:
    for_slurm = {
        "--throttle": asked.throttle,
        "--units-per-task": asked.units_per_task,
        "--retries": asked.retries,
        "--wait": asked.wait,
        "--dry-run": asked.dry_run,
    }
    for owner, options in ((On.DASK, {"--adapt": asked.adapt}), (On.SLURM, for_slurm)):
        given = [name for name, value in options.items() if value]
        if given and on is not owner:
            raise ConfigError(
                f"{', '.join(given)} means nothing to --on {on.value}",
                remedy=f"add --on {owner.value}, or leave it out",
            )


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition(":")
    if not (least.isdigit() and most.isdigit() and int(least) <= int(most)):
        raise ConfigError("--adapt cannot be read", got=text, expected="MIN:MAX, for example 0:32")
    return int(least), int(most)


def run_study(study: Study, workers: int | None, console: Console) -> int:
    """Run everything that is left, here; 0 when all is done, 1 when some units failed."""
    from hpc.launch import Request, launch

    return launch(study, Request(workers=workers), console)
