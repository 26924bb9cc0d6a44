"""How does a store come to be, and how does it grow? One planner process; tasks never do this.

`ensure` brings a store to a layout: it creates what is missing and resizes what has grown, both
by metadata only. Voxels are never moved. What cannot be done without moving voxels (another
modality axis, a wider dtype) is refused with the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.core.dtype import VariableLengthUTF8

from lamstore.codec import fast_codecs
from lamstore.errors import StoreError
from lamstore.grid import Grid
from lamstore.schema import SPATIAL, ArraySpec, Layout, array_specs, inner_chunk, resized

FORMAT = 1
"""Version of the store's schema, in the root group's attributes."""

GRID_CHUNK = 4096
"""Subjects per chunk of the small per-subject arrays, which the planner writes whole."""


def ensure(
    path: Path,
    layout: Layout,
    grids: Mapping[str, Grid],
    available: Mapping[str, frozenset[tuple[str, str]]],
    attributes: Mapping[str, Any],
) -> Layout:
    """Create or grow the store at `path`; gives the layout that it now has.

    Parameters
    ----------
    layout : Layout
        What is wanted. Labels that the store has already keep their place; new ones follow.
    grids : mapping of subject to Grid
    available : mapping of subject to set of (timepoint, modality)
        Which volumes a subject has: a missing volume is not an empty one.
    attributes : mapping
        Provenance, JSON-like, for the root group.

    Raises
    ------
    StoreError
        When the store cannot become that layout without rewriting voxels.
    """
    with fast_codecs():
        root = zarr.open_group(path, mode="a")
        merged = _merged(root, layout)
        chunk = _chunk(root, merged)
        for spec in array_specs(merged, chunk):
            _ensure_array(root, spec)
        _write_labels(root, merged)
        _write_grids(root, merged, grids, available)
        root.attrs.update({"lamstore_format": FORMAT, "spatial_chunk": list(chunk), **attributes})
    return merged


def labels(group: zarr.Group, name: str) -> tuple[str, ...]:
    """Labels of a dim, empty when the group does not have it."""
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        return ()
    return tuple(str(label) for label in np.asarray(array[:]))


def _merged(root: zarr.Group, wanted: Layout) -> Layout:
    """`wanted`, with the labels that the store has already in their places."""
    if "volume" not in root:
        return wanted
    modalities = labels(root, "modality")
    if modalities != wanted.modalities:
        raise _rebuild("its modalities", str(modalities), str(wanted.modalities))
    stored = _array(root, "volume").dtype
    if np.result_type(stored, wanted.volume_dtype) != stored:
        raise _rebuild("its dtype", str(stored), f"{wanted.volume_dtype} for the new subjects")
    engines = {
        name: _merged_engine(root, name, engine) for name, engine in (wanted.engines or {}).items()
    }
    return Layout(
        subjects=_union(labels(root, "subject"), wanted.subjects),
        timepoints=_union(labels(root, "timepoint"), wanted.timepoints),
        modalities=modalities,
        extent=wanted.extent,
        spacing_mm=wanted.spacing_mm,
        volume_dtype=str(stored),
        lesion_truth=wanted.lesion_truth or "lesion_truth" in root,
        change_truth=wanted.change_truth or "change_truth" in root,
        store_shifted=wanted.store_shifted,
        shifts=_union(labels(root, "shifted/shift"), wanted.shifts),
        engines=engines,
    )


def _merged_engine(root: zarr.Group, name: str, engine: Any) -> Any:
    group = f"engines/{name}"
    members, measures = labels(root, f"{group}/member"), labels(root, f"{group}/measure")
    if f"{group}/mask" in root and (members, measures) != (engine.members, engine.measures):
        # Another ensemble or other measures: every voxel of this engine is stale anyway.
        del root[group]
    shifts = _union(labels(root, f"{group}/shift"), engine.shifts)
    return type(engine)(shifts, engine.members, engine.measures)


def _union(known: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    return (*known, *(label for label in wanted if label not in set(known)))


def _chunk(root: zarr.Group, layout: Layout) -> tuple[int, int, int]:
    known = root.attrs.get("spatial_chunk")
    if isinstance(known, list):
        x, y, z = (int(edge) for edge in known)  # type: ignore[call-overload]
        return x, y, z
    return inner_chunk(layout.extent, layout.spacing_mm)


def _ensure_array(root: zarr.Group, spec: ArraySpec) -> None:
    known = root.get(spec.name)
    if isinstance(known, zarr.Array):
        _grow(known, resized(spec, known.chunks, known.shards or known.chunks))
        return
    root.create_array(
        name=spec.name,
        shape=spec.shape,
        chunks=spec.chunks,
        shards=spec.shards,
        dtype=spec.dtype,
        fill_value=0,
        dimension_names=spec.dims,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle=spec.shuffle),
    )


def _grow(array: zarr.Array, spec: ArraySpec) -> None:
    shape = tuple(max(old, new) for old, new in zip(array.shape, spec.shape, strict=True))
    if shape != array.shape:
        array.resize(shape)


def _write_labels(root: zarr.Group, layout: Layout) -> None:
    shared = {
        "subject": layout.subjects,
        "timepoint": layout.timepoints,
        "modality": layout.modalities,
    }
    if layout.store_shifted:
        shared["shifted/shift"] = layout.shifts
    for name, engine in (layout.engines or {}).items():
        shared[f"engines/{name}/shift"] = engine.shifts
        shared[f"engines/{name}/member"] = engine.members
        shared[f"engines/{name}/measure"] = engine.measures
    for name, values in shared.items():
        if values and labels(root, name) != values:
            _write_strings(root, name, values)


def _write_strings(root: zarr.Group, name: str, values: tuple[str, ...]) -> None:
    array = root.create_array(
        name=name,
        shape=(len(values),),
        chunks=(max(len(values), 1),),
        dtype=VariableLengthUTF8(),
        dimension_names=(name.rsplit("/", 1)[-1],),
        overwrite=True,
    )
    array[:] = np.array(values, dtype=np.dtypes.StringDType())


def _write_grids(
    root: zarr.Group,
    layout: Layout,
    grids: Mapping[str, Grid],
    available: Mapping[str, frozenset[tuple[str, str]]],
) -> None:
    """Per-subject geometry; subjects without a grid keep what the store says of them."""
    n = len(layout.subjects)
    cells = [(t, m) for t in layout.timepoints for m in layout.modalities]
    tables: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        "affine": (("subject", "row", "column"), np.full((n, 4, 4), np.nan)),
        "extent": (("subject", "axis"), np.zeros((n, 3), np.int32)),
        "spacing_mm": (("subject", "axis"), np.full((n, 3), np.nan)),
        "voxel_volume_mm3": (("subject",), np.full(n, np.nan)),
        "available": (
            ("subject", "timepoint", "modality"),
            np.zeros((n, len(layout.timepoints), len(layout.modalities)), bool),
        ),
    }
    for name, (_, values) in tables.items():
        known = root.get(name)
        if isinstance(known, zarr.Array):
            values[tuple(slice(0, size) for size in known.shape)] = known[...]
    for row, subject in enumerate(layout.subjects):
        if (grid := grids.get(subject)) is not None:
            tables["affine"][1][row] = grid.matrix
            tables["extent"][1][row] = grid.shape
            tables["spacing_mm"][1][row] = grid.spacing_mm
            tables["voxel_volume_mm3"][1][row] = grid.voxel_volume_mm3
            has = available.get(subject, frozenset())
            shape = tables["available"][1].shape[1:]
            tables["available"][1][row] = np.array([cell in has for cell in cells]).reshape(shape)
    for name, (dims, values) in tables.items():
        write_table(root, name, dims, values)


def write_table(
    root: zarr.Group, name: str, dims: tuple[str, ...], values: NDArray[Any]
) -> None:
    """Write a small array whole (the planner and the cohort step do, nobody else)."""
    array = root.create_array(
        name=name,
        shape=values.shape,
        chunks=(min(max(values.shape[0], 1), GRID_CHUNK), *values.shape[1:]),
        dtype=values.dtype,
        fill_value=np.nan if values.dtype.kind == "f" else 0,
        dimension_names=dims,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        overwrite=True,
    )
    array[...] = values


def _array(root: zarr.Group, name: str) -> zarr.Array:
    array = root[name]
    assert isinstance(array, zarr.Array)
    return array


def _rebuild(what: str, got: str, expected: str) -> StoreError:
    return StoreError(
        f"the store cannot change {what} in place",
        got=got,
        expected=expected,
        remedy="delete the study's store.zarr and ledger and run again: ingest reads the inputs anew",
    )


__all__ = ["FORMAT", "SPATIAL", "ensure", "labels", "write_table"]
