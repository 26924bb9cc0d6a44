"""How long do 10,000 subjects take to open and to plan?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

import lamstore
from benchmarks.timing import Row, seconds
from hpc.plan import EngineFacts, left, suite, wanted_units
from jobs.datasets.check import SubjectCheck
from jobs.datasets.manifest import Entry, Manifest
from jobs.datasets.model import ImageSource, SubjectSources
from lamstore.build import ensure
from lamstore.config import DatasetConfig, StudyConfig
from lamstore.grid import Grid
from lamstore.ledger import Ledger, LedgerFile, done
from lamstore.schema import EngineLayout, Layout
from lamstore.store import Store
from lamstore.units import Unit

SUBJECTS = tuple(f"sub{i:05d}" for i in range(10_000))
SHAPE = (182, 218, 182)
GROUPS = 300


def opening(work: Path) -> Iterator[Row]:
    """Open 10,000 subjects × 2 × 9 and select one mask by its labels."""
    path = work / "large.zarr"
    config = StudyConfig(dataset=DatasetConfig(adapter="open-ms", root=Path()))
    shifts = tuple(shift.label for shift in suite(config))
    grid = Grid.of(SHAPE, np.eye(4))
    layout = Layout(
        SUBJECTS, ("t0", "t1"), ("flair",), SHAPE, grid.spacing_mm, "uint16",
        engines={"e": EngineLayout(shifts, ("a", "b", "c"), ("ens_var",))},
    )  # fmt: skip
    ensure(path, layout, dict.fromkeys(SUBJECTS, grid), {}, {})
    mask = np.random.default_rng(0).random(SHAPE) > 0.999
    at = {"subject": SUBJECTS[5000], "timepoint": "t1", "shift": "gamma-1"}
    Store(path, writable=True).write("engines/e/mask", mask, **at)

    def ours() -> None:
        found = lamstore.open(path, engine="e").mask.sel(at).values
        assert found.sum() == mask.sum()

    mine = min(seconds(ours) for _ in range(5))
    other = _open_tree(work / "tree.zarr", mask) * len(SUBJECTS) * 2 / GROUPS
    yield Row(
        "open 10,000 subjects × 2 × 9, select and load one mask", f"{mine:.2f} s",
        f"xarray.open_datatree, a group per scan (from {GROUPS})", f"{other:.0f} s",
        f"{other / mine:.0f} ×", "≤ 1 s, ≥ 50 ×",
    )  # fmt: skip


def _open_tree(path: Path, mask: np.ndarray) -> float:
    """Seconds to open a tree of `GROUPS` scans with xarray."""
    root = zarr.create_group(path)
    for number in range(GROUPS):
        group = root.create_group(f"scan{number:05d}")
        for name in ("volume", "mask"):
            group.create_array(
                name, shape=SHAPE, chunks=(64, 64, 64), dtype="u1", dimension_names=["x", "y", "z"]
            )
    zarr.open_array(path, path=f"scan{GROUPS // 2:05d}/mask")[...] = mask
    begun = time.perf_counter()
    tree = xr.open_datatree(path, engine="zarr", consolidated=False, chunks={})
    assert tree.children[f"scan{GROUPS // 2:05d}"].dataset["mask"].values.sum() == mask.sum()
    return time.perf_counter() - begun


def planning(work: Path) -> Iterator[Row]:
    """Plan a rerun of 200,000 units of which 1 % is missing, in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.cohort", str(work / "ledger")]
    answer = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    found = json.loads(answer)
    yield Row(
        f"plan a rerun of {found['units']:,} units with 1 % missing",
        f"{found['seconds']:.2f} s, {found['peak_mb']:.0f} MB", "", "", "", "≤ 3 s, ≤ 1 GB",
    )  # fmt: skip


def _plan(folder: Path) -> None:
    config = StudyConfig(dataset=DatasetConfig(adapter="open-ms", root=Path()))
    shifts = tuple(shift.label for shift in suite(config))
    engines = [EngineFacts("flair-zscore", "digest", shifts)]
    manifest = _manifest()
    if not folder.exists():
        _write_ledger(folder, wanted_units(config, manifest, engines))
        # The measured process starts from the files, with nothing of this in its memory.
        subprocess.run([sys.executable, "-m", "benchmarks.cohort", str(folder)], check=True)
        return
    begun = time.perf_counter()
    words = Ledger(folder).latest()
    wanted = wanted_units(config, manifest, engines)
    missing = left(wanted, words)
    elapsed = time.perf_counter() - begun
    assert 0 < len(missing) < 0.02 * len(wanted)
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"units": len(wanted), "seconds": elapsed, "peak_mb": peak_mb}))


def _manifest() -> Manifest:
    grid = Grid.of(SHAPE, np.eye(4))
    cells = frozenset((t, m) for t in ("t0", "t1") for m in ("flair", "t1w"))
    entries = {}
    for subject in SUBJECTS:
        sources = SubjectSources(subject, {}, ImageSource(Path("x.nii.gz")))
        check = SubjectCheck(subject, grid, np.dtype("u2"), cells, True, True, frozenset())
        entries[subject] = Entry(sources, check, subject)
    return Manifest(entries)


def _write_ledger(folder: Path, wanted: Iterable[Unit]) -> None:
    """Records as long as real ones: 40 scalars, three checksums."""
    result = {f"some_metric_of_a_subject_{i}_mm3": 1234.56789 * i for i in range(40)}
    arrays = {f"engines/flair-zscore/{n}": "xxh3:" + "0" * 32 for n in ("mask", "p", "u")}
    folder.mkdir(parents=True)
    with (folder / "run-w01.jsonl").open("wb") as file:
        for number, unit in enumerate(wanted):
            if number % 100:
                file.write(done(unit, result, arrays, 1.0).to_json())


__all__ = ["LedgerFile", "opening", "planning"]

if __name__ == "__main__":
    _plan(Path(sys.argv[1]))
