"""How is a part of a sharded array read fastest? By whole inner chunks, then cropped in memory.

The codec pipeline decodes a window that cuts through inner chunks row by row, which costs several
times the decoding itself. Reading the smallest box of whole inner chunks around the window and
cropping the result gives the same values at the cost of the decoding alone.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray


def aligned_read(array: zarr.Array, window: tuple[slice, ...]) -> NDArray[Any]:
    """Read a box.

    Parameters
    ----------
    array : zarr.Array
    window : tuple of slice
        One slice a dim, unit step, start and stop given.

    Returns
    -------
    ndarray
        ``array[window]``; may be a view into a somewhat larger buffer.
    """
    outer, inner = [], []
    for part, edge, size in zip(window, array.chunks, array.shape, strict=True):
        start = part.start // edge * edge
        outer.append(slice(start, min(size, ceil(part.stop / edge) * edge)))
        inner.append(slice(part.start - start, part.stop - start))
    values = np.asarray(array[tuple(outer)])
    return values[tuple(inner)]


class BlockReader:
    """Array-like over a sharded array for dask: ints and unit-step slices, read by `aligned_read`.

    Holds the path, not the array, so that it is cheap to ship to a worker.
    """

    def __init__(self, store: str, name: str, array: zarr.Array) -> None:
        self.store, self.name, self.chunks = store, name, array.chunks
        self.shape, self.dtype, self.ndim = array.shape, np.dtype(array.dtype), array.ndim
        self._array: zarr.Array | None = None

    def __getitem__(self, index: Any) -> NDArray[Any]:
        parts, squeeze, steps = normalised(index, self.shape)
        values = aligned_read(self._opened(), parts)[steps]
        return values.squeeze(axis=squeeze) if squeeze else values

    def _opened(self) -> zarr.Array:
        if self._array is None:
            from lamstore.codec import fast_codecs

            with fast_codecs():
                self._array = zarr.open_array(self.store, path=self.name, mode="r")
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_array": None}

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("lamstore.BlockReader", self.store, self.name, self.shape, str(self.dtype))


def normalised(
    index: Any, shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[int, ...], tuple[slice, ...]]:
    """Unit-step windows, the axes to drop, and the steps to take afterwards."""
    items = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    items += [slice(None)] * (len(shape) - len(items))
    windows, steps = [], []
    for item, size in zip(items, shape, strict=True):
        if isinstance(item, slice):
            start, stop, step = item.indices(size)
            low, high = (start, stop) if step > 0 else (stop + 1, start + 1)
            windows.append(slice(low, max(low, high)))
            steps.append(slice(None, None, step))
        else:
            row = int(item) + (size if item < 0 else 0)
            windows.append(slice(row, row + 1))
            steps.append(slice(None))
    squeeze = tuple(i for i, item in enumerate(items) if not isinstance(item, slice))
    return tuple(windows), squeeze, tuple(steps)
