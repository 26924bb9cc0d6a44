"""What is in the store: which arrays, along which dims, in which dtype, chunks and shards?

The store is one labelled cube, not a tree of one group per scan. A shard holds exactly what one
unit of work writes: leading labels one at a time, the axes that a unit writes whole (modality,
member, measure, level) and x, y, z whole. So two units never touch the same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

SPATIAL = ("x", "y", "z")
STORED_SPATIAL = ("z", "y", "x")
"""Order of the spatial dims on disk: x runs fastest, as in a NIfTI file, so that ingest copies
without transposing and an axial slice is one run of memory. `lamstore` hands out x, y, z."""
UNIT_DIMS = ("subject", "timepoint", "shift")
"""Dims along which a shard has length 1: a unit writes one label of each."""
ENGINE_DIMS = ("shift", "member", "measure", "level")
"""Dims whose labels each engine's group has of its own."""

CHUNK_MM = (48.0, 48.0, 18.0)
"""Edge of an inner chunk. Equal in mm, not in voxels: clinical scans have thick slices, and a
64³ chunk of a 3 mm scan would hold all of z, so that one axial slice cost the whole volume."""
CHUNK_VOXELS = (16, 96)
"""Smallest and largest edge of an inner chunk, whatever the spacing (z may go down to 5)."""

Shuffle = Literal["shuffle", "bitshuffle"]


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store.

    Attributes
    ----------
    name : str
        Path in the store, ``volume`` or ``engines/unet/mask``.
    dims : tuple of str
        As stored: `STORED_SPATIAL` last.
    shape, chunks, shards : tuple of int
        `shards` is the file, `chunks` what is decoded at once inside it.
    dtype : numpy dtype
    shuffle : {"shuffle", "bitshuffle"}
        Blosc filter in front of zstd.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    dtype: np.dtype[np.generic]
    shuffle: Shuffle = "shuffle"


@dataclass(frozen=True)
class EngineLayout:
    """What one engine writes: its labels.

    With `levels` it is a localizer and writes one heatmap a level; without, a segmenter.
    """

    shifts: tuple[str, ...]
    members: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The labels and sizes that decide every array's shape.

    Attributes
    ----------
    extent : (3,) tuple of int
        Largest x, y, z of the cohort, in voxels.
    spacing_mm : (3,) tuple of float
        Median spacing of the cohort; decides the inner chunks, nothing else.
    volume_dtype : str
        Smallest dtype that holds every input voxel exactly.
    """

    subjects: tuple[str, ...]
    timepoints: tuple[str, ...]
    modalities: tuple[str, ...]
    extent: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    volume_dtype: str
    brainmask: bool = True
    lesion_truth: bool = False
    change_truth: bool = False
    store_shifted: bool = False
    shifts: tuple[str, ...] = ("none",)
    engines: Mapping[str, EngineLayout] | None = None

    def sizes(self) -> dict[str, int]:
        """Length of the dims that all groups share."""
        x, y, z = self.extent
        lengths = {"subject": len(self.subjects), "timepoint": len(self.timepoints)}
        return lengths | {"modality": len(self.modalities), "x": x, "y": y, "z": z}


def inner_chunk(
    extent: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[int, int, int]:
    """Edges in voxels of the inner chunks: about `CHUNK_MM`, dividing the extent evenly."""
    low, high = CHUNK_VOXELS
    floors = (low, low, low // 3)
    edges = [
        _even(size, min(max(round(mm / step), floor), high))
        for size, mm, step, floor in zip(extent, CHUNK_MM, spacing_mm, floors, strict=True)
    ]
    return edges[0], edges[1], edges[2]


def _even(size: int, edge: int) -> int:
    """Edge near `edge` that cuts `size` into equal parts with the least left over."""
    return ceil(size / max(1, round(size / edge)))


def padded(extent: tuple[int, int, int], chunk: tuple[int, int, int]) -> tuple[int, int, int]:
    """Extent rounded up to whole inner chunks, so that a shard is exactly one unit's block."""
    x, y, z = (ceil(size / edge) * edge for size, edge in zip(extent, chunk, strict=True))
    return x, y, z


def array_specs(layout: Layout, chunk: tuple[int, int, int]) -> list[ArraySpec]:
    """Every voxel array of a store with this layout."""
    specs = [_spec("volume", ("subject", "timepoint", "modality"), layout, chunk)]
    masks: list[tuple[str, tuple[str, ...], bool]] = [("brainmask", ("subject",), layout.brainmask)]
    masks.append(("change_truth", ("subject",), layout.change_truth))
    masks.append(("lesion_truth", ("subject", "timepoint"), layout.lesion_truth))
    specs += [_spec(n, dims, layout, chunk, dtype="u1") for n, dims, wanted in masks if wanted]
    if layout.store_shifted:
        dims = ("subject", "timepoint", "shift", "modality")
        sizes = {"shift": len(layout.shifts)}
        specs.append(_spec("shifted/volume", dims, layout, chunk, extra=sizes, dtype="f4"))
    for name, engine in (layout.engines or {}).items():
        specs += _engine_specs(name, engine, layout, chunk)
    return specs


def _engine_specs(
    name: str, engine: EngineLayout, layout: Layout, chunk: tuple[int, int, int]
) -> list[ArraySpec]:
    sizes = {
        "shift": len(engine.shifts),
        "member": len(engine.members),
        "measure": len(engine.measures),
        "level": len(engine.levels),
    }
    group = f"engines/{name}"
    if engine.levels:
        dims = (*UNIT_DIMS, "level")
        return [_spec(f"{group}/heatmap", dims, layout, chunk, extra=sizes, dtype="f2")]
    specs = [_spec(f"{group}/mask", UNIT_DIMS, layout, chunk, extra=sizes, dtype="u1")]
    if engine.members:
        dims = (*UNIT_DIMS, "member")
        specs.append(_spec(f"{group}/probability", dims, layout, chunk, extra=sizes, dtype="f2"))
    if engine.measures:
        dims = (*UNIT_DIMS, "measure")
        specs.append(_spec(f"{group}/uncertainty", dims, layout, chunk, extra=sizes, dtype="f2"))
    return specs


def _spec(
    name: str,
    leading: tuple[str, ...],
    layout: Layout,
    chunk: tuple[int, int, int],
    *,
    extra: Mapping[str, int] | None = None,
    dtype: DTypeLike | None = None,
) -> ArraySpec:
    sizes = layout.sizes() | dict(zip(SPATIAL, padded(layout.extent, chunk), strict=True))
    sizes |= extra or {}
    dims = (*leading, *STORED_SPATIAL)
    whole = tuple(1 if dim in UNIT_DIMS else sizes[dim] for dim in dims)
    kind = np.dtype(layout.volume_dtype if dtype is None else dtype)
    return ArraySpec(
        name=name,
        dims=dims,
        shape=tuple(sizes[dim] for dim in dims),
        chunks=(*(1 for _ in leading), *reversed(chunk)),
        shards=whole,
        dtype=kind,
        shuffle="bitshuffle" if kind == np.uint8 else "shuffle",
    )


def resized(spec: ArraySpec, chunks: tuple[int, ...]) -> ArraySpec:
    """`spec` with the inner chunks that a store already has, x, y, z rounded up to them."""
    lead = len(spec.dims) - len(SPATIAL)
    tail = tuple(
        ceil(size / edge) * edge
        for size, edge in zip(spec.shape[lead:], chunks[lead:], strict=True)
    )
    return replace(spec, shape=spec.shape[:lead] + tail, chunks=chunks)
