"""Does the direct reader of shards give what Zarr gives, and notice what is torn?"""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, GzipCodec

from lamstore.shards import ShardReader

SHAPE, CHUNKS, SHARDS = (3, 11, 14, 9), (1, 4, 5, 3), (1, 8, 10, 9)
FIRST = (slice(0, 1), slice(0, 8), slice(0, 10), slice(0, 9))


def make(folder, dtype="u2", compressors=None, shards=SHARDS, fill_value=0):
    array = zarr.create_array(
        folder / "a.zarr",
        shape=SHAPE,
        chunks=CHUNKS,
        shards=shards,
        dtype=dtype,
        fill_value=fill_value,
        compressors=compressors or BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
    )
    values = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    values[1] = 0
    values[2, :4] = 0
    array[...] = values
    return array, values


@st.composite
def windows(draw):
    window = []
    for size in SHAPE:
        start = draw(st.integers(0, size - 1))
        window.append(slice(start, draw(st.integers(start, size))))
    return tuple(window)


@pytest.fixture(scope="module", params=["u1", "u2", "f2", "f4", "f8"])
def stored(request, tmp_path_factory):
    return make(tmp_path_factory.mktemp("shards"), request.param)


@settings(max_examples=60, deadline=None)
@given(window=windows())
def test_any_window_is_what_was_written(stored, window):
    array, values = stored
    reader = ShardReader.of(array)
    assert reader.folder is not None
    found = reader.read(window)
    assert found.dtype == values.dtype
    assert np.array_equal(found, values[window])


@pytest.mark.parametrize(
    "other",
    [{"compressors": GzipCodec()}, {"shards": None}, {"fill_value": 7}],
    ids=["codec", "unsharded", "fill"],
)
def test_what_is_stored_otherwise_goes_through_zarr(tmp_path, other):
    array, values = make(tmp_path, **other)
    reader = ShardReader.of(array)
    assert reader.folder is None
    assert np.array_equal(reader.read(tuple(slice(0, size) for size in SHAPE)), values)


def test_a_shard_that_is_not_there_is_fill(tmp_path):
    array, _ = make(tmp_path)
    (tmp_path / "a.zarr/c/0/0/0/0").unlink()
    assert not ShardReader.of(array).read(FIRST).any()


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -40])
def test_a_cut_shard_is_an_error(tmp_path, keep):
    array, _ = make(tmp_path)
    path = tmp_path / "a.zarr/c/0/0/0/0"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises((ValueError, RuntimeError)):
        ShardReader.of(array).read(FIRST)


def test_an_overwritten_chunk_header_is_an_error(tmp_path):
    array, _ = make(tmp_path)
    path = tmp_path / "a.zarr/c/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[4:16] = b"\xff" * 12
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="header"):
        ShardReader.of(array).read(FIRST)
