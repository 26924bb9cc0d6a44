"""What does the demo screen? Generated lumbar spines as DICOM, transitional ones among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from hpc.describe import describe
from jobs.lumbar.write import LumbarStudy, default_lumbar_cohort, write_rsna
from lamstore.config import render_config
from lamstore.study import Study, create_study

NORMAL, TRANSITIONAL = 24, 16
LABELS = Path("cohort", "labels.csv")
"""Which studies are transitional, below the demo's folder."""


def make_demo(folder: Path, console: Console) -> Study:
    """Generate the cohort in the layout of the RSNA challenge and describe a study of it.

    A folder that holds the demo already is used as it is, so that the demo resumes.
    """
    home, cohort = folder / "study", folder / "cohort"
    if (home / "study.yaml").exists():
        return Study.at(home)
    studies = [small(study) for study in default_lumbar_cohort(NORMAL, TRANSITIONAL)]
    console.print(f"generating {len(studies)} lumbar spines in {cohort} …", highlight=False)
    write_rsna(_shown(studies, console), cohort)
    options = {
        "series_csv": str((cohort / "train_series_descriptions.csv").resolve()),
        "ids": str((cohort / "valid_id.npy").resolve()),
    }
    config = describe("rsna-lumbar", cohort / "train_images", options)
    screening = config.screening.model_copy(update={"labels": (folder / LABELS).resolve()})
    return create_study(home, render_config(config.model_copy(update={"screening": screening})))


def small(study: LumbarStudy) -> LumbarStudy:
    """The same spine on half the matrix: a demo is to take minutes, a sample a second."""
    scanner = study.spec.scanner
    columns, rows = scanner.matrix
    half = replace(scanner, matrix=(columns // 2, rows // 2), spacing_mm=2 * scanner.spacing_mm)
    return replace(study, spec=replace(study.spec, scanner=half))


def _shown(studies: Sequence[LumbarStudy], console: Console) -> Iterator[LumbarStudy]:
    yield from track(studies, "generating", console=console, transient=True)
