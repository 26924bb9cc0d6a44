"""What stands for voxels that nobody has read yet? Arrays of which slices add up before a read.

dask loads a whole chunk and then cuts a slice out of it. A chunk of a study is a whole scan, so
here a chunk is a `Block`, which takes slices on itself and reads what is left of it at last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from lamstore.codec import fast_codecs
from lamstore.shards import ShardReader


def flipped(values: NDArray[Any]) -> NDArray[Any]:
    """View with the last three axes reversed: z, y, x as stored, x, y, z as handed out."""
    return values.transpose(*range(values.ndim - 3), -1, -2, -3)


class BlockReader:
    """Array-like over a sharded array for dask: indexing gives a `Block`, which reads nothing yet.

    Dims are handed out as …, x, y, z. Holds the path, not the array, so that it is cheap to ship
    to a worker.
    """

    def __init__(self, store: str, name: str, array: zarr.Array[Any]) -> None:
        self.store, self.name, self.dtype, self.ndim = store, name, array.dtype, array.ndim
        self.shape, self.chunks = _outward(array.shape), _outward(array.chunks)
        self._shards: ShardReader | None = None

    def __getitem__(self, index: Any) -> Block:
        return Block(self, *normalised(index, self.shape))

    def read(self, window: tuple[slice, ...]) -> NDArray[Any]:
        """Values of a box."""
        if self._shards is None:
            with fast_codecs():
                array = zarr.open_array(self.store, path=self.name, mode="r")
            self._shards = ShardReader.of(array)
        return flipped(self._shards.read(_outward(window)))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": None}

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("lamstore.BlockReader", self.store, self.name, self.shape, str(self.dtype))


class Block(NDArrayOperatorsMixin):
    """A part of an array that is read when its values are asked for, and not before.

    dask cuts a slice out of a whole chunk that it has loaded. With this as the chunk, the slices
    of ``ds.volume.sel(subject=…).lam.crop().isel(z=30)`` add up, and one slice is what is read.
    """

    def __init__(
        self,
        reader: BlockReader,
        window: tuple[slice, ...],
        squeezed: tuple[int, ...],
        steps: tuple[slice, ...],
    ) -> None:
        self._reader, self._window, self._squeezed, self._steps = reader, window, squeezed, steps
        self._values: NDArray[Any] | None = None
        self.dtype = reader.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values, without reading them."""
        spans = (range(part.start, part.stop) for part in self._window)
        sizes = (len(span[step]) for span, step in zip(spans, self._steps, strict=True))
        return tuple(size for axis, size in enumerate(sizes) if axis not in self._squeezed)

    @property
    def ndim(self) -> int:
        """Number of axes, without reading the values."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> Any:
        plain = all(part.step in (None, 1) for part in self._steps)
        if self._values is not None or not plain or not _is_basic(index):
            return np.asarray(self)[index]
        windows, squeezed, steps = normalised(index, self.shape)
        kept = [axis for axis in range(len(self._window)) if axis not in self._squeezed]
        window, stepped = list(self._window), list(self._steps)
        for axis, part, step in zip(kept, windows, steps, strict=True):
            start = self._window[axis].start
            window[axis] = slice(start + part.start, start + part.stop)
            stepped[axis] = step
        gone = (*self._squeezed, *(kept[axis] for axis in squeezed))
        return Block(self._reader, tuple(window), tuple(sorted(gone)), tuple(stepped))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self._values is None:
            values = self._reader.read(self._window)[self._steps]
            self._values = values.squeeze(axis=self._squeezed) if self._squeezed else values
        return self._values if dtype is None else self._values.astype(dtype, copy=bool(copy))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        # Operators too (the mixin): dask hands the chunk itself to `ds.volume * 2`.
        values = (np.asarray(one) if isinstance(one, Block) else one for one in inputs)
        return getattr(ufunc, method)(*values, **options)

    def __getattr__(self, name: str) -> Any:
        # Whatever else is asked of an array (astype, sum, …) is asked of the values; not `flags`,
        # which dask looks at after each slice to see whether it should copy.
        if name.startswith("_") or name == "flags":
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_values": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _outward(stored: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sizes or slices of …, z, y, x as those of …, x, y, z, and back."""
    return (*stored[:-3], *reversed(stored[-3:]))


def block(reader: BlockReader, index: Any, **_: Any) -> Block:
    """What dask calls for a chunk. Not dask's own getter: that one reads at once."""
    return reader[index]


def _is_basic(index: Any) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return all(isinstance(item, (int, np.integer, slice)) or item is Ellipsis for item in items)


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
