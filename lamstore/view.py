"""How does a Python session see a study? `lamstore.open`: lazy, labelled, padding hidden.

The Zarr store and the HDF5 export go through the same two steps: a *catalogue* lists the arrays
of each group with dims, dtype and a reader; the view makes xarray objects of it. Voxel arrays
become dask arrays whose chunk is one unit of work; the small per-subject tables are read at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from lamstore.blocks import BlockReader, block
from lamstore.codec import fast_codecs
from lamstore.config import NO_HARMONIZATION as NONE
from lamstore.config import variant_name
from lamstore.errors import MissingArrayError
from lamstore.grid import Grid
from lamstore.schema import ENGINE_DIMS, SPATIAL, STORED_SPATIAL, UNIT_DIMS
from lamstore.tables import committed
from lamstore.units import parse_shift_label


@dataclass(frozen=True)
class Variable:
    """One array of a store, not read yet.

    Attributes
    ----------
    dims : tuple of str
    source : array-like with shape, dtype and NumPy slicing
    attrs : mapping
    """

    dims: tuple[str, ...]
    source: Any
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_voxels(self) -> bool:
        """Whether this is a tensor over x, y, z."""
        return self.dims[-3:] == SPATIAL


ALL = "all"
"""In place of a harmonization: every one that the store has."""

Catalogue = dict[str, tuple[dict[str, Variable], dict[str, Any]]]
"""Group path ("" is the root) to its variables and attributes."""


@overload
def open(path: str | os.PathLike[str], engine: None = None) -> xr.DataTree: ...
@overload
def open(
    path: str | os.PathLike[str], engine: str, harmonization: str | None = None
) -> xr.Dataset: ...
def open(
    path: str | os.PathLike[str], engine: str | None = None, harmonization: str | None = None
) -> xr.DataTree | xr.Dataset:
    """Open a study, its store or an HDF5 export, lazily.

    Parameters
    ----------
    path : path-like
        A study directory, its ``store.zarr``, or an ``.h5`` file made by ``lam export``.
    engine : str, optional
        Give one Dataset with the inputs and this engine's outputs and metrics.
    harmonization : str, optional
        The outputs behind this harmonization (``"nyul"``; none when absent), or ``"all"``: those
        behind every one, along a dim ``harmonization`` whose first label is ``none``.

    Returns
    -------
    DataTree
        ``/``: ``volume``, ``brainmask``, truths and geometry; ``/engines/<name>``: ``mask``,
        ``probability``, ``uncertainty``, or a localizer's ``heatmap``;
        ``/engines/<name>/metrics``: scalars.
        Voxel arrays are dask arrays, one chunk a unit, padded to the cohort's largest extent with
        zeros; ``ds.sel(subject=…).lam.crop()`` takes the padding off.
    Dataset
        With `engine`.

    Raises
    ------
    MissingArrayError
        When nothing is there, or the study has no such engine or harmonization, or the groups of
        ``"all"`` have other shifts or members.

    Examples
    --------
    >>> ds = lamstore.open("study", engine="flair-zscore")          # doctest: +SKIP
    >>> ds.mask.sum(["x", "y", "z"]) * ds.voxel_volume_mm3          # doctest: +SKIP
    """
    source = str(Path(path).resolve())
    catalogue = read_catalogue(Path(source))
    if engine is not None:
        if harmonization == ALL:
            return _harmonized_dataset(catalogue, engine, source)
        return _engine_dataset(catalogue, variant_name(engine, harmonization or NONE), source)
    nodes = {
        f"/{group}": _dataset(*entry, source, _sizes(catalogue, group))
        for group, entry in catalogue.items()
    }
    return xr.DataTree.from_dict(nodes, name=Path(source).name)


def _sizes(catalogue: Catalogue, group: str = "") -> dict[str, int]:
    """Length of x, y, z and of each dim that is labelled in a group or in the one around it."""
    around = _sizes(catalogue, group.rpartition("/")[0]) if group else _room(catalogue)
    variables = catalogue.get(group, ({}, {}))[0]
    own = {n: v.source.shape[0] for n, v in variables.items() if v.dims == (n,)}
    return around | own


def _room(catalogue: Catalogue) -> dict[str, int]:
    """Voxels along x, y, z that every array has; while a store grows some have more."""
    every = (v for variables, _ in catalogue.values() for v in variables.values() if v.is_voxels)
    shapes = [variable.source.shape[-3:] for variable in every]
    return dict(zip(SPATIAL, map(min, zip(*shapes, strict=True)), strict=bool(shapes)))


def subject_grid(source: str, subject: str) -> Grid:
    """Grid of one subject, read from behind a path that `open` takes."""
    variables, _ = read_catalogue(Path(source))[""]
    row = int(np.flatnonzero(np.asarray(variables["subject"].source) == subject)[0])
    extent, affine = (variables[name].source[row] for name in ("extent", "affine"))
    return Grid.of(tuple(np.asarray(extent).tolist()), np.asarray(affine))


def read_catalogue(path: Path) -> Catalogue:
    """List every array behind a path, reading labels and nothing else."""
    if path.suffix in (".h5", ".hdf5"):
        from lamstore.hdf5 import hdf5_catalogue

        return hdf5_catalogue(path)
    store = path if path.suffix == ".zarr" else path / "store.zarr"
    return _zarr_catalogue(store)


def _zarr_catalogue(store: Path) -> Catalogue:
    try:
        with fast_codecs():
            root = zarr.open_group(store, mode="r")
            members = dict(root.members(max_depth=None))
    except FileNotFoundError as error:
        raise MissingArrayError(
            f"there is no store at {store}",
            expected="a study directory, a store.zarr or an .h5 export",
            remedy=f"lam run {store.parent}",
        ) from error
    catalogue: Catalogue = {"": ({}, dict(root.attrs))}
    for name, member in members.items():
        if isinstance(member, zarr.Group):
            catalogue.setdefault(name, ({}, dict(member.attrs)))
            continue
        group, _, leaf = name.rpartition("/")
        dims = tuple(str(dim) for dim in member.metadata.dimension_names or ())  # type: ignore[union-attr]
        source: Any = member
        if dims[-3:] == STORED_SPATIAL:
            dims = (*dims[:-3], *SPATIAL)
            source = BlockReader(str(store), name, member)
        elif dims == (leaf,):
            source = np.array(committed(member), dtype=np.str_)
        catalogue.setdefault(group, ({}, {}))[0][leaf] = Variable(dims, source, dict(member.attrs))
    return catalogue


def _dataset(
    variables: Mapping[str, Variable],
    attrs: Mapping[str, Any],
    source: str,
    sizes: Mapping[str, int],
) -> xr.Dataset:
    data, coords = {}, {}
    for name, variable in variables.items():
        note = {**variable.attrs, "source": source} if variable.is_voxels else variable.attrs
        if variable.dims == (name,):
            coords[name] = (variable.dims, np.asarray(variable.source), note)
        else:
            data[name] = (variable.dims, _fitted(_values(variable), variable.dims, sizes), note)
    labelled = coords | _shift_parts(coords)
    dataset = xr.Dataset(data, coords=labelled, attrs={**attrs, "source": source})
    # As a coordinate it travels with every mask, so that a mask alone can give its volume.
    return dataset.set_coords([n for n in ("voxel_volume_mm3",) if n in dataset])


def _fitted(values: Any, dims: tuple[str, ...], sizes: Mapping[str, int]) -> Any:
    """An array brought to the length of its labels.

    It differs from them while a planner grows the store, or was killed at it, and for metrics
    gathered before the cohort grew: what has no label does not exist, what was not gathered is NaN.
    """
    wanted = tuple(sizes.get(dim, n) for dim, n in zip(dims, values.shape, strict=True))
    values = values[tuple(slice(0, n) for n in wanted)] if wanted != values.shape else values
    if wanted == values.shape:
        return values
    fill = np.nan if values.dtype.kind == "f" and dims[-3:] != SPATIAL else 0
    short = [(0, n - have) for n, have in zip(wanted, values.shape, strict=True)]
    pad = np.pad if isinstance(values, np.ndarray) else da.pad
    return pad(values, short, constant_values=fill)


def _shift_parts(coords: Mapping[str, Any]) -> dict[str, Any]:
    """Name, level and mode of each shift label, so that one can select by them."""
    if "shift" not in coords or not len(coords["shift"][1]):
        return {}
    parts = [parse_shift_label(str(label)) for label in coords["shift"][1]]
    names, levels, modes = (np.array([part[i] for part in parts]) for i in range(3))
    named = {"shift_name": names, "shift_level": levels, "shift_mode": modes}
    return {name: ("shift", values) for name, values in named.items()}


def _values(variable: Variable) -> Any:
    if not variable.is_voxels:
        return np.asarray(variable.source[...])
    shape = variable.source.shape
    chunks = tuple(
        (1,) * size if dim in UNIT_DIMS else (size,)
        for dim, size in zip(variable.dims, shape, strict=True)
    )
    # The reader itself in every task: it is small, and a separate task would serve every chunk.
    getter = block if isinstance(variable.source, BlockReader) else None
    meta = np.empty((0,) * len(shape), variable.source.dtype)
    return da.from_array(  # type: ignore[no-untyped-call]
        variable.source, chunks=chunks, getitem=getter, inline_array=True, meta=meta
    )


def _engine_dataset(catalogue: Catalogue, engine: str, source: str) -> xr.Dataset:
    parts = [_named(catalogue, "", source), *_engine_parts(catalogue, engine, source)]
    merged = xr.merge(parts, combine_attrs="drop_conflicts", compat="no_conflicts", join="exact")
    return merged.assign_attrs(engine=engine)


def _engine_parts(catalogue: Catalogue, engine: str, source: str) -> list[xr.Dataset]:
    group = f"engines/{engine}"
    if group not in catalogue:
        known = sorted({g.split("/")[1] for g in catalogue if g.startswith("engines/")})
        raise MissingArrayError(
            f"{source} has no outputs of engine {engine!r}", expected=", ".join(known) or None
        )
    groups = [name for name in (group, f"{group}/metrics") if name in catalogue]
    return [_named(catalogue, name, source) for name in groups]


def _named(catalogue: Catalogue, group: str, source: str) -> xr.Dataset:
    return _dataset(*catalogue[group], source, _sizes(catalogue, group))


def _harmonized_dataset(catalogue: Catalogue, engine: str, source: str) -> xr.Dataset:
    """Inputs, and outputs of an engine behind every harmonization along a dim of that name."""
    prefix = f"engines/{engine}+"
    found = sorted(g.removeprefix(prefix) for g in catalogue if g.startswith(prefix))
    names = [NONE, *(name for name in found if "/" not in name)]
    groups = [variant_name(engine, name) for name in names]
    parts = [xr.merge(_engine_parts(catalogue, g, source), join="exact") for g in groups]
    parts = [_in_order(part, parts[0], g) for g, part in zip(groups, parts, strict=True)]
    stacked = xr.concat(
        parts,
        "harmonization",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    ).assign_coords(harmonization=np.array(names))
    inputs = _named(catalogue, "", source)
    merged = xr.merge([inputs, stacked], combine_attrs="drop_conflicts", join="exact")
    return merged.assign_attrs(engine=engine)


def _in_order(part: xr.Dataset, first: xr.Dataset, name: str) -> xr.Dataset:
    """`part` with its shifts in the order of `first`; both must have the same labels."""
    for dim in ENGINE_DIMS:
        ours, theirs = (_labels(dataset, dim) for dataset in (part, first))
        if ours != theirs:
            raise MissingArrayError(
                f"{name} does not have the {dim}s that the engine has without harmonization",
                got=", ".join(sorted(ours)),
                expected=", ".join(sorted(theirs)),
                remedy="run the study again, or open one harmonization at a time",
            )
    return part.sel(shift=first["shift"]) if "shift" in part.dims else part


def _labels(dataset: xr.Dataset, dim: str) -> set[str]:
    return set(dataset[dim].values.tolist()) if dim in dataset else set()
