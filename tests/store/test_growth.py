"""Does a store grow without a voxel being moved, and does a kill in between harm it?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamstore
import lamstore.build
from lamstore import tables
from lamstore.errors import StoreError
from lamstore.schema import EngineLayout
from lamstore.store import Store
from tests.store import building
from tests.store.building import ENGINE, SHAPES, block, fill, grow, layout, units


def shards(path: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file with voxels."""
    store = Store(path)
    found = {}
    for subject in store.labels("subject"):
        for name, at in units(subject):
            for file in store.shard_paths(name, **at):
                if file.exists():
                    found[str(file)] = (file.read_bytes(), file.stat().st_mtime_ns)
    return found


def assert_whole(path: Path, subjects: list[str]) -> None:
    """Every unit of some subjects reads back, by task and by view."""
    store, ds = Store(path), lamstore.open(path, engine="zed")
    for subject in subjects:
        for name, at in units(subject):
            expected = block(name, at)
            assert np.array_equal(store.read(name, **at).reshape(expected.shape), expected)
            seen = ds[name.rpartition("/")[2]].sel(at).lam.crop()
            np.testing.assert_array_equal(seen.values, expected)


MORE_SHIFTS = {"zed": EngineLayout(("none", "gamma-1", "blur-2"), ("m1", "m2"), ("ens_var",))}
TWO_ENGINES = {**MORE_SHIFTS, "why": EngineLayout(("none",), ("m",), ())}

GROWTHS: dict[str, Any] = {
    "subjects": layout(),
    "shifts": layout(["anna", "bjørn"], engines=MORE_SHIFTS),
    "an engine": layout(["anna", "bjørn"], engines=TWO_ENGINES),
    "larger extents": layout(["anna", "bjørn"], extent=(50, 60, 70)),
    "a timepoint": layout(["anna", "bjørn"], timepoints=("t0", "t1", "t2")),
    "a modality": layout(["anna", "bjørn"], modalities=("flair", "t1w", "t2w")),
    "shifted images": layout(["anna", "bjørn"], store_shifted=True, shifts=("none", "gamma-1")),
    "everything": layout(
        timepoints=("t0", "t1", "t2"), modalities=("flair", "t1w", "t2w"), extent=(50, 60, 70),
        engines=TWO_ENGINES,
    ),
}  # fmt: skip


@pytest.fixture
def two(path: Path) -> Path:
    """A store of two of the three subjects."""
    grow(path, layout(["anna", "bjørn"]))
    fill(path, ["anna", "bjørn"])
    return path


@pytest.mark.parametrize("what", GROWTHS)
def test_growth_touches_no_shard(two: Path, what: str, monkeypatch: pytest.MonkeyPatch):
    before = shards(two)
    assert len(before) > 20
    grow(two, GROWTHS[what])
    after = shards(two)
    assert {file: after.get(file) for file in before} == before
    # A modality is an axis that a unit writes whole: the old blocks gain empty room.
    monkeypatch.setitem(building.LEADING, "volume", (len(Store(two).labels("modality")),))
    old = [u for s in ("anna", "bjørn") for u in units(s) if u[0] != "volume"]
    store = Store(two)
    for name, at in old:
        expected = block(name, at)
        assert np.array_equal(store.read(name, **at).reshape(expected.shape), expected)


@pytest.mark.parametrize("what", GROWTHS)
def test_old_and_new_units_read_back_after_growth(two: Path, what: str):
    merged = grow(two, GROWTHS[what])
    if len(merged.modalities) == 2:
        fill(two, [s for s in merged.subjects if s not in ("anna", "bjørn")])
        assert_whole(two, list(merged.subjects))
    assert Store(two).labels("subject")[:2] == ("anna", "bjørn")


def test_labels_keep_their_places_whatever_the_order_wanted(two: Path):
    grow(two, layout(["c-03", "bjørn", "anna"]))
    fill(two, ["c-03"])
    assert Store(two).labels("subject") == ("anna", "bjørn", "c-03")
    assert_whole(two, list(SHAPES))


def test_a_smaller_cohort_shrinks_nothing(filled: Path):
    before = shards(filled)
    merged = grow(filled, layout(["bjørn"], modalities=("flair",), timepoints=("t1",)))
    assert merged.subjects == tuple(SHAPES)
    assert merged.modalities == ("flair", "t1w")
    assert shards(filled) == before
    assert_whole(filled, list(SHAPES))


def test_a_unit_written_under_a_larger_extent_spans_shards_of_its_own(two: Path):
    grow(two, layout(["anna", "bjørn", "c-03"], extent=(50, 60, 70)))
    store = fill(two, ["c-03"])
    mine = set(store.shard_paths("volume", subject="c-03", timepoint="t0"))
    other = set(store.shard_paths("volume", subject="anna", timepoint="t0"))
    assert len(mine) > 1
    assert not mine & other
    assert_whole(two, list(SHAPES))


def test_growing_again_changes_no_file_but_the_metadata(filled: Path):
    def everything() -> dict[Path, int]:
        files = (p for p in filled.rglob("*") if p.is_file() and p.name != "zarr.json")
        return {p: p.stat().st_mtime_ns for p in files}

    before = everything()
    grow(filled, layout())
    assert everything() == before


def test_an_engine_with_other_members_starts_anew(filled: Path):
    other = {"zed": EngineLayout(("none",), ("m1", "m2", "m3"), ("ens_var",))}
    grow(filled, layout(engines=other))
    store = Store(filled)
    assert store.labels(f"{ENGINE}/member") == ("m1", "m2", "m3")
    assert store.labels(f"{ENGINE}/shift") == ("none",)
    assert not store.read(f"{ENGINE}/mask", subject="anna", timepoint="t0", shift="none").any()
    assert store.read("volume", subject="anna", timepoint="t0").any()
    assert lamstore.open(filled, engine="zed").probability.sizes["member"] == 3
    assert sorted(p.name for p in filled.parent.iterdir()) == ["store.zarr"]


def test_an_engine_no_longer_wanted_grows_along(two: Path):
    grow(two, layout(engines={"why": EngineLayout(("none",), ("m",), ())}))
    tree = lamstore.open(two)
    assert tree["/engines/zed"].to_dataset().sizes["subject"] == 3
    assert lamstore.open(two, engine="zed")["mask"].sel(subject="anna").any().compute()


def test_another_dtype_is_refused_with_the_remedy(filled: Path):
    with pytest.raises(StoreError, match="dtype") as caught:
        grow(filled, layout(volume_dtype="float32"))
    assert "delete" in str(caught.value)
    grow(filled, layout(volume_dtype="uint8"))  # uint16 holds it
    assert_whole(filled, list(SHAPES))


def test_consolidated_metadata_is_right_after_growth(two: Path):
    assert "consolidated_metadata" in (two / "zarr.json").read_text()
    grow(two, GROWTHS["everything"])
    assert '"t2"' in (two / "zarr.json").read_text() or _open_subjects(two) == list(SHAPES)
    tree = lamstore.open(two)
    assert tree.volume.sizes["modality"] == 3
    assert tree["/engines/why"].to_dataset().sizes["shift"] == 1


def _open_subjects(path: Path) -> list[str]:
    subjects: list[str] = lamstore.open(path).subject.values.tolist()
    return subjects


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code sees it."""


KILLS = [
    ("create_array", 1), ("create_array", 4), ("resize", 1), ("resize", 3), ("resize", 5),
    ("resize", 9), ("grow_table", 1), ("grow_table", 3), ("write_labels", 1), ("write_labels", 2),
    ("write_labels", 4), ("consolidate", 1),
]  # fmt: skip
"""The nth call of one of the steps that growing is made of."""


@pytest.mark.parametrize(("step", "nth"), KILLS)
def test_killed_while_it_grows_a_store_stays_readable_and_grows_again(
    two: Path, step: str, nth: int, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        _kill_at(patch, step, nth)
        with pytest.raises(Killed):
            grow(two, GROWTHS["everything"])
    for subject in _open_subjects(two)[:2]:  # as a session sees it now
        at = {"subject": subject, "timepoint": "t0"}
        found = lamstore.open(two, engine="zed").volume.sel(at).isel(modality=[0, 1]).lam.crop()
        np.testing.assert_array_equal(found.values, block("volume", at))
    grow(two, layout())  # as the next run wants it: less than before
    monkeypatch.setitem(building.LEADING, "volume", (len(Store(two).labels("modality")),))
    fill(two)
    assert _open_subjects(two) == list(SHAPES)
    assert_whole(two, list(SHAPES))


@pytest.mark.parametrize(
    ("step", "nth"), [k for k in KILLS if k[0] not in ("resize", "consolidate")]
)
def test_killed_while_it_is_made_a_store_is_made_anew(
    path: Path, step: str, nth: int, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        _kill_at(patch, step, nth)
        with pytest.raises(Killed):
            grow(path, layout(["c-03"], volume_dtype="float64"))
    lamstore.open(path)  # whatever there is of it
    grow(path, layout())  # another dtype: nothing was written under the first
    fill(path)
    assert_whole(path, list(SHAPES))


def _kill_at(patch: pytest.MonkeyPatch, step: str, nth: int) -> None:
    import zarr

    owner: Any = {"create_array": zarr.Group, "resize": zarr.Array}.get(step, lamstore.build)
    patch.setattr(owner, step, _failing(getattr(owner, step), nth))


def _failing(function: Callable[..., Any], nth: int) -> Callable[..., Any]:
    calls = []

    def wrapped(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            raise Killed
        return function(*arguments, **options)

    return wrapped


def test_labels_past_one_chunk(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "ROWS", 2)
    monkeypatch.setattr(building, "SHAPES", {f"s{i}": (6, 5, 4) for i in range(7)})
    for count in (1, 2, 5, 7):
        subjects = [f"s{i}" for i in range(count)]
        grow(path, layout(subjects))
        assert Store(path).labels("subject") == tuple(subjects)
        assert Store(path).grid(subjects[-1]).shape == (6, 5, 4)


def test_leftovers_of_a_killed_write_are_swept(two: Path):
    (two / "zarr.0.partial").write_text("{")
    (two / "engines" / "zed" / "zarr.1.partial").write_text("{")
    assert _open_subjects(two) == ["anna", "bjørn"]
    grow(two, layout())
    assert not list(two.rglob("*.partial"))


def test_labels_never_change_places(two: Path):
    root = Store(two, writable=True).root
    with pytest.raises(StoreError, match="places"):
        tables.write_labels(root, "subject", ("bjørn", "anna"))
