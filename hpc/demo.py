"""What does the demo audit? Generated brains whose lesions, and their changes, are known."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from hpc.describe import describe
from jobs.phantom import PhantomSpec, default_cohort, generate_subject, write_bids, write_open_ms
from lamstore.config import render_config
from lamstore.study import Study, create_study


def make_demo(folder: Path, console: Console) -> Study:
    """Generate the cohort (as open-ms and as BIDS) and describe a study of it.

    A folder that holds the demo already is used as it is, so that the demo resumes.
    """
    home, cohort = folder / "study", folder / "cohort"
    if (home / "study.yaml").exists():
        return Study.at(home)
    specs = default_cohort()
    console.print(f"generating {len(specs)} brains in {cohort} …", highlight=False)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(_write, specs, [cohort] * len(specs)))
    return create_study(home, render_config(describe("open-ms", cohort / "open-ms")))


def _write(spec: PhantomSpec, cohort: Path) -> None:
    subject = generate_subject(spec)
    write_open_ms([subject], cohort / "open-ms")
    write_bids([subject], cohort / "bids")
