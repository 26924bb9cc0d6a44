"""Run every comparison and write benchmarks/README.md; or, by name, some of them, and print."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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


PARTS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "reading": lambda work: volumes.reading(DATA, work),
    "files": volumes.files_per_scan,
    "opening": cohort.opening,
    "planning": cohort.planning,
    "metrics": lambda work: science.metrics(DATA),
    "unet": lambda work: unet_inference.inference(DATA),
    "ingest": lambda work: volumes.ingesting(DATA, work),
    "patches": lambda work: patches.patches(DATA, work),
    "dicom": dicom_reading.rows,
    "spine": spine.rows,
    "cluster": cluster.rows,
}
"""In the order of the table."""


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


def main(names: Sequence[str]) -> int:
    """Measure; write the table when all of it was asked for."""
    if not DATA.exists():
        return _refused(f"there are no images at {DATA}", "LAMSTORE_DATA=DIR make bench")
    if unknown := [name for name in names if name not in PARTS]:
        known = " ".join(PARTS)
        return _refused(f"no benchmark is called {unknown[0]}", f"python -m benchmarks [{known}]")
    found = []
    with tempfile.TemporaryDirectory(prefix="lamstore-bench-") as work:
        for row in (row for name in names or PARTS for row in PARTS[name](Path(work))):
            print(f"{row.what}: {row.ours} | {row.theirs} | {row.ratio} (to reach {row.target})")
            found.append(row)
    if not names:
        (HERE / "README.md").write_text(render(found), encoding="utf-8")
        print(f"written: {HERE / 'README.md'}")
    return 0


def _refused(message: str, remedy: str) -> int:
    print(f"{message}\n  try: {remedy}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
