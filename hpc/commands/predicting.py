"""What does a model say of these images? `lam predict`, for those who want no study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamstore.errors import ConfigError, InputError, StoreError

if TYPE_CHECKING:
    from jobs.datasets.model import SubjectSources
    from jobs.engines import Engine
    from jobs.predict import Scan

FILES = "One subject from files"
MANY = "Many subjects"


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("predict", rich_help_panel="Begin")(predict)


def _file(modality: str) -> Any:
    return typer.Option(f"--{modality}", rich_help_panel=FILES, help=f"{modality.upper()} image.")


def predict(
    out: Annotated[Path, typer.Option(help="Directory to write; new or empty.")],
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY|ROOT]", help="A study, or with --dataset a cohort's root."),
    ] = None,
    engine: Annotated[str, typer.Option(help="Any installed engine.")] = "unet",
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights file, one a member; repeatable.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the engine, as in study.yaml."),
    ] = None,
    flair: Annotated[Path | None, _file("flair")] = None,
    t1w: Annotated[Path | None, _file("t1w")] = None,
    t2w: Annotated[Path | None, _file("t2w")] = None,
    t1ce: Annotated[Path | None, _file("t1ce")] = None,
    pd: Annotated[Path | None, _file("pd")] = None,
    dwi: Annotated[Path | None, _file("dwi")] = None,
    adc: Annotated[Path | None, _file("adc")] = None,
    brainmask: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FILES,
            help="Brain mask; without one the image must be skull-stripped.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(rich_help_panel=MANY, help="Layout of ROOT: bids, open-ms, ….")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(rich_help_panel=MANY, help="Only this one; repeatable.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring files on another grid onto the first's.")
    ] = False,
    members: Annotated[
        bool, typer.Option("--members", help="Write each member's probability too.")
    ] = False,
) -> None:
    """Segment images with any engine: NIfTI out (mask, probability), no study needed.

    lam predict --flair f.nii.gz --t1w t.nii.gz --brainmask b.nii.gz --out DIR
    lam predict ROOT --dataset bids --out DIR
    lam predict STUDY --weights runs/a/best.safetensors --out DIR
    """
    from rich.console import Console

    from hpc.predict import Output, predict_all
    from jobs.engines import load_engine

    if out.exists() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty", remedy="choose another --out")
    console = Console()
    model = load_engine(engine, _options(weights or [], option or []))
    named = zip(
        ("flair", "t1w", "t2w", "t1ce", "pd", "dwi", "adc"),
        (flair, t1w, t2w, t1ce, pd, dwi, adc),
        strict=True,
    )
    files = {modality: path for modality, path in named if path is not None}
    nested = source is not None
    if nested and (files or brainmask):
        raise ConfigError("give either image files or a study or root, not both")
    if source is None:
        scans, problems = _one(files, brainmask, model, resample)
    else:
        scans, problems = _many(source, dataset, tuple(subject or ()), model, resample)
    for problem in problems:
        console.print(f"[red]✗[/red] {problem}", highlight=False, soft_wrap=True)
    if not scans:
        raise InputError(
            "there is nothing to predict on",
            got=f"{len(problems)} problems" if problems else "no scan",
            remedy="lam predict --help",
        )
    failed = predict_all(model, scans, Output(out, nested, members), console, resample=resample)
    done = len(scans) - failed
    console.print(f"{done} of {len(scans)} scans. Results: {out}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failed or problems else 0)


def _options(weights: list[Path], pairs: list[str]) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {"weights": weights} if weights else {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError("--option cannot be read", got=pair, expected="KEY=VALUE")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--option {key} is not valid YAML", got=value) from error
    return found


def _one(
    files: dict[str, Path], brainmask: Path | None, engine: Engine, resample: bool
) -> tuple[list[Scan], list[str]]:
    from jobs.datasets.files import subject_label
    from jobs.predict import one_subject, scans_of

    if not files:
        raise ConfigError(
            "lam predict needs images",
            remedy="lam predict --flair FILE --out DIR, or lam predict STUDY --out DIR",
        )
    name = next(iter(files.values())).name
    label = subject_label(name.removesuffix(".gz").removesuffix(".nii")) or "scan"
    return scans_of([one_subject(label, files, brainmask)], engine, resample=resample)


def _many(
    source: Path, dataset: str | None, subjects: tuple[str, ...], engine: Engine, resample: bool
) -> tuple[list[Scan], list[str]]:
    from jobs.datasets import load_dataset
    from jobs.predict import scans_in_study, scans_of
    from lamstore.study import Study

    if dataset is None:
        return scans_in_study(Study.at(source), subjects), []
    listed: list[SubjectSources] = load_dataset(dataset, source)
    chosen = [s for s in listed if not subjects or s.subject in subjects]
    if missing := set(subjects) - {s.subject for s in chosen}:
        raise ConfigError(f"{source} has no subject {', '.join(sorted(missing))}")
    return scans_of(chosen, engine, resample=resample)
