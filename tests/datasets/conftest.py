"""Tiny cohorts on disk, with known voxels."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (6, 7, 5)
AFFINE = np.array([[-0.7, 0, 0, 20], [0, 0.8, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def shape():
    return SHAPE


@pytest.fixture
def affine():
    return AFFINE.copy()


@pytest.fixture
def write():
    """write(path, array=None, affine=None): a NIfTI file; random uint16 by default."""

    def write(path, array=None, affine=None):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if array is None:
            seed = sum(path.name.encode())
            array = np.random.default_rng(seed).integers(1, 1000, SHAPE, dtype=np.uint16)
        image = nib.Nifti1Image(array, AFFINE if affine is None else affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
        return path

    return write


@pytest.fixture
def mask():
    """mask(): a box of ones in the grid's middle, uint8."""

    def mask(dtype=np.uint8):
        box = np.zeros(SHAPE, dtype)
        box[1:-1, 1:-1, 1:-1] = 1
        return box

    return mask


@pytest.fixture
def pair(write, mask):
    """pair(folder): one open-ms patient with every file; gives the folder."""

    def pair(folder):
        folder = Path(folder)
        for study in ("study1", "study2"):
            for name in ("FLAIR", "T1W", "T2W"):
                write(folder / f"{study}_{name}.nii.gz")
            write(folder / f"{study}_lesions.nii.gz", mask())
        write(folder / "brainmask.nii.gz", mask())
        write(folder / "gt.nii.gz", mask() * 0)
        return folder

    return pair


@pytest.fixture
def cohort(pair, tmp_path):
    """cohort(): root of an open-ms tree with patient01 and patient02."""

    def cohort():
        root = tmp_path / "root"
        for name in ("patient01", "patient02"):
            pair(root / "coregistered" / name)
        return root

    return cohort


@pytest.fixture(scope="session")
def real():
    """Root of the real open_ms_data."""
    root = Path(__file__).resolve().parents[2] / "../shared/data/open_ms_data"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    return root.resolve()


@pytest.fixture
def truncate():
    """truncate(path): keep the first half of a file's bytes."""

    def truncate(path):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])

    return truncate


@pytest.fixture
def patch_bytes():
    """patch_bytes(path, offset, new): overwrite bytes of a gzipped or plain file's content."""

    def patch_bytes(path, offset, new):
        zipped = path.name.endswith(".gz")
        data = bytearray(gzip.decompress(path.read_bytes()) if zipped else path.read_bytes())
        data[offset : offset + len(new)] = new
        path.write_bytes(gzip.compress(bytes(data)) if zipped else bytes(data))

    return patch_bytes
