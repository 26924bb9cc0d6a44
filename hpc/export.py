"""How do results leave a study? NIfTI trees and one HDF5 file, with progress."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.progress import Progress

from lamstore.errors import MissingArrayError, StoreError
from lamstore.hdf5 import export_hdf5
from lamstore.ledger import Record
from lamstore.store import Store
from lamstore.study import Study

AXES = {
    "probability": "member",
    "uncertainty": "measure",
    "heatmap": "level",
    "volume": "modality",
}
"""Axis that a unit writes whole, by array."""


def export_hdf5_with_progress(study: Study, out: Path, console: Console) -> Path:
    """The whole store as one HDF5 file; says each array as it is written."""
    if out.suffix not in (".h5", ".hdf5"):
        out = out.with_name(out.name + ".h5")
    with console.status("writing …") as status:
        return export_hdf5(study.store_path, out, lambda name: status.update(f"wrote {name}"))


def export_nifti_with_progress(
    study: Study, out: Path, subjects: tuple[str, ...], console: Console
) -> Path:
    """Every done output as NIfTI: ``out/<engine>/<subject>/<timepoint>[_<shift>]_<array>.nii.gz``.

    Inputs go to ``out/inputs``. Members, measures and levels become one file each.
    """
    if out.exists() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty", remedy="choose another --out")
    store = Store(study.store_path)
    for subject in subjects:
        store.grid(subject)
    records = [
        record
        for record in study.ledger.records(state="done")
        if record.arrays and (not subjects or record.unit.subject in subjects)
    ]
    if not records:
        raise MissingArrayError(
            f"{study.path} has nothing to export", remedy=f"lam run {study.path}"
        )
    with Progress(console=console, transient=True) as progress:
        for record in progress.track(records, description="exporting"):
            for path, image in nifti_images(store, record):
                target = out / path
                target.parent.mkdir(parents=True, exist_ok=True)
                nib.save(image, target)
    return out


def nifti_images(store: Store, record: Record) -> Iterator[tuple[Path, nib.Nifti1Image]]:
    """Relative path and image of every volume that one unit wrote."""
    unit = record.unit
    grid = store.grid(unit.subject)
    has = store.available(unit.subject)
    for array in record.arrays:
        name, _, at_timepoint = array.partition("@")
        timepoint = at_timepoint or unit.timepoint
        at = {"subject": unit.subject, "timepoint": timepoint, "shift": unit.shift}
        block = store.read(name, **{k: v for k, v in at.items() if v})
        volumes = block.reshape(-1, *grid.shape)
        for label, volume in zip(_axis_labels(store, name), volumes, strict=True):
            if name == "volume" and (timepoint, label) not in has:
                continue
            values = volume.astype(np.float32) if volume.dtype == np.float16 else volume
            image = nib.Nifti1Image(  # type: ignore[no-untyped-call]
                np.ascontiguousarray(values), grid.matrix
            )
            image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
            shift = unit.shift if unit.shift not in ("", "none") else ""
            leaf = name.rpartition("/")[2]
            parts = [part for part in (timepoint, shift, leaf, label) if part]
            folder = unit.engine or "inputs"
            yield Path(folder, unit.subject, "_".join(parts) + ".nii.gz"), image


def _axis_labels(store: Store, name: str) -> tuple[str, ...]:
    """Labels of the axis that a unit writes whole; one empty label where there is none."""
    group, _, leaf = name.rpartition("/")
    axis = AXES.get(leaf)
    if axis is None:
        return ("",)
    return store.labels(axis if axis == "modality" else f"{group}/{axis}")
