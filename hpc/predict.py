"""How does one engine go over many scans without a study? In order, one failure stopping none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from jobs.engines import Engine
from jobs.predict import Scan, predicted, read_scan, write_volume
from lamstore.errors import LamstoreError


@dataclass(frozen=True)
class Output:
    """Where and what to write."""

    folder: Path
    nested: bool
    """A folder for each subject; else one scan is all there is."""
    members: bool


def predict_all(
    engine: Engine, scans: Sequence[Scan], output: Output, console: Console, *, resample: bool
) -> int:
    """Read, predict, write; how many scans failed. Says what is wrong with those."""
    engine.load()
    failed = 0
    with Progress(console=console, transient=True) as progress:
        for scan in progress.track(scans, description=f"{engine.name}"):
            where = f"{scan.subject} {scan.timepoint}"
            try:
                _predict_one(engine, scan, output, resample)
            except LamstoreError as error:
                failed += 1
                console.print(f"[red]✗[/red] {where}", highlight=False)
                console.print(str(error), highlight=False, markup=False, soft_wrap=True)
            else:
                console.print(f"[green]✓[/green] {where}", highlight=False)
    return failed


def _predict_one(engine: Engine, scan: Scan, output: Output, resample: bool) -> None:
    inputs = read_scan(scan, engine, resample=resample)
    for name, voxels in predicted(engine, inputs, members=output.members):
        leaf = f"{scan.timepoint}_{name}.nii.gz" if output.nested else f"{name}.nii.gz"
        folder = output.folder / scan.subject if output.nested else output.folder
        write_volume(folder / leaf, voxels, inputs.grid, scan.reference)
