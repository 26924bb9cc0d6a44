"""How fast are real volumes read and taken in, and how much room do they need?"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
import zarr
from nibabel.nifti1 import Nifti1Image
from numcodecs import Blosc

import lamstore
from benchmarks.timing import Row, compared, pairs
from jobs.datasets import load_dataset
from jobs.datasets.manifest import Manifest, survey
from jobs.ingest import ingest
from jobs.workbench import Workbench
from lamstore.build import ensure
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.grid import Grid
from lamstore.schema import EngineLayout, Layout
from lamstore.store import Store
from lamstore.study import Study, create_study
from lamstore.units import Unit

PATIENT = "longitudinal/coregistered/patient01"
VOLUMES = {
    "325×334×53 uint16": f"{PATIENT}/study1_FLAIR.nii.gz",
    "182×218×182 float32": "cross_sectional/MNI/patient19/"
    "FLAIR_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz",
}
AT = {"subject": "s", "timepoint": "t0", "modality": "flair"}


def reading(data: Path, work: Path) -> Iterator[Row]:
    """Whole volumes, slices and patches against nibabel and h5py; bytes on disk."""
    for number, (label, name) in enumerate(VOLUMES.items()):
        path = data / name
        store = one_volume_store(path, work / f"read{number}.zarr")
        hdf5 = same_chunks_hdf5(store, work / f"read{number}.h5")
        yield from _against_nibabel(label, path, store)
        yield from _against_hdf5(label, store, hdf5)
        size = sum(p.stat().st_size for p in store.shard_paths("volume", **AT))
        ratio = size / path.stat().st_size
        yield Row(
            f"bytes on disk, {label}", f"{size / 1e6:.2f} MB", ".nii.gz",
            f"{path.stat().st_size / 1e6:.2f} MB", f"{ratio:.2f} ×", "≤ 0.95 ×",
        )  # fmt: skip


def one_volume_store(path: Path, target: Path) -> Store:
    """A store that holds one file."""
    image = Nifti1Image.from_filename(path)
    grid, voxels = Grid.of(image.shape, image.affine), np.asarray(image.dataobj)
    layout = Layout(("s",), ("t0",), ("flair",), grid.shape, grid.spacing_mm, str(voxels.dtype))
    ensure(target, layout, {"s": grid}, {"s": frozenset([("t0", "flair")])}, {})
    store = Store(target, writable=True)
    store.write("volume", voxels, subject="s", timepoint="t0")
    return store


def same_chunks_hdf5(store: Store, path: Path) -> h5py.Dataset:
    """The same voxels in HDF5: same order, same chunks, gzip and shuffle.

    Without HDF5's cache of decoded chunks, from which every round but the first would be served.
    """
    array = store.array("volume")
    values = np.asarray(array[0, 0, 0])
    chunks = array.chunks[3:]
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=values, chunks=chunks, compression="gzip", shuffle=True)
    return h5py.File(path, "r", rdcc_nbytes=0)["v"]


def _against_nibabel(label: str, path: Path, store: Store) -> Iterator[Row]:
    x, y, z = store.grid("s").shape
    whole = (slice(0, x), slice(0, y), slice(0, z))
    axial = (slice(0, x), slice(0, y), _middle(z, 1))
    patch = (_middle(x, 64), _middle(y, 64), _middle(z, 64))
    lazy = lamstore.open(store.path).to_dataset()["volume"].sel(AT)
    for what, box, target in (
        ("whole", whole, "≥ 3 ×"),
        ("axial slice", axial, "≥ 12 ×"),
        ("64³ patch", patch, "≥ 12 ×"),
    ):
        ours = partial(store.read_box, "volume", box, **AT)
        theirs = partial(_read_by_nibabel, path, box)
        assert np.array_equal(ours()[0, 0, 0], theirs())
        yield compared(
            f"read {what}, {label}",
            ours,
            "nibabel, .nii.gz",
            theirs,
            target,
        )
        yield compared(
            f"the same through `lamstore.open` (xarray, dask), {what}",
            partial(_values, lazy, box),
            "nibabel, .nii.gz",
            theirs,
            "",
            rounds=11,
        )


def _middle(length: int, edge: int) -> slice:
    start = max(0, length // 2 - edge // 2)
    return slice(start, min(start + edge, length))


def _read_by_nibabel(path: Path, box: tuple[slice, ...]) -> np.ndarray:
    return np.asarray(Nifti1Image.from_filename(path).dataobj[box])


def _values(lazy: xr.DataArray, box: tuple[slice, ...]) -> np.ndarray:
    return lazy[box].values


def _against_hdf5(label: str, store: Store, hdf5: h5py.Dataset) -> Iterator[Row]:
    x, y, z = store.grid("s").shape
    axial = (slice(0, x), slice(0, y), _middle(z, 1))
    yield compared(
        f"read whole, {label}", lambda: store.read("volume", **AT),
        "h5py, gzip + shuffle, same chunks", lambda: hdf5[:z, :y, :x], "≥ 2 ×",
    )  # fmt: skip
    yield compared(
        f"read axial slice, {label}", lambda: store.read_box("volume", axial, **AT),
        "h5py, gzip + shuffle, same chunks", lambda: hdf5[z // 2, :y, :x], "≥ 2 ×",
    )  # fmt: skip


def ingesting(data: Path, work: Path) -> Iterator[Row]:
    """One subject into the store, against unzipping its files and compressing its voxels."""
    bench = ready_study(data, work / "ingest")
    folder = data / PATIENT
    files = [folder / f"study{t}_{m}.nii.gz" for t in (1, 2) for m in ("FLAIR", "T1W")]
    files += [folder / "brainmask.nii.gz", folder / "gt.nii.gz"]
    blosc = Blosc("zstd", 3, Blosc.SHUFFLE)

    def bare() -> None:
        for path in files:
            raw = gzip.decompress(path.read_bytes())
            for start in range(0, len(raw), 1 << 19):
                blosc.encode(raw[start : start + (1 << 19)])

    unit = Unit("ingest", subject="patient01")
    mine, other, ratio = pairs(lambda: ingest(bench, unit), bare, 7)
    yield Row(
        "ingest one subject (2 × FLAIR, T1W, masks)", f"{mine:.2f} s",
        "gzip.decompress + Blosc-zstd, nothing else", f"{other:.2f} s",
        f"{1 / ratio:.2f} ×", "≤ 1.5 ×",
    )  # fmt: skip


def ready_study(data: Path, path: Path) -> Workbench:
    """A study of one real patient, planned, nothing ingested."""
    dataset = DatasetConfig(adapter="open-ms", root=data, subjects=("patient01",))
    study: Study = create_study(path, render_config(StudyConfig(dataset=dataset)))
    manifest = survey(load_dataset("open-ms", data, {}), dataset, Manifest({}))
    manifest.write(study.path / "cohort.json")
    check = manifest.entries["patient01"].check
    assert check.grid is not None
    layout = Layout(
        ("patient01",), ("t0", "t1"), ("flair", "t1w"), check.grid.shape,
        check.grid.spacing_mm, str(check.dtype), change_truth=True,
    )  # fmt: skip
    grids, available = {"patient01": check.grid}, {"patient01": check.available}
    ensure(study.store_path, layout, grids, available, {})
    return Workbench(study)


def files_per_scan(work: Path) -> Iterator[Row]:
    """Files for volume, mask and three member probabilities of one scan."""
    shape, members = (182, 218, 182), ("a", "b", "c")
    grid = Grid.of(shape, np.eye(4))
    subjects = tuple(f"s{i}" for i in range(5))
    engines = {"e": EngineLayout(("none",), members, ())}
    layout = Layout(
        subjects, ("t0", "t1"), ("flair",), shape, grid.spacing_mm, "float32", engines=engines
    )
    ensure(work / "files.zarr", layout, dict.fromkeys(subjects, grid), {}, {})
    store = Store(work / "files.zarr", writable=True)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32) + 0.5
    group = zarr.create_group(work / "scan.zarr")
    for name, extra in (("volume", ()), ("mask", ()), ("probability", (3,))):
        values = np.broadcast_to(noise, (*extra, *shape))
        chunks = (*(1 for _ in extra), 64, 64, 64)
        group.create_array(name, data=np.ascontiguousarray(values), chunks=chunks)
    for subject in subjects:
        for timepoint in layout.timepoints:
            at = {"subject": subject, "timepoint": timepoint}
            store.write("volume", noise[None], **at)
            store.write("engines/e/mask", noise > 0, shift="none", **at)
            probability = np.broadcast_to(noise / 2, (3, *shape))
            store.write("engines/e/probability", probability, shift="none", **at)
    mine = sum(1 for p in (work / "files.zarr").rglob("*") if p.is_file()) / 10
    other = sum(1 for p in (work / "scan.zarr").rglob("*") if p.is_file())
    yield Row(
        "files per (subject, timepoint): volume, mask, 3 probabilities", f"{mine:.1f}",
        "a Zarr group per scan, 64³ chunks, no shards", str(other),
        f"1/{other / mine:.0f}", "≤ 1/20",
    )  # fmt: skip
