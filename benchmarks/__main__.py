"""Run every comparison and write benchmarks/README.md."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import (
    cluster,
    cohort,
    dicom_reading,
    patches,
    science,
    spine,
    unet_inference,
    volumes,
)
from benchmarks.timing import Row
from hpc.provenance import versions

HERE = Path(__file__).parent
DATA = Path(os.environ.get("LAMSTORE_DATA", HERE.parent.parent / "shared/data")) / "open_ms_data"

INTRODUCTION = """# Benchmarks

What one would use instead, measured side by side in one run: ours and theirs in turn, the median
of each and the median of the ratios, pair by pair. `make bench` writes this file. Absolute times
are this machine's; the ratios travel better.
"""


def rows(work: Path) -> Iterator[Row]:
    """Every row, in the order of the table."""
    yield from volumes.reading(DATA, work)
    yield from volumes.files_per_scan(work)
    yield from cohort.opening(work)
    yield from cohort.planning(work)
    yield from science.metrics(DATA)
    yield from unet_inference.inference(DATA)
    yield from volumes.ingesting(DATA, work)
    yield from patches.patches(DATA, work)
    yield from dicom_reading.rows(work)
    yield from spine.rows(work)
    yield from cluster.rows(work)


def render(found: Iterable[Row]) -> str:
    """The file as text."""
    table = [
        "| what | lamstore | instead | it takes | ratio | to reach |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        cells = (row.what, row.ours, row.peer, row.theirs, f"**{row.ratio}**" * bool(row.ratio))
        table.append("| " + " | ".join(cell or "–" for cell in (*cells, row.target)) + " |")
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    machine = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    when = time.strftime("%Y-%m-%d")
    return "\n".join([INTRODUCTION, *table, "", f"Measured {when} on {machine}; {libraries}.", ""])


def main() -> int:
    """Measure and write."""
    if not DATA.exists():
        print(
            f"there are no images at {DATA}\n  try: LAMSTORE_DATA=DIR make bench", file=sys.stderr
        )
        return 2
    found = []
    with tempfile.TemporaryDirectory(prefix="lamstore-bench-") as work:
        for row in rows(Path(work)):
            print(f"{row.what}: {row.ours} | {row.theirs} | {row.ratio} (to reach {row.target})")
            found.append(row)
    (HERE / "README.md").write_text(render(found), encoding="utf-8")
    print(f"written: {HERE / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
