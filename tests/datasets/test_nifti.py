"""Does every NIfTI file read as nibabel reads it, or fail with words that help?"""

from __future__ import annotations

import gzip
import math
import pickle
import struct
from fractions import Fraction

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.nifti import read_header, read_volume
from jobs.nifti_dtype import stored_dtype
from lamstore.errors import GridError, MissingInputError, UnreadableInputError, VoxelError

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
KEEP = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def read(path, subject="anna"):
    return read_volume(path, read_header(path, subject), subject)


def fails(error, path, *words):
    with pytest.raises(error) as caught:
        read(path)
    text = str(caught.value)
    assert "anna" in text and path.name in text
    assert "got:" in text and "expected:" in text and "try:" in text
    for word in words:
        assert word in text


@st.composite
def images(draw):
    dtype = np.dtype(draw(st.sampled_from("<>")) + draw(st.sampled_from(TYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=3, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        array = rng.normal(0, 1000, shape)
    else:
        limits = np.iinfo(dtype)
        low, high = max(limits.min, -(2**53)), min(limits.max, 2**53)
        array = rng.integers(low, high, shape, endpoint=True)
        array.flat[0], array.flat[-1] = low, high
    slopes = st.sampled_from([0.0, math.nan, 1.0, 2.0, 0.5, -3.0, 0.1, 1e-3, 2.0**-20, 1e6])
    inters = st.sampled_from([0.0, -1024.0, 0.25, 1 / 3, 1e5])
    return array.astype(dtype), draw(slopes), draw(inters)


@KEEP
@given(
    images(),
    st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    st.sampled_from(["a.nii", "a.nii.gz"]),
)
def test_reads_what_nibabel_reads(tmp_path, image, kind, name):
    array, slope, inter = image
    path = tmp_path / name
    header = kind.header_class(endianness=array.dtype.str[0].replace("|", "<"))
    header.set_data_dtype(array.dtype)
    made = kind(array, np.diag([-1.0, 2, 3, 1]), header)
    made.header["qform_code"] = 1
    nib.save(made, path)
    # nibabel computes its own scaling when it saves, so the wanted one is put in afterwards.
    opened = gzip.open if name.endswith("gz") else open
    with opened(path, "rb") as file:
        data = bytearray(file.read())
    order = made.header.endianness
    at, code = (112, "ff") if kind is nib.Nifti1Image else (176, "dd")
    struct.pack_into(order + code, data, at, slope, inter)
    with opened(path, "wb") as file:
        file.write(data)

    found = read(path)
    np.testing.assert_array_equal(found, nib.load(path).get_fdata())
    head = read_header(path, "anna")
    assert found.dtype == head.stored_dtype and found.dtype.isnative
    assert found.flags.f_contiguous and found.flags.writeable
    np.testing.assert_array_equal(head.grid.matrix, nib.load(path).affine)
    assert pickle.loads(pickle.dumps(head)) == head


@KEEP
@given(
    st.sampled_from(TYPES[:6]),
    st.floats(-1e4, 1e4, width=32).filter(bool),
    st.floats(-1e6, 1e6, width=32),
    st.integers(0, 2**32 - 1),
)
def test_stored_type_below_float64_is_exact(name, slope, inter, seed):
    limits = np.iinfo(name)
    stored = stored_dtype(np.dtype(name), slope, inter)
    values = [
        limits.min,
        limits.max,
        *np.random.default_rng(seed).integers(limits.min, limits.max, 8),
    ]
    for value in values:
        exact = Fraction(slope) * int(value) + Fraction(inter)
        if stored.kind in "iu":
            assert exact.denominator == 1
            assert np.iinfo(stored).min <= exact <= np.iinfo(stored).max
        elif stored == np.float32:
            assert Fraction(float(np.float32(float(exact)))) == exact


@pytest.mark.parametrize(
    ("disk", "slope", "inter", "stored"),
    [
        ("u1", 1, 0, "u1"),
        (">u2", 1, 0, "u2"),
        ("i8", 1, 0, "f8"),
        ("u1", 1, -1, "i2"),
        ("u2", 1, -1024, "i4"),
        ("u1", 2, 0, "u2"),
        ("u2", 0.5, 0, "f4"),
        ("i2", 2**-10, 2**15, "f8"),
        ("i2", 2**-10, 0, "f4"),
        ("i2", 0.1, 0, "f8"),
        ("f4", 2, 0, "f8"),
    ],
)
def test_smallest_exact_type(disk, slope, inter, stored):
    assert stored_dtype(np.dtype(disk), float(slope), float(inter)) == np.dtype(stored)


def test_trailing_axes_of_length_one_are_dropped(tmp_path, write, shape):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(*shape, 1, 1)
    found = read(write(tmp_path / "a.nii.gz", array))
    np.testing.assert_array_equal(found, array[..., 0, 0])


@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz")])
def test_pairs(tmp_path, shape, affine, names):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Pair(array, affine), tmp_path / names[1])
    np.testing.assert_array_equal(read(tmp_path / names[0]), array)
    (tmp_path / names[1]).unlink()
    fails(MissingInputError, tmp_path / names[0], "a.img")


def test_name_does_not_decide_about_gzip(tmp_path, write):
    path = write(tmp_path / "a.nii.gz")
    plain = tmp_path / "plain.nii.gz"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    np.testing.assert_array_equal(read(plain), read(path))


def test_several_gzip_members_and_a_long_comment(tmp_path, write):
    path = write(tmp_path / "a.nii.gz")
    expected, data = read(path), gzip.decompress(path.read_bytes())
    members = gzip.compress(data[:100]) + gzip.compress(data[100:700]) + gzip.compress(data[700:])
    path.write_bytes(members)
    np.testing.assert_array_equal(read(path), expected)
    body = gzip.compress(data)
    named = body[:3] + bytes([body[3] | 8]) + body[4:10] + b"n" * 6000 + b"\0" + body[10:]
    path.write_bytes(named)
    np.testing.assert_array_equal(read(path), expected)


@pytest.mark.parametrize("name", ["with space.nii.gz", 'it\'s "quoted".nii.gz', "Ärztin 脳.nii.gz"])
def test_any_path(tmp_path, write, name):
    path = write(tmp_path / "dir é" / name)
    np.testing.assert_array_equal(read(path), nib.load(path).get_fdata())
    path.write_bytes(b"no")
    fails(UnreadableInputError, path)


def test_missing(tmp_path):
    fails(MissingInputError, tmp_path / "a.nii.gz")


def test_folder(tmp_path):
    fails(UnreadableInputError, tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"hello " * 500, gzip.compress(b"hello " * 500)],
    # Not the bytes: gzip writes the time into them, and processes must collect the same names.
    ids=["empty", "short", "text", "gzipped text"],
)
def test_not_a_nifti(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    fails(UnreadableInputError, path, "not a NIfTI file")


@pytest.mark.parametrize("keep", [5, 30, 0.5, -1, -8])
def test_truncated_gzip(tmp_path, write, keep):
    path = write(tmp_path / "a.nii.gz")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    fails(UnreadableInputError, path, "truncated")


def test_damaged_gzip(tmp_path, write):
    path = write(tmp_path / "a.nii.gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # the checksum
    path.write_bytes(data)
    fails(UnreadableInputError, path)


def test_truncated_voxels(tmp_path, write, patch_bytes):
    plain = write(tmp_path / "a.nii")
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(UnreadableInputError, match="truncated"):
        read_header(plain, "anna")
    zipped = write(tmp_path / "b.nii.gz")
    zipped.write_bytes(gzip.compress(gzip.decompress(zipped.read_bytes())[:-1]))
    fails(UnreadableInputError, zipped, "truncated", "419 bytes", "420")


def test_header_that_claims_too_much_allocates_nothing(tmp_path, write, patch_bytes):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 40, struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1))
    with pytest.raises(UnreadableInputError, match="truncated"):
        read_header(path, "anna")


@pytest.mark.parametrize(
    "dims", [(4, 6, 7, 5, 2), (5, 6, 7, 5, 1, 3), (2, 6, 7, 1), (0, 6, 7, 5), (9, 6, 7, 5)]
)
def test_not_three_axes(tmp_path, write, patch_bytes, dims):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 40, struct.pack(f"<{len(dims)}h", *dims))
    fails(GridError, path)


@pytest.mark.parametrize("n", [0, -3])
def test_no_voxels(tmp_path, write, patch_bytes, n):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 42, struct.pack("<h", n))
    fails(GridError, path, "no voxels")


@pytest.mark.parametrize("dtype", [[("R", "u1"), ("G", "u1"), ("B", "u1")], np.complex64])
def test_not_one_number_a_voxel(tmp_path, write, shape, dtype):
    fails(UnreadableInputError, write(tmp_path / "a.nii.gz", np.zeros(shape, dtype)), "datatype")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(tmp_path, write, shape, dtype, bad):
    array = np.ones(shape, dtype)
    array[2, 3, 4] = bad
    fails(VoxelError, write(tmp_path / "a.nii.gz", array), "of 210")


def test_large_finite_values_are_fine(tmp_path, write, shape):
    array = np.full(shape, np.finfo("f4").max, "f4")
    np.testing.assert_array_equal(read(write(tmp_path / "a.nii", array)), array)


@pytest.mark.parametrize(("dtype", "value"), [("i8", -(2**53) - 1), ("u8", 2**64 - 1)])
def test_integers_beyond_float64(tmp_path, affine, shape, dtype, value):
    array = np.zeros(shape, dtype)
    array[0, 0, 0] = value
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(array, affine, dtype=dtype), path)
    fails(VoxelError, path, "2**53")


def test_no_orientation(tmp_path, write, patch_bytes):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 252, struct.pack("<hh", 0, 0))
    fails(GridError, path, "oriented")


def test_qform_alone_is_enough(tmp_path, write, patch_bytes):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 252, struct.pack("<hh", 1, 0))
    assert nib.load(path).header["sform_code"] == 0
    np.testing.assert_array_equal(read_header(path, "anna").grid.matrix, nib.load(path).affine)


@pytest.mark.parametrize("row", [(0, 0, 0, 5), (math.nan, 0, 0, 0), (math.inf, 0, 0, 0)])
def test_affine_without_inverse(tmp_path, write, patch_bytes, row):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 280, struct.pack("<4f", *row))
    fails(GridError, path, "without inverse")


def test_qform_that_is_no_rotation(tmp_path, write, patch_bytes):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 252, struct.pack("<hh3f", 1, 0, 5, 5, 5))
    fails(GridError, path, "without inverse")


def test_scaling_that_cannot_be_applied(tmp_path, write, patch_bytes):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 112, struct.pack("<ff", math.inf, 0))
    fails(UnreadableInputError, path, "scl_slope")


def test_voxels_inside_the_header(tmp_path, write, patch_bytes):
    path = write(tmp_path / "a.nii.gz")
    patch_bytes(path, 108, struct.pack("<f", 100))
    fails(UnreadableInputError, path, "vox_offset")


@pytest.mark.real_data
def test_real_files_read_as_nibabel_reads_them(real):
    files = sorted(real.glob("longitudinal/*/patient01/*.nii.gz"))
    files += sorted(real.glob("cross_sectional/MNI/patient07/*.nii.gz"))
    assert len(files) == 20
    for path in files:
        np.testing.assert_array_equal(read(path), np.asanyarray(nib.load(path).dataobj))
