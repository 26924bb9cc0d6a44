"""How does a study begin? `lam new`, `lam demo` and `lam demo-spine`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamstore.errors import ConfigError

if TYPE_CHECKING:
    from lamstore.config import StudyConfig

SPINE = "DICOM studies of spines (rsna-lumbar, dicom)"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("new", rich_help_panel="Begin")(new)
    app.command("check", rich_help_panel="Begin")(check)
    app.command("demo", rich_help_panel="Begin")(demo)
    app.command("demo-spine", rich_help_panel="Begin")(demo_spine)


def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Directory to make.")],
    dataset: Annotated[
        str,
        typer.Option(
            help="Layout of the cohort: open-ms, open-ms-raw, open-ms-mni, bids, nifti-table,"
            " atlas, isles, rsna-lumbar, dicom."
        ),
    ],
    root: Annotated[
        Path,
        typer.Option(help="Where the cohort lies (nifti-table: the CSV; dicom: folder or ZIP)."),
    ],
    engine: Annotated[
        list[str] | None, typer.Option(help="Model to audit; repeat for several.")
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            help="Modality that every subject must have (default flair, of a spine t2w);"
            " repeatable."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Further option of the dataset; repeatable."),
    ] = None,
    series_csv: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=SPINE, help="CSV with study_id, series_id, series_description."
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=SPINE, help="Studies to evaluate (.npy, .csv, .txt); no other is read."
        ),
    ] = None,
    training_ids: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=SPINE, help="Studies that the model was trained on; none may be both."
        ),
    ] = None,
    allow_all_studies: Annotated[
        bool,
        typer.Option(
            "--allow-all-studies",
            rich_help_panel=SPINE,
            help="Take every study although some may be training data; the report warns.",
        ),
    ] = False,
    pseudonymize: Annotated[
        bool,
        typer.Option(
            "--pseudonymize", rich_help_panel=SPINE, help="Keyed hashes in place of all ids."
        ),
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option(rich_help_panel=SPINE, help="Secret key of --pseudonymize.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring files on another grid onto the subject's.")
    ] = False,
) -> None:
    """Describe a cohort: writes STUDY/study.yaml and shows what the headers say."""
    from rich.console import Console

    from hpc.commands.tables import cohort_table
    from hpc.describe import describe
    from hpc.run import look
    from lamstore.config import render_config
    from lamstore.study import create_study

    if not root.exists():
        raise ConfigError(f"there is nothing at {root}", remedy="correct --root")
    files = {
        "series_csv": series_csv,
        "ids": ids,
        "training_ids": training_ids,
        "key_file": key_file,
    }
    flags = {"allow_all_studies": allow_all_studies, "pseudonymize": pseudonymize}
    options = _options(option or (), files, flags)
    config = describe(
        dataset,
        root,
        options,
        modalities=modality or (),
        engines=engine or (),
        resample=resample,
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


def _options(
    given: list[str] | tuple[()], files: dict[str, Path | None], flags: dict[str, bool]
) -> dict[str, Any]:
    """Options of the dataset as study.yaml keeps them; paths do not depend on where one stands."""
    import yaml

    options: dict[str, Any] = {name: True for name, on in flags.items() if on}
    for name, path in files.items():
        if path is not None:
            if not path.exists():
                raise ConfigError(
                    f"there is no file {path}", remedy=f"correct --{name.replace('_', '-')}"
                )
            options[name] = str(path.resolve())
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigError("--option cannot be read", got=text, expected="KEY=VALUE")
        options[name] = yaml.safe_load(value)
    return options


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


def _refuse_unknown(config: StudyConfig) -> None:
    from jobs.engines import load_engine

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


def demo_spine(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to make.")],
    workers: Annotated[int | None, typer.Option(help="Worker processes (default: cores).")] = None,
) -> None:
    """A whole screening on generated DICOM studies: normal spines, and transitional vertebrae."""
    from rich.console import Console

    from hpc.commands.auditing import run_study
    from hpc.demo_spine import make_demo

    console = Console()
    study = make_demo(folder, console)
    status = run_study(study, workers, console)
    summary = study.path / "summary.md"  # against the labels that study.yaml names
    if summary.is_file():
        console.print(summary.read_text(encoding="utf-8"), markup=False, highlight=False)
        console.print(f"Written: {study.report_path}", highlight=False, soft_wrap=True)
    raise typer.Exit(status)
