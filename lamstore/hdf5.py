"""How does a study become one portable HDF5 file, and how is that read back?

The file has the same groups, arrays, dims and labels as the store, with dims as HDF5 dimension
labels and chunks as the inner chunks of the store; gzip and shuffle, which every HDF5 library
reads. `lamstore.open("export.h5")` gives the same objects as the study.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson
from numpy.typing import NDArray

from lamstore.blocks import normalised
from lamstore.errors import (
    MissingArrayError,
    StoreError,
    UnreadableInputError,
    disk_full,
    means_no_space,
)
from lamstore.schema import UNIT_DIMS
from lamstore.view import Catalogue, Variable, read_catalogue

MARGIN = 4 << 20
"""Bytes of the disk that an export leaves free: HDF5's caches and its own tables."""


def export_hdf5(
    source: Path, target: Path, progress: Callable[[str], None] = lambda name: None
) -> Path:
    """Write the store behind `source` as one HDF5 file.

    Parameters
    ----------
    source : Path
        A study directory or a ``store.zarr``.
    target : Path
        The file to write; written beside and moved into place, so it is whole or not there.
    progress : callable
        Told the name of each array when it is written.

    Raises
    ------
    StoreError
        When `target` is there already.
    DiskFullError
    """
    if target.exists():
        raise StoreError(f"{target} is there already", remedy="choose another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with h5py.File(part, "w") as file:
            try:
                _write_all(file, read_catalogue(source), progress)
            except (OSError, RuntimeError):
                os.truncate(part, 0)  # room to close it: HDF5 cannot forget what it did not write
                raise
        return part.replace(target)
    except (OSError, RuntimeError) as error:
        if means_no_space(error):
            raise disk_full(f"write {target}", error) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _write_all(file: h5py.File, catalogue: Catalogue, progress: Callable[[str], None]) -> None:
    for group, (variables, attrs) in catalogue.items():
        node = file.require_group(f"/{group}")
        node.attrs["lamstore"] = orjson.dumps(attrs).decode()
        for name, variable in variables.items():
            _write(node, name, variable)
            progress(f"{group}/{name}".lstrip("/"))


def _write(node: h5py.Group, name: str, variable: Variable) -> None:
    source = variable.source
    if source.dtype.kind in "TUO":
        values = np.array([str(label) for label in np.asarray(source[:])], dtype=object)
        array = node.create_dataset(name, data=values, dtype=h5py.string_dtype())
    elif variable.is_voxels:
        array = _write_voxels(node, name, variable)
    else:
        array = node.create_dataset(name, data=np.asarray(source[...]))
    for axis, dim in enumerate(variable.dims):
        array.dims[axis].label = dim


def _write_voxels(node: h5py.Group, name: str, variable: Variable) -> h5py.Dataset:
    """One unit at a time; blocks of nothing but fill are not stored, as in the store."""
    source = variable.source
    chunks = tuple(min(c, n) for c, n in zip(source.chunks, source.shape, strict=True))
    array = node.create_dataset(
        name,
        shape=source.shape,
        dtype=source.dtype,
        chunks=chunks,
        compression="gzip",
        compression_opts=4,
        shuffle=True,
        fillvalue=0,
    )
    leading = [
        n if dim in UNIT_DIMS else 1 for dim, n in zip(variable.dims, source.shape, strict=True)
    ]
    for cell in product(*(range(n) for n in leading)):
        at = tuple(
            slice(row, row + 1) if dim in UNIT_DIMS else slice(None)
            for dim, row in zip(variable.dims, cell, strict=True)
        )
        block = np.asarray(source[at])
        _make_sure_of_room(Path(node.file.filename), block.nbytes)
        _write_unit(array, at, block, chunks)
    return array


def _make_sure_of_room(part: Path, size: int) -> None:
    # HDF5 writes when it likes, and one that has failed to cannot be closed in peace: ask before.
    free = shutil.disk_usage(part.parent).free
    if free < size + MARGIN:
        raise OSError(errno.ENOSPC, f"{free} bytes free, {size + MARGIN} wanted")


def _write_unit(
    array: h5py.Dataset, at: tuple[slice, ...], block: NDArray[Any], chunks: tuple[int, ...]
) -> None:
    if not block.any():
        return
    offsets = [part.start or 0 for part in at]
    steps = (range(ceil(n / c)) for n, c in zip(block.shape, chunks, strict=True))
    for cell in product(*steps):
        inner = tuple(slice(i * c, (i + 1) * c) for i, c in zip(cell, chunks, strict=True))
        piece = block[inner]
        if piece.any():
            where = (
                slice(o + i * c, o + i * c + n)
                for o, i, c, n in zip(offsets, cell, chunks, piece.shape, strict=True)
            )
            array[tuple(where)] = piece


class Hdf5Reader:
    """Array-like over one dataset of a file; opens it for each read, so it ships to workers."""

    def __init__(self, path: str, array: h5py.Dataset) -> None:
        self.path, self.name = path, array.name
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.chunks = array.chunks or array.shape

    def __getitem__(self, index: Any) -> NDArray[Any]:
        window, squeeze, steps = normalised(index, self.shape)
        with h5py.File(self.path, "r") as file:
            values = np.asarray(file[self.name][window])[steps]
        return values.squeeze(axis=squeeze) if squeeze else values

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("lamstore.Hdf5Reader", self.path, self.name, self.shape, str(self.dtype))


def hdf5_catalogue(path: Path) -> Catalogue:
    """List every array of an export.

    Raises
    ------
    MissingArrayError, UnreadableInputError
        When the file is not there, or was not written by `export_hdf5`.
    """
    try:
        with h5py.File(path, "r") as file:
            catalogue: Catalogue = {"": ({}, _attrs(path, file))}
            file.visititems(lambda name, node: _list(catalogue, path, name, node))
    except FileNotFoundError as error:
        raise MissingArrayError(f"there is no file {path}") from error
    except OSError as error:
        raise UnreadableInputError(f"{path} is not a readable HDF5 file", got=str(error)) from error
    return catalogue


def _list(catalogue: Catalogue, path: Path, name: str, node: h5py.Group | h5py.Dataset) -> None:
    if isinstance(node, h5py.Group):
        catalogue[name] = ({}, _attrs(path, node))
        return
    group, _, leaf = name.rpartition("/")
    dims = tuple(dim.label for dim in node.dims)
    source: Any = Hdf5Reader(str(path), node)
    if h5py.check_string_dtype(node.dtype):
        source = np.array(node.asstr()[:], dtype=np.str_)
    catalogue[group][0][leaf] = Variable(dims, source)


def _attrs(path: Path, node: h5py.Group) -> dict[str, Any]:
    text = node.attrs.get("lamstore")
    if text is None:
        raise UnreadableInputError(
            f"{path} was not written by lamstore", remedy="lam export STUDY --format hdf5 --out …"
        )
    attrs: dict[str, Any] = orjson.loads(text)
    return attrs
