"""What can one do about a run? `lam logs`, `cancel`, `retry`; and `lam doctor`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from lamstore.study import Study

StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The study directory.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("retry", rich_help_panel="Audit")(retry)
    app.command("cancel", rich_help_panel="Audit")(cancel)
    app.command("logs", rich_help_panel="Look")(logs)
    app.command("doctor", rich_help_panel="Look")(doctor)


def logs(
    study: StudyPath,
    failed: Annotated[
        bool, typer.Option("--failed", help="What was said while each failed unit ran.")
    ] = False,
) -> None:
    """The logs of the latest run; with --failed the part of each failed unit."""
    from rich.console import Console
    from rich.text import Text

    from hpc.logs import failed_logs
    from hpc.run_folder import run_folders

    found, console = Study.at(study), Console()
    if not failed:
        runs = run_folders(found)
        for path in sorted(runs[-1].logs.glob("*.log")) if runs else []:
            console.print(str(path), highlight=False, soft_wrap=True)
        return
    count = 0
    for log in failed_logs(found):
        count += 1
        console.rule(f"[red]{log.key}[/red] ({log.error.get('cause', 'error')})", align="left")
        console.print(Text(str(log.path or "its log is gone"), style="dim"), soft_wrap=True)
        console.print(Text("\n".join(log.lines)), soft_wrap=True)
        console.print(Text(log.error.get("traceback") or log.error.get("message", "")))
    if not count:
        console.print("No unit has failed.")


def cancel(study: StudyPath) -> None:
    """Take a submitted run out of the queue; what is done stays done."""
    from rich.console import Console

    from hpc.retry import cancel_runs

    console, ended = Console(), cancel_runs(Study.at(study))
    for run in ended:
        console.print(f"Run {run.id} is out of the queue.", highlight=False)
    if ended:
        console.print(f"Go on with: [cyan]lam run {study}[/cyan]", highlight=False)
    else:
        console.print("No run of this study is in the queue.", highlight=False)


def retry(
    study: StudyPath,
    profile: Annotated[
        str | None, typer.Option(help="Another cluster profile than the run had.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="So often resubmit what is lost.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Stay and show progress.")] = False,
) -> None:
    """Submit again what the latest slurm run lost, with more memory or time where that was why."""
    from rich.console import Console

    from hpc.launch import Request
    from hpc.launch_slurm import after_submission, announce
    from hpc.retry import retry as submit_again

    console, begun = Console(), time.monotonic()
    run = submit_again(Study.at(study), profile, retries)
    if run is None:
        console.print("Nothing was lost; nothing to retry.", highlight=False)
        return
    announce(run, console)
    raise typer.Exit(after_submission(run, Request(on="slurm", wait=wait), console, begun))


def doctor(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="Look at its folder too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What is here: SLURM, Apptainer, GPUs, folders, versions; what is wrong and how to mend it."""
    from rich.console import Console

    from hpc.doctor import examine

    findings = examine(study)
    if as_json:
        typer.echo(json.dumps([finding.to_json() for finding in findings], indent=2))
    else:
        console = Console()
        signs = {"good": "[green]✓[/green]", "absent": "[dim]–[/dim]", "bad": "[red]✗[/red]"}
        for finding in findings:
            console.print(f"{signs[finding.state]} [bold]{finding.name:12}[/bold] {finding.found}")
            if finding.remedy:
                console.print(f"{'':16}[cyan]{finding.remedy}[/cyan]")
    raise typer.Exit(1 if any(finding.state == "bad" for finding in findings) else 0)
