"""What is there, and is it sound? `lam verify`, `tables`, `export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lamstore.study import Study

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")]


class Format(StrEnum):
    """What `lam export` writes."""

    NIFTI = "nifti"
    HDF5 = "hdf5"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("verify", rich_help_panel="Look")(verify)
    app.command("tables", rich_help_panel="Look")(tables)
    app.command("export", rich_help_panel="Look")(export)


def verify(
    study: StudyPath,
    redo: Annotated[
        bool,
        typer.Option("--redo", help="Withdraw what is torn or missing; the next run redoes it."),
    ] = False,
) -> None:
    """Decode the data of every done unit and hold it against its recorded checksum."""
    from rich.console import Console

    from hpc.run import new_run_id
    from hpc.verify import find_damage, withdraw

    found, console = Study.at(study), Console()
    checked, damages = find_damage(found, console)
    for damage in damages[:50]:
        console.print(f"[red]✗[/red] {damage.unit}: {damage.array} {damage.what}", highlight=False)
    console.print(f"{checked} units checked, {len(damages)} damaged arrays.", highlight=False)
    if damages and redo:
        withdraw(found, damages, new_run_id())
        console.print(f"Withdrawn. Next: [cyan]lam run {study}[/cyan]", highlight=False)
    elif damages:
        console.print(f"Next: [cyan]lam verify {study} --redo[/cyan]", highlight=False)
    raise typer.Exit(1 if damages else 0)


def tables(study: StudyPath) -> None:
    """Rewrite tables/*.csv and *.parquet from the store and the ledger."""
    from analysis.store_tables import write_tables

    for path in write_tables(Study.at(study)):
        typer.echo(path)


def export(
    study: StudyPath,
    out: Annotated[Path, typer.Option(help="File (hdf5) or directory (nifti) to write.")],
    kind: Annotated[Format, typer.Option("--format", help="nifti or hdf5.")] = Format.NIFTI,
    subject: Annotated[
        list[str] | None, typer.Option(help="Only these subjects (nifti); repeatable.")
    ] = None,
) -> None:
    """Take results out: NIfTI files with affines, or one portable HDF5 file of the same layout."""
    from rich.console import Console

    from hpc.export import export_hdf5_with_progress, export_nifti_with_progress

    source, console = Study.at(study), Console()
    if kind is Format.HDF5:
        path = export_hdf5_with_progress(source, out, console)
    else:
        path = export_nifti_with_progress(source, out, tuple(subject or ()), console)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)
