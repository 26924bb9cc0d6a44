"""What must anything that `lamstore.open` takes do? One suite that every format inherits."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import xarray as xr

import lamstore
from lamstore.errors import MissingArrayError
from tests.store.building import ENGINE, SHAPES, block, grid, units


class StoreConformance:
    """Subclasses give a fixture `opened`: the path of a store of `tests.store.building`."""

    def test_labels_are_those_that_were_written(self, opened: Path):
        tree = lamstore.open(opened)
        assert tree.subject.values.tolist() == list(SHAPES)
        assert tree.timepoint.values.tolist() == ["t0", "t1"]
        assert tree.modality.values.tolist() == ["flair", "t1w"]
        engine = tree[f"/{ENGINE}"]
        assert engine["shift"].values.tolist() == ["none", "gamma-1"]
        assert engine["shift_name"].values.tolist() == ["none", "gamma"]
        assert engine["shift_level"].values.tolist() == [0, 1]
        assert engine["member"].values.tolist() == ["m1", "m2"]
        assert engine["measure"].values.tolist() == ["ens_var"]

    def test_dims_and_dtypes(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        space = ("x", "y", "z")
        assert ds.volume.dims == ("subject", "timepoint", "modality", *space)
        assert ds.volume.dtype == np.uint16
        assert ds.brainmask.dims == ds.change_truth.dims == ("subject", *space)
        assert ds.lesion_truth.dims == ("subject", "timepoint", *space)
        assert ds["mask"].dims == ("subject", "timepoint", "shift", *space)
        assert ds["mask"].dtype == np.uint8
        assert ds.probability.dims == ("subject", "timepoint", "shift", "member", *space)
        assert ds.probability.dtype == np.float16
        assert ds.uncertainty.dims == ("subject", "timepoint", "shift", "measure", *space)

    def test_every_block_reads_back_cropped(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        for subject in SHAPES:
            for name, at in units(subject):
                array = ds[name.rpartition("/")[2]].sel(at).lam.crop()
                np.testing.assert_array_equal(array.values, block(name, at), err_msg=f"{name} {at}")

    def test_padding_reads_as_zeros(self, opened: Path):
        volume = lamstore.open(opened)["volume"].sel(subject="anna").values
        x, y, z = SHAPES["anna"]
        assert volume[..., x:, :, :].sum() == 0
        assert volume[..., :, y:, :].sum() == 0
        assert volume[..., :, :, z:].sum() == 0
        assert volume[..., :x, :y, :z].any()

    def test_voxels_are_lazy_a_chunk_per_unit(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        for name in ("volume", "brainmask", "mask", "probability", "uncertainty"):
            data = ds[name].data
            assert isinstance(data, da.Array)
            by_dim = dict(zip(ds[name].dims, data.chunks, strict=True))
            for dim in ("subject", "timepoint", "shift"):
                assert set(by_dim.get(dim, (1,))) == {1}
            for dim in ("x", "y", "z", "member", "measure", "modality"):
                assert len(by_dim.get(dim, (1,))) == 1

    @pytest.mark.parametrize("index", [3, slice(2, 5), slice(None, None, -1), slice(8, 1, -3)])
    def test_parts_of_an_array_are_what_they_are_in_the_whole(self, opened: Path, index: object):
        volume = lamstore.open(opened)["volume"].sel(subject="c-03", modality="t1w")
        whole = volume.values
        np.testing.assert_array_equal(volume.isel(z=index).values, whole[..., index])
        np.testing.assert_array_equal(volume.isel(x=index).values, whole[:, index])
        picked = volume.isel(z=[0, 4, 2]).isel(timepoint=1)
        np.testing.assert_array_equal(picked.values, whole[1][..., [0, 4, 2]])

    def test_geometry(self, opened: Path):
        tree = lamstore.open(opened)
        for subject in SHAPES:
            own, row = grid(subject), tree.to_dataset().sel(subject=subject)
            np.testing.assert_array_equal(row.affine.values, own.matrix)
            assert tuple(row.extent.values) == own.shape
            np.testing.assert_allclose(row.spacing_mm.values, own.spacing_mm)
            assert row.voxel_volume_mm3.item() == pytest.approx(0.9 * 1.1 * 3.0)

    def test_crop_gives_millimetres_along_each_axis(self, opened: Path):
        cut = lamstore.open(opened, engine="zed").sel(subject="anna").lam.crop()
        assert dict(cut.sizes) | {"x": 20, "y": 18, "z": 9} == dict(cut.sizes)
        np.testing.assert_allclose(cut.x.values, np.arange(20) * 0.9)
        np.testing.assert_allclose(cut.z.values, np.arange(9) * 3.0)
        assert cut.x.attrs["units"] == "mm"
        assert cut.attrs["affine"] == grid("anna").matrix.tolist()

    def test_one_expression_does_the_cohort(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        volumes = ds.mask.sum(["x", "y", "z"]) * ds.voxel_volume_mm3
        at = {"subject": "bjørn", "timepoint": "t1", "shift": "gamma-1"}
        expected = block(f"{ENGINE}/mask", at).sum() * 0.9 * 1.1 * 3.0
        assert float(volumes.sel(at)) == pytest.approx(expected)
        for form in (ds.lam.volume_mm3(), ds.mask.lam.volume_mm3(), ds["mask"].lam.volume_mm3()):
            assert form.attrs["units"] == "mm3"
            xr.testing.assert_allclose(form.drop_attrs(), volumes.drop_attrs().rename(form.name))

    def test_volume_of_an_unwritten_mask_is_zero(self, opened: Path, tmp_path: Path):
        ds = lamstore.open(opened, engine="zed")
        none = ds.mask.where(ds.mask > 5, 0).lam.volume_mm3()
        assert float(none.max()) == 0.0

    def test_to_nifti_has_the_subjects_own_affine_and_voxels(self, opened: Path, tmp_path: Path):
        ds = lamstore.open(opened, engine="zed")
        at = {"subject": "bjørn", "timepoint": "t0"}
        one = ds.sel(at | {"modality": "t1w"})
        target = tmp_path / "ä b.nii.gz"
        one.lam.to_nifti("volume", target)
        read = nib.load(target)
        np.testing.assert_allclose(read.affine, grid("bjørn").matrix, atol=1e-5)
        np.testing.assert_array_equal(np.asanyarray(read.dataobj), block("volume", at)[1])
        assert read.header.get_xyzt_units()[0] == "mm"

    def test_to_nifti_of_float16_is_float32(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        at = {"subject": "anna", "timepoint": "t1", "shift": "none"}
        image = ds.probability.sel(at | {"member": "m2"}).lam.to_nifti()
        assert image.get_data_dtype() == np.float32
        expected = block(f"{ENGINE}/probability", at)[1].astype(np.float32)
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), expected)

    def test_to_nifti_wants_one_volume_of_one_subject(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        with pytest.raises(MissingArrayError, match="one 3D volume"):
            ds.mask.sel(subject="anna", shift="none").lam.to_nifti()
        with pytest.raises(MissingArrayError, match="one subject"):
            ds.mask.sel(timepoint="t0", shift="none").lam.to_nifti()

    def test_an_unknown_engine_is_named_with_those_that_are_there(self, opened: Path):
        with pytest.raises(MissingArrayError, match="'nobody'") as caught:
            lamstore.open(opened, engine="nobody")
        assert caught.value.expected == "zed"

    def test_metrics_are_labelled_and_missing_ones_are_nan(self, opened: Path):
        ds = lamstore.open(opened, engine="zed")
        found = ds["dV_mm3"]
        assert found.dims == ("subject", "shift")
        assert found.sel(subject="c-03", shift="gamma-1").item() == 5.0
        assert np.isnan(found.sel(subject="anna", shift="gamma-1").item())

    def test_it_prints(self, opened: Path):
        text = repr(lamstore.open(opened))
        assert "zed" in text
        assert "volume" in text
        assert "bjørn" in repr(lamstore.open(opened, engine="zed"))

    def test_provenance_comes_along(self, opened: Path):
        assert lamstore.open(opened).attrs["made_by"] == "a test"
