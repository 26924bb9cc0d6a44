"""What do tables say, wherever they come from? `lam analyse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("analyse", rich_help_panel="Look")(analyse)


def analyse(
    longitudinal: Annotated[
        Path, typer.Option(help="A row per subject (and shift): volumes, proxies, Dice.")
    ],
    out: Annotated[Path, typer.Option(help="Directory to write tables/, figures/, summary.md.")],
    uncertainty: Annotated[
        Path | None, typer.Option(help="A row per subject: unc_* summaries.")
    ] = None,
    robustness: Annotated[
        Path | None, typer.Option(help="A row per subject, shift and level.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="qc_thresholds.json of a reference cohort to judge by.")
    ] = None,
) -> None:
    """The audit from tables alone, for example somebody's published ones.

    Columns are those of tables/*.csv of a study; the published MS-LAM tables work as they are.
    """
    from rich.console import Console

    from analysis.audit import analyse_tables
    from analysis.qc import QcThresholds
    from analysis.tables import read_table

    console = Console()
    with console.status("analysing …"):
        analyse_tables(
            read_table(longitudinal),
            read_table(uncertainty) if uncertainty else None,
            read_table(robustness) if robustness else None,
            QcThresholds.read(thresholds) if thresholds else None,
            out=out,
        )
    console.print((out / "summary.md").read_text(encoding="utf-8"), markup=False, highlight=False)
    console.print(f"Written: {out}", highlight=False, soft_wrap=True)
