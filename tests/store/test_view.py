"""Does a study look the same to a Python session, whatever format it comes in?"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import lamstore
from lamstore.errors import MissingArrayError, StoreError, UnreadableInputError
from lamstore.hdf5 import export_hdf5
from lamstore.store import Store
from tests.store.building import ENGINE, SHAPES, block, fill, grow, layout, write_metrics
from tests.store.conformance import StoreConformance


class TestZarr(StoreConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("zarr") / "store.zarr"
        grow(path, layout())
        fill(path)
        write_metrics(path)
        return path


class TestUnconsolidated(TestZarr):
    """As it is while a run is at work."""

    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        from lamstore.tables import unconsolidate

        path = tmp_path_factory.mktemp("zarr") / "store.zarr"
        grow(path, layout())
        fill(path)
        write_metrics(path)
        unconsolidate(path)
        return path


class TestHdf5(StoreConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def opened(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("hdf5")
        grow(folder / "store.zarr", layout())
        fill(folder / "store.zarr")
        write_metrics(folder / "store.zarr")
        return export_hdf5(folder / "store.zarr", folder / "export.h5")

    def test_any_hdf5_library_reads_it(self, opened: Path):
        with h5py.File(opened) as file:
            mask = file[f"{ENGINE}/mask"]
            assert mask.compression == "gzip"
            assert mask.shuffle
            assert {dim.label for dim in mask.dims} >= {"subject", "timepoint", "shift", "x"}
            assert file["subject"].asstr()[:].tolist() == list(SHAPES)

    def test_blocks_of_nothing_are_not_stored(self, path: Path, tmp_path: Path):
        grow(path, layout())
        with h5py.File(export_hdf5(path, tmp_path / "empty.h5")) as file:
            assert file["volume"].id.get_num_chunks() == 0

    def test_an_export_is_never_overwritten(self, opened: Path):
        with pytest.raises(StoreError, match="there already"):
            export_hdf5(opened.parent / "store.zarr", opened)

    def test_a_failed_export_leaves_nothing(self, filled: Path):
        array = Store(filled).array("volume")
        _tear(filled, array)
        target = filled.parent / "out.h5"
        with pytest.raises(Exception, match=r".+"):
            export_hdf5(filled, target)
        assert sorted(p.name for p in filled.parent.iterdir()) == ["store.zarr"]


def _tear(path: Path, array: zarr.Array) -> None:
    shard = next(p for p in (path / array.path).rglob("*") if p.is_file() and p.name != "zarr.json")
    shard.write_bytes(b"\x07" * 100)


def test_nothing_there_is_said_with_the_command(tmp_path: Path):
    with pytest.raises(MissingArrayError, match="no store") as caught:
        lamstore.open(tmp_path / "study")
    assert "lam run" in str(caught.value)


def test_other_files_are_no_exports(tmp_path: Path):
    (tmp_path / "a.h5").write_bytes(b"not hdf5")
    with pytest.raises(UnreadableInputError, match="not a readable HDF5 file"):
        lamstore.open(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(UnreadableInputError, match="not written by lamstore"):
        lamstore.open(tmp_path / "b.h5")
    with pytest.raises(MissingArrayError, match="no file"):
        lamstore.open(tmp_path / "c.h5")


def test_a_store_nobody_has_written_voxels_to(path: Path):
    grow(path, layout())
    ds = lamstore.open(path, engine="zed")
    assert ds.subject.values.tolist() == list(SHAPES)
    assert float(ds.mask.sum()) == 0
    assert "dV_mm3" not in ds


def test_a_store_without_subjects_opens_and_prints(path: Path):
    zarr.open_group(path, mode="w").attrs["made_by"] = "a planner that was killed at once"
    tree = lamstore.open(path)
    assert "volume" not in tree
    assert repr(tree)


def test_metrics_of_before_the_growth_are_nan_for_who_came_after(path: Path):
    grow(path, layout(["anna", "bjørn"]))
    fill(path, ["anna", "bjørn"])
    write_metrics(path)
    grow(path, layout())
    ds = lamstore.open(path, engine="zed")
    assert ds["dV_mm3"].sizes["subject"] == 3
    assert np.isnan(ds["dV_mm3"].sel(subject="c-03")).all()
    assert ds["dV_mm3"].sel(subject="bjørn", shift="gamma-1").item() == 3.0
    assert lamstore.open(path)[f"/{ENGINE}/metrics"]["dV_mm3"].sizes["subject"] == 3


def test_the_view_computes_in_other_processes(filled: Path):
    import dask

    ds = lamstore.open(filled, engine="zed")
    with dask.config.set(scheduler="processes", num_workers=2):
        volumes = ds.lam.volume_mm3().compute()
    at = {"subject": "anna", "timepoint": "t0", "shift": "none"}
    expected = block(f"{ENGINE}/mask", at).sum() * 0.9 * 1.1 * 3.0
    assert float(volumes.sel(at)) == pytest.approx(expected)


def test_a_view_survives_saving_and_selecting(filled: Path, tmp_path: Path):
    ds = lamstore.open(filled, engine="zed").sel(subject="anna", timepoint="t0", modality="flair")
    at = {"subject": "anna", "timepoint": "t0"}
    doubled = (ds.volume * 2).assign_attrs(ds.volume.attrs)
    np.testing.assert_array_equal(doubled.lam.to_nifti().get_fdata(), 2.0 * block("volume", at)[0])
