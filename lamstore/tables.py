"""How are the small arrays of a store written, labels and tables, so that a kill harms nothing?

A label array is the commit point of growth: arrays grow first, then labels are appended, in one
atomic replacement of the file that holds them. Whatever reaches past the labels does not exist
yet, so a reader cuts it off, and a planner that was killed in between begins again.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from lamstore.errors import StoreError

ROWS = 4096
"""Labels, or subjects, per chunk. The same for every size, so that growing rewrites one chunk."""


def labels(group: zarr.Group, name: str) -> tuple[str, ...]:
    """Labels of a dim, empty when the group does not have it."""
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        return ()
    return committed(array)


def committed(array: Any) -> tuple[str, ...]:
    """Labels of a label array; a tail that was made room for and never written is left out."""
    found = [str(label) for label in np.asarray(array[:])]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def write_labels(root: zarr.Group, name: str, values: tuple[str, ...]) -> None:
    """Write the labels of a dim; those that are there keep their places.

    Raises
    ------
    StoreError
        When `values` do not begin with the labels that are there.
    """
    known = labels(root, name)
    if known == values:
        return
    if known != values[: len(known)]:
        raise StoreError(
            f"labels of {name} would change their places", got=str(values), expected=str(known)
        )
    array = root.get(name)
    if not isinstance(array, zarr.Array):
        array = root.create_array(
            name=name,
            shape=(0,),
            chunks=(ROWS,),
            dtype="string",
            dimension_names=(name.rsplit("/", 1)[-1],),
        )
    array.resize((len(values),))
    # From the first chunk that changes; each is replaced in one step.
    first = len(known) // ROWS * ROWS
    array[first:] = np.array(values[first:], dtype=np.dtypes.StringDType())


def grow_table(root: zarr.Group, name: str, dims: tuple[str, ...], values: NDArray[Any]) -> None:
    """Write a per-subject table in place, growing it where it must; untouched when equal."""
    array = root.get(name)
    if not isinstance(array, zarr.Array):
        array = _create(root, name, dims, values, (ROWS, *(max(n, 1) for n in values.shape[1:])))
    if array.shape != values.shape:
        array.resize(values.shape)
    same = np.array_equal(np.asarray(array[...]), values, equal_nan=values.dtype.kind == "f")
    if not same:
        array[...] = values


def write_table(root: zarr.Group, name: str, dims: tuple[str, ...], values: NDArray[Any]) -> None:
    """Write a small array whole, anew."""
    chunks = tuple(
        min(max(n, 1), ROWS) if i == 0 else max(n, 1) for i, n in enumerate(values.shape)
    )
    _create(root, name, dims, values, chunks)[...] = values


def _create(
    root: zarr.Group,
    name: str,
    dims: tuple[str, ...],
    values: NDArray[Any],
    chunks: tuple[int, ...],
) -> zarr.Array[Any]:
    return root.create_array(
        name=name,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        fill_value=np.nan if values.dtype.kind == "f" else 0,
        dimension_names=dims,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        overwrite=True,
    )


def consolidate(store: Path) -> None:
    """Put all metadata of the store into its root, so that opening it reads one file."""
    with warnings.catch_warnings():
        # Zarr v3 has no word on consolidated metadata yet; zarr-python reads and writes it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)


def unconsolidate(store: Path) -> None:
    """Take the collected metadata out again, before anything that it describes changes.

    A store without it opens somewhat slower; one with metadata of another day opens wrong.
    """
    path = store / "zarr.json"
    body = orjson.loads(path.read_bytes())
    if body.pop("consolidated_metadata", None) is None:
        return
    part = path.with_name(f"zarr.{os.getpid()}.partial")
    part.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
    part.replace(path)
