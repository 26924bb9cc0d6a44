"""How does a store come to be, and how does it grow? One planner process; tasks never do this.

`ensure` brings a store to a layout: it creates what is missing and resizes what has grown, both
by metadata only. Voxels are never moved. What cannot be done without moving voxels (a wider
dtype) is refused with the remedy. Killed at any instant, it can simply be called again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from lamstore.codec import fast_codecs
from lamstore.errors import StoreError
from lamstore.grid import Grid
from lamstore.schema import (
    ENGINE_DIMS,
    SPATIAL,
    STORED_SPATIAL,
    ArraySpec,
    EngineLayout,
    Layout,
    array_specs,
    inner_chunk,
    resized,
)
from lamstore.tables import consolidate, grow_table, labels, unconsolidate, write_labels

FORMAT = 1
"""Version of the store's schema, in the root group's attributes."""


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
        root = _opened(path)
        merged = _merged(root, layout)
        unconsolidate(path)
        _drop_other_ensembles(path, root, merged)
        chunk = _chunk(root, merged)
        root.attrs.update({"lamstore_format": FORMAT, "spatial_chunk": list(chunk), **attributes})
        for spec in array_specs(merged, chunk):
            _ensure_array(root, spec)
        _write_grids(root, merged, grids, available)
        _write_labels(root, merged)
        consolidate(path)
    return merged


def _opened(path: Path) -> zarr.Group:
    """The root group, made anew where a planner was killed before it wrote any label."""
    _sweep(path)
    root = zarr.open_group(path, mode="a", use_consolidated=False)
    if "volume" in root and not labels(root, "subject"):
        shutil.rmtree(path)
        root = zarr.open_group(path, mode="a", use_consolidated=False)
    return root


def _sweep(path: Path) -> None:
    """Remove what a kill has left: half-written metadata, a group on its way out."""
    shutil.rmtree(_trash(path), ignore_errors=True)
    for group in (".", "*", "engines/*", "engines/*/*"):
        for left in path.glob(f"{group}/*.partial"):
            left.unlink(missing_ok=True)


def _trash(path: Path) -> Path:
    return path.with_name(f".{path.name}.trash")


def _merged(root: zarr.Group, wanted: Layout) -> Layout:
    """`wanted` and what the store has: known labels in their places, nothing gets smaller."""
    if "volume" not in root:
        return wanted
    volume = _array(root, "volume")
    if np.result_type(volume.dtype, wanted.volume_dtype) != volume.dtype:
        raise StoreError(
            "the store cannot change its dtype in place",
            got=str(volume.dtype),
            expected=f"{wanted.volume_dtype} for the new subjects",
            remedy="delete the study's store.zarr and ledger and run again:"
            " ingest reads the inputs anew",
        )
    sizes = dict(zip(STORED_SPATIAL, volume.shape[-3:], strict=True))
    x, y, z = (max(n, sizes[dim]) for dim, n in zip(SPATIAL, wanted.extent, strict=True))
    return Layout(
        subjects=_union(labels(root, "subject"), wanted.subjects),
        timepoints=_union(labels(root, "timepoint"), wanted.timepoints),
        modalities=_union(labels(root, "modality"), wanted.modalities),
        extent=(x, y, z),
        spacing_mm=wanted.spacing_mm,
        volume_dtype=str(volume.dtype),
        brainmask=wanted.brainmask or "brainmask" in root,
        lesion_truth=wanted.lesion_truth or "lesion_truth" in root,
        change_truth=wanted.change_truth or "change_truth" in root,
        store_shifted=wanted.store_shifted or "shifted/volume" in root,
        shifts=_union(labels(root, "shifted/shift"), wanted.shifts),
        engines=_merged_engines(root, wanted.engines or {}),
    )


def _merged_engines(
    root: zarr.Group, wanted: Mapping[str, EngineLayout]
) -> dict[str, EngineLayout]:
    stored = root.get("engines")
    names = sorted(stored.group_keys()) if isinstance(stored, zarr.Group) else []
    # An engine that is no longer asked for grows with the cohort too: one cube, one shape.
    known = {name: _stored_engine(root, name) for name in names}
    merged = {name: engine for name, engine in known.items() if engine.shifts}
    for name, engine in wanted.items():
        same = name in merged and _same_axes(merged[name], engine)
        shifts = merged[name].shifts if same else ()
        merged[name] = replace(engine, shifts=_union(shifts, engine.shifts))
    return merged


def _stored_engine(root: zarr.Group, name: str) -> EngineLayout:
    return EngineLayout(*(labels(root, f"engines/{name}/{dim}") for dim in ENGINE_DIMS))


def _same_axes(one: EngineLayout, other: EngineLayout) -> bool:
    return replace(one, shifts=()) == replace(other, shifts=())


def _drop_other_ensembles(path: Path, root: zarr.Group, layout: Layout) -> None:
    """Delete an engine's group when its axes changed: all its voxels are stale."""
    for name, engine in (layout.engines or {}).items():
        folder = path / "engines" / name
        if folder.exists() and not _same_axes(_stored_engine(root, name), engine):
            # Out of the store in one step; a kill while it is deleted leaves no half of a group.
            folder.rename(_trash(path))
            shutil.rmtree(_trash(path))


def _union(known: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    places = set(known)
    return (*known, *(label for label in wanted if label not in places))


def _chunk(root: zarr.Group, layout: Layout) -> tuple[int, int, int]:
    known = root.attrs.get("spatial_chunk")
    if isinstance(known, list):
        x, y, z = (int(edge) for edge in known)
        return x, y, z
    return inner_chunk(layout.extent, layout.spacing_mm)


def _ensure_array(root: zarr.Group, spec: ArraySpec) -> None:
    known = root.get(spec.name)
    if isinstance(known, zarr.Array):
        shape = resized(spec, known.chunks).shape
        if shape != known.shape:
            known.resize(shape)
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


def _write_labels(root: zarr.Group, layout: Layout) -> None:
    wanted = {"timepoint": layout.timepoints, "modality": layout.modalities}
    if layout.store_shifted:
        wanted["shifted/shift"] = layout.shifts
    for name, engine in (layout.engines or {}).items():
        wanted[f"engines/{name}/member"] = engine.members
        wanted[f"engines/{name}/measure"] = engine.measures
        wanted[f"engines/{name}/level"] = engine.levels
        wanted[f"engines/{name}/shift"] = engine.shifts
    # The subjects last: a store without any is one that nobody has finished making.
    wanted["subject"] = layout.subjects
    for name, values in wanted.items():
        if values:
            write_labels(root, name, values)


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
            both = tuple(slice(0, min(p)) for p in zip(known.shape, values.shape, strict=True))
            values[both] = np.asarray(known[both])
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
        grow_table(root, name, dims, values)


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    assert isinstance(array, zarr.Array)
    return array


__all__ = ["FORMAT", "SPATIAL", "consolidate", "ensure", "labels"]
