"""Do another tool's labels of the vertebrae fit, and who is looked at first? `lam relabel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("relabel", rich_help_panel="Look")(relabel)


def relabel(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study of spines that has run.")],
    centroids: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where SPINEPS (or VerSe) left *_ctd.json, at any depth."),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where its masks are, *_seg-vert_msk.nii.gz."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write (default: STUDY/relabel).")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Length of the audit queue (default: of study.yaml, 20)."),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Whose heatmaps judge (default: the first localizer).")
    ] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
) -> None:
    """Hold another tool's vertebra labels against the heatmaps: relabelled masks, an audit queue.

    Labels that are off by one vertebra are moved in copies; the queue ranks studies by the
    localizer's entropy where the tool says L5/S1 is. Centroids and masks belong to a study by name:
    sub-12345_…_ctd.json. One study that fails stops no other.
    """
    from rich.console import Console

    from hpc.relabel import Request, relabel_study
    from lamstore.study import Study

    request = Request(centroids, masks, out, top, engine, tuple(subject or ()))
    raise typer.Exit(1 if relabel_study(Study.at(study), request, Console()) else 0)
