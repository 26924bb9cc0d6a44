"""Does each unit read back what it wrote, and does it leave every other unit alone?"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lamstore.build import ensure
from lamstore.errors import DiskFullError, MissingArrayError, StoreError, TornDataError
from lamstore.grid import Grid
from lamstore.schema import EngineLayout, Layout
from lamstore.store import Store, checksum
from tests.store.building import CELLS, ENGINE, SHAPES, block, fill, grid, grow, layout, units

label = st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd")), min_size=1, max_size=12)


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[dict[str, tuple[int, int, int]], np.dtype]:
    names = draw(st.lists(label, min_size=1, max_size=4, unique=True))
    side = st.integers(1, 40)
    shapes = {name: draw(st.tuples(side, side, side)) for name in names}
    dtype = draw(st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]))
    return shapes, np.dtype(dtype)


@settings(max_examples=25, deadline=None)
@given(cohorts(), st.data())
def test_any_block_of_any_dtype_and_extent_reads_back(
    cohort: tuple[dict[str, tuple[int, int, int]], np.dtype], data: st.DataObject
):
    shapes, dtype = cohort
    spacing = data.draw(st.sampled_from([(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (4.0, 0.5, 9.0)]))
    subject = data.draw(st.sampled_from(sorted(shapes)))
    values = data.draw(npst.arrays(dtype, (1, *shapes[subject]), fill=st.just(dtype.type(3))))
    wanted = Layout(
        tuple(shapes), ("t0",), ("flair",), tuple(map(max, zip(*shapes.values(), strict=True))),
        spacing, str(dtype),
    )  # fmt: skip
    grids = {name: Grid.of(shape, np.eye(4)) for name, shape in shapes.items()}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.zarr"
        ensure(path, wanted, grids, dict.fromkeys(shapes, frozenset({("t0", "flair")})), {})
        written = Store(path, writable=True).write(
            "volume", values, subject=subject, timepoint="t0"
        )
        store = Store(path)
        found = store.read("volume", subject=subject, timepoint="t0")
        np.testing.assert_array_equal(found[0, 0], values)
        assert checksum(found) == written
        assert store.labels("subject") == tuple(shapes)
        assert store.grid(subject) == grids[subject]


def test_every_unit_reads_back(filled: Path):
    store = Store(filled)
    for subject in SHAPES:
        for name, at in units(subject):
            expected = block(name, at)
            assert np.array_equal(store.read(name, **at).reshape(expected.shape), expected)


def test_no_two_units_share_a_file(filled: Path):
    store = Store(filled)
    owners = {}
    for subject in SHAPES:
        for name, at in units(subject):
            owners[name, *at.values()] = set(store.shard_paths(name, **at))
    for one, other in combinations(owners, 2):
        assert not owners[one] & owners[other], f"{one} and {other} share a file"
    stored = {p for p in filled.rglob("c/**/*") if p.is_file()}
    voxel_files = {p for p in stored if "mask" in str(p) or "volume/" in str(p)}
    assert voxel_files & set().union(*owners.values())


def test_files_per_scan_are_few(filled: Path):
    files = [p for p in filled.rglob("c/**/*") if p.is_file() and p.suffix != ".json"]
    units_written = sum(len(list(units(subject))) for subject in SHAPES)
    small = 5 + 3 + 3  # geometry; labels of the root; labels of the engine
    assert len(files) <= units_written + small


def _write_row(arguments: tuple[Path, str]) -> None:
    path, shift = arguments
    store = Store(path, writable=True)
    for subject in SHAPES:
        for name, at in units(subject, [shift]):
            if name.startswith(ENGINE):
                store.write(name, block(name, at), **at)


def test_processes_that_write_neighbouring_units_lose_nothing(path: Path):
    shifts = ("none", "gamma-1", "noise-1", "blur-2")
    grow(path, layout(engines={"zed": EngineLayout(shifts, ("m1", "m2"), ("ens_var",))}))
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write_row, [(path, shift) for shift in shifts]))
    store = Store(path)
    for subject in SHAPES:
        for name, at in units(subject, shifts):
            if name.startswith(ENGINE):
                expected = block(name, at)
                assert np.array_equal(store.read(name, **at).reshape(expected.shape), expected)


def test_parts_of_a_unit_by_label(filled: Path):
    store = Store(filled)
    at = {"subject": "anna", "timepoint": "t1"}
    t1w = store.read("volume", **at, modality="t1w")[0, 0, 0]
    np.testing.assert_array_equal(t1w, block("volume", at)[1])
    whole = store.read("volume", subject="anna")
    assert whole.shape == (1, 2, 2, *SHAPES["anna"])


def test_a_rewritten_unit_leaves_nothing_of_the_old(filled: Path):
    store = Store(filled, writable=True)
    at = {"subject": "c-03", "timepoint": "t0"}
    store.write("lesion_truth", np.zeros(SHAPES["c-03"], np.uint8), **at)
    assert not Store(filled).read("lesion_truth", **at).any()
    assert not any(path.exists() for path in store.shard_paths("lesion_truth", **at))


def test_missing_is_not_empty_but_both_read_as_zeros(path: Path):
    grow(path, layout())
    store = Store(path, writable=True)
    at = {"subject": "anna", "timepoint": "t0"}
    unwritten = store.read("lesion_truth", **at)
    recorded = store.write("lesion_truth", np.zeros(SHAPES["anna"], np.uint8), **at)
    # No file tells the two apart: only the ledger's record of the checksum does.
    assert not any(file.exists() for file in store.shard_paths("lesion_truth", **at))
    assert checksum(unwritten) == recorded == checksum(store.read("lesion_truth", **at))


def test_padding_costs_nothing_on_disk(tmp_path: Path):
    sizes = []
    for largest in (40, 400):
        path = tmp_path / f"{largest}.zarr"
        wanted = Layout(("small",), ("t0",), ("flair",), (largest,) * 3, (1.0, 1.0, 1.0), "uint16")
        own = Grid.of((40, 40, 40), np.eye(4))
        ensure(path, wanted, {"small": own}, {"small": frozenset()}, {})
        store = Store(path, writable=True)
        random = np.random.default_rng(0).integers(0, 4000, (1, 40, 40, 40), np.uint16)
        store.write("volume", random, subject="small", timepoint="t0")
        files = store.shard_paths("volume", subject="small", timepoint="t0")
        sizes.append(sum(file.stat().st_size for file in files))
    # The cube is a thousand times larger; the file gains an index of 16 bytes a chunk.
    chunks = (400 // 48 + 1) ** 2 * (400 // 24 + 1)
    assert sizes[1] < 1.1 * sizes[0] + 17 * chunks


@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, b"garbage" * 999, "cut", "flipped"])
def test_torn_shards_are_reported_and_can_be_overwritten(filled: Path, damage: bytes | str):
    store = Store(filled, writable=True)
    at = {"subject": "c-03", "timepoint": "t1"}
    (shard,) = store.shard_paths("volume", **at)
    whole = shard.read_bytes()
    if damage == "cut":
        damage = whole[: len(whole) // 2]
    elif damage == "flipped":
        damage = bytes([*whole[:-40], *(byte ^ 0xFF for byte in whole[-40:])])
    shard.write_bytes(damage)
    with pytest.raises(TornDataError, match="volume of c-03 t1") as caught:
        Store(filled).read("volume", **at)
    assert "lam verify" in str(caught.value)
    assert store.read("volume", subject="anna", timepoint="t1").any(), "another unit is unharmed"
    store.write("volume", block("volume", at), **at)
    np.testing.assert_array_equal(Store(filled).read("volume", **at)[0, 0], block("volume", at))


def test_a_full_disk_is_said_as_such(filled: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(filled, writable=True)
    at = {"subject": "anna", "timepoint": "t0"}
    array = store.array("volume")

    def full(*_: object) -> None:
        raise RuntimeError("No space left on device (os error 28)")

    monkeypatch.setattr(type(array), "__setitem__", full)
    with pytest.raises(DiskFullError, match="volume of anna t0"):
        store.write("volume", block("volume", at), **at)
    assert not any(path.exists() for path in store.shard_paths("volume", **at)), "half is cleared"


def test_labels_and_arrays_that_are_not_there_are_named(filled: Path):
    store = Store(filled, writable=True)
    with pytest.raises(MissingArrayError, match="no subject 'zoe'") as caught:
        store.read("volume", subject="zoe", timepoint="t0")
    assert "anna" in str(caught.value.expected)
    with pytest.raises(MissingArrayError, match="no shift 'blur-9'"):
        store.read(f"{ENGINE}/mask", subject="anna", timepoint="t0", shift="blur-9")
    with pytest.raises(MissingArrayError, match="no array nothing"):
        store.read("nothing", subject="anna")
    with pytest.raises(MissingArrayError, match="no store"):
        Store(filled.parent / "other.zarr")
    assert "nothing" not in store
    assert "volume" in store


def test_availability_and_grids(filled: Path):
    store = Store(filled)
    assert store.available("anna") == CELLS
    for subject in SHAPES:
        assert store.grid(subject) == grid(subject)


def test_a_wrong_shape_is_refused(filled: Path):
    store = Store(filled, writable=True)
    with pytest.raises((StoreError, ValueError)):
        store.write("brainmask", np.ones((3, 3, 3), np.uint8), subject="anna")
    expected = block("brainmask", {"subject": "anna"})
    np.testing.assert_array_equal(store.read("brainmask", subject="anna")[0], expected)


def test_reading_does_not_need_leave_to_write(filled: Path):
    store = fill(filled, [])
    assert store.read("brainmask", subject="anna").any()
    with pytest.raises((StoreError, ValueError)):
        Store(filled).write("brainmask", np.ones(SHAPES["anna"], np.uint8), subject="anna")
