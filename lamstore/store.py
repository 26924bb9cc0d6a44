"""How does one unit read and write its voxels? Plain arrays in, plain arrays out, cropped.

Everything here works on one subject at a time and hides the padding of the cube. Labelled, lazy
access over the whole cohort is `lamstore.open`.
"""

from __future__ import annotations

from functools import cached_property
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
import zarr
from numpy.typing import NDArray

from lamstore.blocks import flipped
from lamstore.codec import fast_codecs
from lamstore.errors import (
    MissingArrayError,
    StoreError,
    TornDataError,
    disk_full,
    means_no_space,
)
from lamstore.grid import Grid
from lamstore.schema import ENGINE_DIMS, SPATIAL, UNIT_DIMS
from lamstore.shards import ChunkCache, ShardReader
from lamstore.tables import labels

Box = tuple[slice, slice, slice]
"""Voxels x, y, z of a subject's own grid, start and stop given."""


def checksum(values: NDArray[Any]) -> str:
    """Digest of a block's values, x fastest, as the ledger records it; compression is no part.

    Parameters
    ----------
    values : (…, x, y, z) ndarray
    """
    return f"xxh3:{xxhash.xxh3_128(np.ascontiguousarray(flipped(values)).data).hexdigest()}"


class Store:
    """The cube of one study, opened by one process.

    Parameters
    ----------
    path : Path
        ``store.zarr``.
    writable : bool
    cache_bytes : int, optional
        Decoded inner chunks that are kept in memory, for who reads the same boxes over and over
        while nobody writes.

    Raises
    ------
    MissingArrayError
        When there is no store.
    """

    def __init__(self, path: Path, *, writable: bool = False, cache_bytes: int = 0) -> None:
        self.path, self._writable = path, writable
        self._cache = ChunkCache(cache_bytes) if cache_bytes else None
        try:
            with fast_codecs():
                mode: Literal["r", "r+"] = "r+" if writable else "r"
                self.root = zarr.open_group(path, mode=mode, use_consolidated=False)
        except FileNotFoundError as error:
            raise MissingArrayError(
                f"there is no store at {path}", remedy=f"lam run {path.parent}"
            ) from error
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._readers: dict[str, ShardReader] = {}
        self._index: dict[str, dict[str, int]] = {}

    def array(self, name: str) -> zarr.Array[Any]:
        """The whole array, padded; `name` is its path (``engines/unet/mask``)."""
        if name not in self._arrays:
            with fast_codecs():
                found = self.root.get(name)
            if not isinstance(found, zarr.Array):
                raise MissingArrayError(f"{self.path} holds no array {name}")
            self._arrays[name] = found
        return self._arrays[name]

    def _reader(self, name: str) -> ShardReader:
        if name not in self._readers:
            self._readers[name] = ShardReader.of(self.array(name), self._cache)
        return self._readers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays or name in self.root

    def labels(self, name: str) -> tuple[str, ...]:
        """Labels of a dim: ``subject``, ``engines/unet/shift``."""
        return tuple(self._positions(name))

    def grid(self, subject: str) -> Grid:
        """The subject's own grid."""
        row = self._row("subject", subject)
        return Grid.of(tuple(self._extents[row]), self._affines[row])

    def available(self, subject: str) -> frozenset[tuple[str, str]]:
        """(timepoint, modality) of the volumes that the subject has."""
        flags = self._available[self._row("subject", subject)]
        cells = product(self.labels("timepoint"), self.labels("modality"))
        return frozenset(cell for cell, flag in zip(cells, flags.ravel(), strict=True) if flag)

    def read(self, name: str, /, **at: str) -> NDArray[Any]:
        """One unit's block, cropped to the subject's extent.

        Parameters
        ----------
        name : str
            Path of the array.
        **at : str
            Labels: subject, and timepoint, shift, modality, member, measure, level as wanted;
            dims that are not named come back whole.

        Returns
        -------
        (…, x, y, z) ndarray
            In Fortran order, as the store and NIfTI files have it.

        Raises
        ------
        TornDataError
            When the stored bytes cannot be decoded.
        """
        return self.read_box(name, None, **at)

    def read_box(
        self, name: str, box: Box | None, into: NDArray[Any] | None = None, /, **at: str
    ) -> NDArray[Any]:
        """A box of voxels of one unit's block, as `read`; only inner chunks it touches are read.

        Parameters
        ----------
        box : (3,) tuple of slice or None
            Voxels x, y, z of the subject's own grid, start and stop given; None for all.
        into : (…, x, y, z) ndarray, optional
            Zeros of the box's shape and any dtype and strides, to be filled and given back.
        """
        array = self.array(name)
        window = self._window(name, array, at)
        if box is not None:
            window = window[:-3] + tuple(
                slice(part.start, min(part.stop, whole.stop))
                for part, whole in zip(reversed(box), window[-3:], strict=True)
            )
        try:
            stored = None if into is None else flipped(into)
            return flipped(self._reader(name).read(window, stored))
        except (OSError, RuntimeError, ValueError) as error:
            raise TornDataError(
                f"{name} of {_spoken(at)} cannot be decoded",
                got=f"{type(error).__name__}: {error}",
                remedy=f"lam verify {self.path.parent} --redo, then lam run",
            ) from error

    def write(self, name: str, values: NDArray[Any], **at: str) -> str:
        """Replace one unit's block: clear its shards, write them whole.

        Parameters
        ----------
        values : (…, x, y, z) ndarray
            Cropped to the subject's extent, leading axes as in the array.

        Returns
        -------
        str
            Checksum of the stored values.

        Raises
        ------
        DiskFullError
        """
        self._must_be_writable()
        array = self.array(name)
        window = self._window(name, array, at)
        stored = np.ascontiguousarray(flipped(values), dtype=array.dtype)
        block, target = _padded_block(array, window, stored)
        try:
            self._clear(array, window)
            array[target] = block
        except Exception as error:
            self._clear(array, window)  # half a shard helps nobody and takes space
            raise _write_error(name, at, error) from error
        return checksum(flipped(stored))

    def clear(self, name: str, **at: str) -> None:
        """Delete the shards of one unit."""
        self._must_be_writable()
        array = self.array(name)
        self._clear(array, self._window(name, array, at))

    def shard_paths(self, name: str, **at: str) -> list[Path]:
        """Files that hold one unit's block (they exist only where there is more than fill)."""
        array = self.array(name)
        return _shard_paths(self.path, array, self._window(name, array, at))

    def _must_be_writable(self) -> None:
        if not self._writable:  # the codec pipeline writes behind the back of a read-only group
            raise StoreError(f"{self.path} was opened to be read", remedy="Store(…, writable=True)")

    def _clear(self, array: zarr.Array[Any], window: tuple[slice, ...]) -> None:
        for path in _shard_paths(self.path, array, window):
            path.unlink(missing_ok=True)

    def _window(self, name: str, array: zarr.Array[Any], at: dict[str, str]) -> tuple[slice, ...]:
        dims = _dims(array)
        group = name.rpartition("/")[0]
        extent = dict(zip(SPATIAL, self._extents[self._row("subject", at["subject"])], strict=True))
        window = []
        for dim, size in zip(dims, array.shape, strict=True):
            if dim in extent:
                window.append(slice(0, int(extent[dim])))
            elif dim in at:
                owner = f"{group}/{dim}" if dim in ENGINE_DIMS else dim
                row = self._row(owner, at[dim])
                window.append(slice(row, row + 1))
            else:
                window.append(slice(0, size))
        return tuple(window)

    def _row(self, name: str, label: str) -> int:
        positions = self._positions(name)
        if label not in positions:
            raise MissingArrayError(
                f"{self.path} has no {name.rpartition('/')[2]} {label!r}",
                expected=", ".join(list(positions)[:8]),
            )
        return positions[label]

    def _positions(self, name: str) -> dict[str, int]:
        if name not in self._index:
            self._index[name] = {label: i for i, label in enumerate(labels(self.root, name))}
        return self._index[name]

    @cached_property
    def _extents(self) -> NDArray[np.int32]:
        return np.asarray(self.array("extent")[...])

    @cached_property
    def _affines(self) -> NDArray[np.float64]:
        return np.asarray(self.array("affine")[...])

    @cached_property
    def _available(self) -> NDArray[np.bool_]:
        return np.asarray(self.array("available")[...])


def _dims(array: zarr.Array[Any]) -> tuple[str, ...]:
    names = array.metadata.dimension_names  # type: ignore[union-attr]
    return tuple(str(name) for name in names or ())


def _padded_block(
    array: zarr.Array[Any], window: tuple[slice, ...], values: NDArray[Any]
) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """`values` padded with fill up to whole inner chunks, and where that goes."""
    chunks = array.chunks
    stops = [
        ceil(part.stop / edge) * edge if dim in SPATIAL else part.stop
        for dim, part, edge in zip(_dims(array), window, chunks, strict=True)
    ]
    target = tuple(slice(part.start, stop) for part, stop in zip(window, stops, strict=True))
    shape = tuple(part.stop - part.start for part in target)
    inner = tuple(slice(0, part.stop - part.start) for part in window)
    values = values.reshape(tuple(part.stop for part in inner))
    if shape == values.shape:
        return values, target
    block = np.zeros(shape, dtype=array.dtype)
    block[inner] = values
    return block, target


def _shard_paths(root: Path, array: zarr.Array[Any], window: tuple[slice, ...]) -> list[Path]:
    shards = array.shards or array.chunks
    # A unit owns whole shards along its own labels; x, y, z are cleared to the array's end, since
    # a block written under an older, larger extent may reach further than the present one.
    spans = []
    for dim, part, edge, size in zip(_dims(array), window, shards, array.shape, strict=True):
        stop = part.stop if dim in UNIT_DIMS else size
        spans.append(range(part.start // edge, ceil(stop / edge)))
    folder = root / array.path
    return [folder / array.metadata.encode_chunk_key(cell) for cell in product(*spans)]


def _write_error(name: str, at: dict[str, str], error: Exception) -> StoreError:
    if means_no_space(error):
        return disk_full(f"store {name} of {_spoken(at)}", error)
    got = f"{type(error).__name__}: {error}"
    return StoreError(f"cannot store {name} of {_spoken(at)}", got=got)


def _spoken(at: dict[str, str]) -> str:
    return " ".join(at.values())
