"""Are voxels and affine of a series right, and is everything else refused?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.dicom.pixels import read_voxels
from jobs.dicom.series import read_series_header
from jobs.dicom.storage import storage_at
from lamstore.errors import InputError, MissingInputError, VoxelError
from tests.dicom.writing import (
    AXIAL,
    SAGITTAL,
    SECRET,
    affine_of,
    directions,
    enhanced,
    save,
    slices,
    volume,
)

REAL = Path(__file__).parents[2].parent / "shared/data/dicom"
SERIES = ("anatomical/001", "anatomical/001_implicit", "anatomical/002_non_isotropic",
          "compressed_j2k/001", "compressed_jpeg/001", "compressed_jpegls/001",
          "compressed_rle/001")  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("name", SERIES)
def test_real_series_equal_their_ground_truth(name, read):
    """Voxels bit for bit, affine within 1e-3 mm, both brought to the closest RAS order of axes."""
    folder = REAL / "generic" / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    header, voxels = read(folder)
    truth = nib.as_closest_canonical(nib.load(f"{folder}_ground_truth.nii.gz"))
    ours = nib.as_closest_canonical(nib.Nifti1Image(voxels.astype("f8"), header.grid.matrix))
    np.testing.assert_array_equal(ours.get_fdata(), truth.get_fdata())
    np.testing.assert_allclose(ours.affine, truth.affine, atol=1e-3)
    assert header.stored_dtype == ("f8" if "non_isotropic" in name else "u2")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name, reason", [("gantrytilting", "tilted gantry"), ("slicecount", "too few slices")]
)
def test_real_series_that_must_be_refused(name, reason, read):
    folder = REAL / "failing" / name / "001"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    with pytest.raises(InputError, match=reason):
        read(folder)


def rotation(angles):
    """(3, 3) rotation by three small angles in radians."""
    (a, b, c), eye = angles, np.eye(3)
    found = eye
    for axis, angle in enumerate((a, b, c)):
        i, j = [k for k in range(3) if k != axis]
        turn = eye.copy()
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        found = turn @ found
    return found


small = st.floats(-0.3, 0.3)


@settings(max_examples=15, deadline=None)
@given(
    angles=st.tuples(small, small, small),
    order=st.permutations(range(5)),
    numbers=st.permutations(range(5)),
    gap=st.floats(0.5, 9),
    spacing=st.tuples(st.floats(0.3, 2), st.floats(0.3, 2)),
    shape=st.tuples(st.integers(1, 6), st.integers(2, 6)),
    seed=st.integers(0, 99),
)
def test_a_volume_comes_back_whatever_its_files_are_called(
    angles, order, numbers, gap, spacing, shape, seed
):
    turn = rotation(angles)
    oblique = (*(turn @ SAGITTAL[:3]), *(turn @ SAGITTAL[3:]))
    spacing = tuple(round(s, 4) for s in spacing)
    voxels = volume((*shape, 5), seed)
    datasets = slices(voxels, oblique, spacing, gap, (-20.5, 11.25, 300))
    for ds, number in zip(datasets, numbers, strict=True):
        ds.InstanceNumber = number
    with tempfile.TemporaryDirectory() as folder:
        save(datasets, folder, [f"{place}.dcm" for place in order])
        storage = storage_at(Path(folder))
        header = read_series_header(storage, list(storage.names()), "s", str)
        found = read_voxels(storage, header, "s")
    np.testing.assert_array_equal(found, voxels)
    assert found.dtype == np.uint16 and found.flags.f_contiguous
    expected = affine_of(oblique, spacing, gap, (-20.5, 11.25, 300))
    np.testing.assert_allclose(header.grid.matrix, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_every_integer_type(dtype, tmp_path, read):
    voxels = volume(dtype=dtype, top=100) - np.asarray(50 if dtype[0] == "i" else 0, dtype)
    header, found = read(save(slices(voxels), tmp_path))
    np.testing.assert_array_equal(found, voxels)
    assert found.dtype == header.stored_dtype == dtype


@pytest.mark.parametrize("dtype, low", [("u2", 0), ("i2", -2048)])
def test_twelve_bits_in_sixteen_with_rubbish_above(dtype, low, tmp_path, read):
    voxels = (volume(top=4096).astype("i4") + low).astype(dtype)
    rubbish = (voxels.view("u2") & 0x0FFF | 0xA000).view(dtype)
    datasets = slices(rubbish, BitsStored=12, HighBit=11)
    header, found = read(save(datasets, tmp_path))
    np.testing.assert_array_equal(found, voxels)
    assert header.stored_dtype == dtype


def test_rescaling_is_each_slices_own(tmp_path, read):
    voxels = volume()
    datasets = slices(voxels)
    for z, ds in enumerate(datasets):
        ds.RescaleSlope, ds.RescaleIntercept = str(z + 0.5), str(-z)
    _, found = read(save(datasets, tmp_path))
    np.testing.assert_array_equal(found, voxels * (np.arange(4) + 0.5) - np.arange(4))


def test_a_whole_numbered_rescaling_stays_whole(tmp_path, read):
    datasets = slices(
        volume(), BitsStored=12, HighBit=11, RescaleSlope="1", RescaleIntercept="-1024"
    )
    header, found = read(save(datasets, tmp_path))
    np.testing.assert_array_equal(found, volume().astype("i2") - 1024)
    assert header.stored_dtype == np.int16


@pytest.mark.parametrize("dtype, total", [("u2", 65535), ("i2", -1), ("u1", 255)])
def test_monochrome1_is_inverted_over_all_that_its_bits_hold(dtype, total, tmp_path, read):
    voxels = volume(dtype=dtype, top=100)
    _, found = read(save(slices(voxels, PhotometricInterpretation="MONOCHROME1"), tmp_path))
    np.testing.assert_array_equal(found.astype("i4"), total - voxels.astype("i4"))


@pytest.mark.parametrize("dtype", ["u2", "i2", "u1"])
def test_big_endian(dtype, tmp_path, read):
    voxels = volume((6, 4, 4), dtype=dtype, top=100)
    datasets = slices(voxels)
    for ds in datasets:
        ds.PixelData = ds.PixelData if dtype == "u1" else swapped(ds.PixelData)
        if dtype == "u1":
            ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    _, found = read(save(datasets, tmp_path))
    np.testing.assert_array_equal(found, voxels)


def swapped(data):
    return np.frombuffer(data, "<u2").byteswap().tobytes()


def test_enhanced_multi_frame(tmp_path, read):
    voxels = volume()
    header, found = read(save([enhanced(voxels)], tmp_path))
    np.testing.assert_array_equal(found, voxels * 2 + np.arange(4, dtype="u2"))
    expected = affine_of(SAGITTAL, (0.7, 0.8), 4.0, (1, 2, 3))
    np.testing.assert_allclose(header.grid.matrix, expected, atol=1e-9)
    assert header.files[0].echo_time_ms == 100 and header.files[0].repetition_time_ms == 3000


def shift_slice(datasets, z, mm):
    normal = directions(SAGITTAL)[2]
    moved = np.array([float(v) for v in datasets[z].ImagePositionPatient]) + mm * normal
    datasets[z].ImagePositionPatient = list(moved)


def tilted(datasets):
    for z, ds in enumerate(datasets):
        ds.ImagePositionPatient[2] += 0.5 * z


def two_echoes(datasets):
    again = slices(volume(seed=1), SeriesInstanceUID=datasets[0].SeriesInstanceUID)
    for ds in again:
        ds.EchoTime = "80"
    for ds in datasets:
        ds.EchoTime = "20"
    datasets += again


def several_stacks(datasets):
    uid = datasets[0].SeriesInstanceUID
    datasets += slices(volume(), AXIAL, SeriesInstanceUID=uid)


def stray(datasets):
    datasets[1].SeriesInstanceUID = "1.2.3"


def unchecked(keyword, value):
    return pydicom.DataElement(keyword, "LO", [value, "0", "0"])


def every(keyword, value):
    def change(datasets):
        for ds in datasets:
            setattr(ds, keyword, value)

    return change


def one(keyword, value):
    return lambda datasets: setattr(datasets[1], keyword, value)


REFUSED = {
    "tilted gantry": tilted,
    "too few slices": lambda d: d.__delitem__(slice(1, None)),
    "misses slices.*\n.*1 missing": lambda d: d.__delitem__(4),
    "unevenly spaced": lambda d: shift_slice(d, 4, 0.3),
    "duplicate slices": lambda d: shift_slice(d, 4, -4.0),
    "copies of others": lambda d: d.append(d[2]),
    "several volumes.*\n.*2 echos": two_echoes,
    "several orientations": several_stacks,
    "several series": stray,
    "several sizes": lambda d: (setattr(d[1], "Rows", 4), setattr(d[1], "Columns", 7)),
    "several pixel spacings": one("PixelSpacing", [0.7, 0.9]),
    "frames of reference": one("FrameOfReferenceUID", "1.2.9"),
    "is not an image": every("Modality", "SR"),
    "is a localizer": every("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "a localizer": every("SeriesDescription", "3-plane scout"),
    "mosaic": every("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
    "no pixel data": lambda d: [ds.__delattr__("PixelData") for ds in d],
    "where its slices lie": lambda d: d[2].__delattr__("ImagePositionPatient"),
    "in colour": every("SamplesPerPixel", 3),
    "no plain grey": every("PhotometricInterpretation", "PALETTE COLOR"),
    "unusual number of bits": every("HighBit", 3),
    "rescaling": every("RescaleSlope", "0"),
    "truncated": every("Columns", 600),
    "too large": lambda d: [
        (setattr(ds, "Rows", 65535), setattr(ds, "Columns", 65535)) for ds in d
    ],
    "span no grid": every("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
    "grid": every("PixelSpacing", [0, 0]),
    "positions that are no numbers": lambda d: d[1].add(unchecked("ImagePositionPatient", "nan")),
    "cannot be read": lambda d: d[1].add(unchecked("ImagePositionPatient", SECRET)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_with_its_reason(reason, tmp_path, read):
    datasets = slices(volume((6, 5, 8)))
    REFUSED[reason](datasets)
    save(datasets, tmp_path)
    with pytest.raises(InputError, match=f"(?s){reason}"):
        read(tmp_path)


def test_uneven_within_the_tolerance_is_taken(tmp_path, read):
    datasets = slices(volume((6, 5, 8)))
    shift_slice(datasets, 4, 0.07)
    header, _ = read(save(datasets, tmp_path))
    assert header.grid.spacing_mm[2] == pytest.approx(4.0)


@pytest.mark.parametrize("size", [0, 1, 131, 132, 140, 400, 700, -1, -30])
def test_cut_files(size, tmp_path, read):
    folder = save(slices(volume()), tmp_path)
    path = folder / "2.dcm"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError):
        read(folder)


@pytest.mark.parametrize("name", ["compressed_j2k/001", "compressed_jpegls/001"])
@pytest.mark.real_data
def test_cut_compressed_files(name, tmp_path, read):
    folder = REAL / "generic" / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = next(iter(sorted(tmp_path.iterdir())))
    cut.write_bytes(cut.read_bytes()[:-20000])
    with pytest.raises(InputError, match="truncated"):
        read(tmp_path)


@settings(max_examples=30, deadline=None)
@given(place=st.integers(0, 1200), junk=st.binary(min_size=1, max_size=12))
def test_hostile_bytes_raise_nothing_but_input_errors(place, junk, hostile):
    path = hostile / "2.dcm"
    whole = (hostile / "whole").read_bytes()
    path.write_bytes(whole[:place] + junk + whole[place + len(junk) :])
    storage = storage_at(hostile)
    names = ["1.dcm", "2.dcm", "3.dcm", "4.dcm"]
    try:
        header = read_series_header(storage, names, "s", str)
        assert read_voxels(storage, header, "s").shape == header.grid.shape
    except InputError as error:
        assert error.__cause__ is None


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = save(slices(volume()), tmp_path_factory.mktemp("hostile"))
    (folder / "whole").write_bytes((folder / "2.dcm").read_bytes())
    return folder


def test_a_file_that_vanishes_between_header_and_voxels(tmp_path):
    folder = save(slices(volume()), tmp_path)
    storage = storage_at(folder)
    header = read_series_header(storage, list(storage.names()), "s", str)
    (folder / "2.dcm").unlink()
    with pytest.raises(MissingInputError):
        read_voxels(storage, header, "s")


def test_a_blank_series(tmp_path, read):
    with pytest.raises(VoxelError, match="blank"):
        read(save(slices(np.full((6, 5, 4), 7, "u2")), tmp_path))


def test_a_transfer_syntax_that_nobody_reads(tmp_path, read):
    datasets = slices(volume())
    for ds in datasets:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds["PixelData"].is_undefined_length = True
    with pytest.raises(InputError, match="not read"):
        read(save(datasets, tmp_path))


def test_deflated_is_refused_before_it_inflates(tmp_path, read):
    datasets = slices(volume())
    for ds in datasets:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    with pytest.raises(InputError, match="deflated"):
        read(save(datasets, tmp_path))
