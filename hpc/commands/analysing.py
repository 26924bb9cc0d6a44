"""What do tables say, and labels of a spine study? `lam analyse`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamstore.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from lamstore.study import Study

TABLES = "From tables alone"
SCREENING = "A study of spines"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("analyse", rich_help_panel="Look")(analyse)


def analyse(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="A study of spines.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=SCREENING,
            help="CSV with study_id and lstv (0 or 1)."
            " Given once, study.yaml keeps it (with --out it does not).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write tables/, figures/, summary.md (of a study: the study)."),
    ] = None,
    longitudinal: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=TABLES, help="A row per subject (and shift): volumes, proxies, Dice."
        ),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(rich_help_panel=TABLES, help="A row per subject: unc_* summaries."),
    ] = None,
    robustness: Annotated[
        Path | None,
        typer.Option(rich_help_panel=TABLES, help="A row per subject, shift and level."),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=TABLES, help="qc_thresholds.json of a reference cohort to judge by."
        ),
    ] = None,
) -> None:
    """Screening statistics of a study of spines, or the audit from tables alone.

    With STUDY and --labels: ROC, thresholds, risk groups, report. study.yaml then names the labels
    (screening.labels): later reports and analyses use them. With --longitudinal and --out:
    columns are those of tables/*.csv of a study; the published MS-LAM tables work as they are.
    """
    from rich.console import Console

    from lamstore.study import Study

    if study is not None:
        _refuse(longitudinal=longitudinal, uncertainty=uncertainty, robustness=robustness)
        found, console = Study.at(study), Console()
        screen_study(keep_labels(found, labels, out, console), labels, out, console)
    elif longitudinal is None or out is None:
        raise ConfigError(
            "there is nothing to analyse",
            expected="STUDY --labels labels.csv, or --longitudinal table.csv --out DIR",
        )
    else:
        _from_tables(longitudinal, uncertainty, robustness, thresholds, out)


def _refuse(**tables: Path | None) -> None:
    given = [f"--{name}" for name, path in tables.items() if path is not None]
    if given:
        raise ConfigError(
            f"{', '.join(given)} means nothing beside a study",
            remedy="leave it out, or leave out the study",
        )


def keep_labels(study: Study, labels: Path | None, out: Path | None, console: Console) -> Study:
    """The study, whose study.yaml names the labels from now on, unless they are for elsewhere.

    Raises
    ------
    ConfigError
        No labels are given, and study.yaml names none; or there is no such file.
    """
    from analysis.screening.labels import read_labels
    from lamstore.settings import set_value
    from lamstore.study import Study

    known = study.config.screening.labels
    if labels is None and known is None:
        raise ConfigError(
            "which studies are transitional is not said",
            expected="a CSV with the columns study_id and lstv (0 or 1)",
            remedy=f"lam analyse {study.path} --labels labels.csv",
        )
    path = (labels or known or Path()).resolve()
    if not path.is_file():
        where = "correct --labels" if labels else "correct screening.labels in study.yaml"
        raise ConfigError(f"there is no file {path}", remedy=where)
    if labels is None or out is not None or path == known:
        console.print(f"Labels: {path}", highlight=False, soft_wrap=True)
        return study
    read_labels(path)  # only what can be used is kept
    set_value(study.path, "screening", "labels", str(path))
    console.print(
        f"Labels: {path}, from now on named in study.yaml (screening.labels)",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return Study.at(study.path)


def screen_study(study: Study, labels: Path | None, out: Path | None, console: Console) -> None:
    """Screening statistics of a study of spines against labels; those of study.yaml by default."""
    from analysis.screening import screen
    from hpc.registry import leakage_warnings

    with console.status("screening …"):
        summary = screen(study.path, labels, out, leakage_warnings(study.config))
    console.print(str(summary), markup=False, highlight=False)
    page = (out or study.path) / study.report_path.name
    console.print(f"Written: {page}", highlight=False, soft_wrap=True)


def _from_tables(
    longitudinal: Path,
    uncertainty: Path | None,
    robustness: Path | None,
    thresholds: Path | None,
    out: Path,
) -> None:
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
