"""What can one type? The `lam` command line: parsing and error display only."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer

from lamstore import __version__
from lamstore.errors import LamstoreError, disk_full, means_no_space

app = typer.Typer(
    name="lam",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""[bold]How far can a pretrained model be trusted, and what breaks it?[/bold]

A study is a directory: [cyan]study.yaml[/cyan] says what to audit, [cyan]store.zarr[/cyan] holds
every voxel, [cyan]ledger/[/cyan] what is done, [cyan]report.html[/cyan] what it means.

  [cyan]lam demo demo[/cyan]              a whole audit on generated brains, in minutes
  [cyan]lam new study --dataset open-ms --root DIR[/cyan]
                             describe your cohort
  [cyan]lam run study[/cyan]              do what is not done yet; interrupt and rerun
  [cyan]lam status study[/cyan]           how far it is, what failed and why
  [cyan]lamstore.open("study")[/cyan]     the same in Python, lazily, with xarray
  [cyan]lam train train.yaml[/cyan]       train a segmenter from a study's store
  [cyan]lam predict --flair f.nii.gz --brainmask b.nii.gz --out DIR[/cyan]
                             one model on some images, without a study
  [cyan]lam demo-spine demo-spine[/cyan]  screening spines, on generated DICOM studies
  [cyan]lam try-spine[/cyan]              a page in the browser to try one study of a spine on
  [cyan]lam relabel study --centroids DIR[/cyan]
                             SPINEPS' labels against the heatmaps

Exit status: 0 all well; 1 some units failed, the rest is done; 2 nothing could be done.""",
)


INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lamstore {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


def register() -> None:
    """Attach every command; their own imports happen when they run."""
    from hpc.commands import (
        analysing,
        auditing,
        clusters,
        localizer,
        looking,
        making,
        predicting,
        relabel,
        state,
        training,
        trying,
    )

    for module in (
        making, auditing, clusters, state, looking, analysing, relabel, training, predicting,
        localizer, trying,
    ):  # fmt: skip
        module.add_to(app)


def main(argv: list[str] | None = None) -> Any:
    """Entry point of `lam`: errors raised on purpose are shown as text, not as a traceback."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    register()
    try:
        return app(argv, standalone_mode=True)
    except LamstoreError as error:
        show_error(error)
        sys.exit(2)
    except OSError as error:
        # What the system refuses is no bug of the program; any other OSError may be one.
        if not (means_no_space(error) or error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)):
            raise
        show_error(_refused(error))
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer makes this of Ctrl-C, and says nothing
            typer.echo("\ninterrupted; finished units are kept, run the same again", err=True)
        raise


def _refused(error: OSError) -> LamstoreError:
    if means_no_space(error):
        return disk_full("go on", error)
    return LamstoreError(f"not permitted: {error}", remedy="check who may write there")


def show_error(error: LamstoreError) -> None:
    """What went wrong, what was found, what was expected, what to type next."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text("✗ ", style="bold red") + Text(error.what, style="bold"))
    rows = (("got", error.got, ""), ("expected", error.expected, ""), ("try", error.remedy, "cyan"))
    for name, text, style in rows:
        if text:
            body = text.replace("\n", "\n            ")
            console.print(Text(f"  {name:>8}  ", style="dim") + Text(body, style=style))


if __name__ == "__main__":
    main()
