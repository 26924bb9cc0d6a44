"""How is a box read with the least overhead? The shard's index, then the inner chunks it touches.

A read through zarr-python crosses an event loop and a codec pipeline, which costs more than
decoding a slice does. This reads what `lamstore.build` writes (an index with a checksum at the end
of the shard, Blosc behind it) with plain file reads, in the caller's thread; decompression lets
other threads run. Anything else that Zarr allows goes through Zarr.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from pathlib import Path
from threading import Lock
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.codecs.sharding import ShardingCodecIndexLocation
from zarr.storage import LocalStore

Window = tuple[slice, ...]
"""One slice a dim, unit step, start and stop given."""

EMPTY = np.iinfo(np.uint64).max
"""Offset of an inner chunk that holds nothing but fill."""

ENTRY_BYTES, CHECKSUM_BYTES, BLOSC_HEADER_BYTES = 16, 4, 16


class ChunkCache:
    """Decoded inner chunks and shard indexes, those used last, within a number of bytes.

    For who reads the same shards over and over while nobody writes them (training): a shard that
    is replaced meanwhile may be served as it was.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self._size, self._lock = limit_bytes, 0, Lock()
        self._kept: OrderedDict[object, NDArray[Any]] = OrderedDict()

    def get(self, key: object) -> NDArray[Any] | None:
        """What was put under a key, unless it had to go."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        return found

    def put(self, key: object, values: NDArray[Any]) -> None:
        """Keep values; the ones unused for longest go."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = values
            self._size += values.nbytes - (0 if before is None else before.nbytes)
            while self._size > self._limit:
                self._size -= self._kept.popitem(last=False)[1].nbytes


@dataclass(frozen=True)
class ShardReader:
    """Reads boxes of one array.

    Attributes
    ----------
    array : zarr.Array
    folder : Path or None
        Where its shards lie; None for an array that only Zarr itself can read.
    cache : ChunkCache or None
    """

    array: zarr.Array[Any]
    folder: Path | None
    cache: ChunkCache | None = None

    @classmethod
    def of(cls, array: zarr.Array[Any], cache: ChunkCache | None = None) -> ShardReader:
        """Reader of an array."""
        return cls(array, _folder(array), cache)

    def read(self, window: Window, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """Values of a box, in the array's own dims.

        Parameters
        ----------
        into : ndarray, optional
            Zeros of the window's shape and any dtype, to be filled and given back.

        Raises
        ------
        ValueError, RuntimeError, OSError
            When a shard is torn.
        """
        shape = [part.stop - part.start for part in window]
        values = np.zeros(shape, self.array.dtype) if into is None else into
        if self.folder is None or self.array.shards is None:
            values[...] = self.array[window]
            return values
        spans = (_cells(part, edge) for part, edge in zip(window, self.array.shards, strict=True))
        for cell in product(*spans):
            self._read_shard(cell, window, values)
        return values

    def _read_shard(self, cell: tuple[int, ...], window: Window, values: NDArray[Any]) -> None:
        """Copy what one shard holds of the window; a shard that is not there is all fill."""
        assert self.folder is not None and self.array.shards is not None
        path = f"{self.folder}/{self.array.metadata.encode_chunk_key(cell)}"
        origin = [i * size for i, size in zip(cell, self.array.shards, strict=True)]
        shard = _Shard(path, self.array, self.cache)
        try:
            self._read_chunks(shard, origin, window, values)
        except FileNotFoundError:
            return
        finally:
            shard.close()

    def _read_chunks(
        self, shard: _Shard, origin: list[int], window: Window, values: NDArray[Any]
    ) -> None:
        chunks, shards = self.array.chunks, self.array.shards or ()
        index = shard.index()
        axes = [
            _parts(w, o, s, c) for w, o, s, c in zip(window, origin, shards, chunks, strict=True)
        ]
        for parts in product(*axes):
            cells, sources, targets = zip(*parts, strict=True)
            offset, size = index[cells]
            if offset != EMPTY:
                values[targets] = shard.chunk(int(offset), int(size))[sources]


def _parts(window: slice, origin: int, shard: int, edge: int) -> list[tuple[int, slice, slice]]:
    """Along one axis: the inner chunks of a shard that a window touches.

    Returns
    -------
    list of (int, slice, slice)
        Number of the chunk, what is wanted of it, and where in the window that goes.
    """
    start, stop = max(window.start - origin, 0), min(window.stop - origin, shard)
    shift = origin - window.start
    found = []
    for cell in _cells(slice(start, stop), edge):
        low, high = max(start, cell * edge), min(stop, (cell + 1) * edge)
        source = slice(low - cell * edge, high - cell * edge)
        found.append((cell, source, slice(low + shift, high + shift)))
    return found


class _Shard:
    """One shard file, opened when something of it is wanted that no cache holds."""

    def __init__(self, path: str, array: zarr.Array[Any], cache: ChunkCache | None) -> None:
        self._path, self._cache = path, cache
        # Asked of the array once: asked again for every inner chunk they are 5 % of a read.
        self._chunks, self._dtype = array.chunks, array.dtype
        shards = array.shards or ()
        self._counts = tuple(s // c for s, c in zip(shards, self._chunks, strict=True))
        self._file: int | None = None

    def index(self) -> NDArray[np.uint64]:
        """Offset and size of every inner chunk, (…, 2); FileNotFoundError without a file."""
        return self._kept("index", lambda: _index(self._opened(), self._counts))

    def chunk(self, offset: int, size: int) -> NDArray[Any]:
        """One inner chunk, decoded; not to be written to."""
        return self._kept(
            offset, lambda: _chunk(self._opened(), offset, size, self._chunks, self._dtype)
        )

    def _kept(self, what: object, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        if self._cache is None:
            return read()
        found = self._cache.get((self._path, what))
        if found is None:
            found = read()
            self._cache.put((self._path, what), found)
        return found

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def close(self) -> None:
        """Close the file if it was opened."""
        if self._file is not None:
            os.close(self._file)


def _cells(part: slice, edge: int) -> range:
    """Numbers of the blocks of length `edge` that a slice touches."""
    return range(part.start // edge, ceil(part.stop / edge))


def _index(file: int, cells: tuple[int, ...]) -> NDArray[np.uint64]:
    """Offset and size of every inner chunk, (…, 2)."""
    size = prod(cells) * ENTRY_BYTES
    end = os.fstat(file).st_size
    if end < size + CHECKSUM_BYTES:
        raise ValueError(f"a shard of {end} bytes is shorter than its index")
    data = os.pread(file, size + CHECKSUM_BYTES, end - size - CHECKSUM_BYTES)
    if google_crc32c.value(data[:size]).to_bytes(4, "little") != data[size:]:
        raise ValueError("the index of a shard does not match its checksum")
    return np.frombuffer(data[:size], "<u8").reshape(*cells, 2)


def _chunk(
    file: int, offset: int, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    data = os.pread(file, size, offset)
    wanted = prod(shape) * dtype.itemsize
    if len(data) != size or size < BLOSC_HEADER_BYTES:
        raise ValueError("an inner chunk is cut off")
    unpacked, _, packed = np.frombuffer(data, "<u4", count=3, offset=4).tolist()
    if (unpacked, packed) != (wanted, size):
        raise ValueError("an inner chunk is not what its header says")
    return np.frombuffer(blosc.decompress(data), dtype).reshape(shape)


def _folder(array: zarr.Array[Any]) -> Path | None:
    """The array's folder when its shards are as `lamstore.build` writes them, else None."""
    codecs: tuple[object, ...] = getattr(array.metadata, "codecs", ())
    sharding = codecs[0] if len(codecs) == 1 else None
    if not (isinstance(sharding, ShardingCodec) and isinstance(array.store, LocalStore)):
        return None
    plain = (
        sharding.index_location is ShardingCodecIndexLocation.end
        and [type(c) for c in sharding.codecs] == [BytesCodec, BloscCodec]
        and [type(c) for c in sharding.index_codecs] == [BytesCodec, Crc32cCodec]
        and array.dtype.byteorder in "=|<"
        and array.fill_value == 0
    )
    return Path(array.store.root) / array.path if plain else None
