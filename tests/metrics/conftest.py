"""Fixtures for metrics: the plain scipy reference, real masks, random blobs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

DATA = Path(__file__).resolve().parents[2] / "../shared/data/open_ms_data"


@pytest.fixture(scope="session")
def reference():
    """tests/metrics/reference.py, loaded by path: test folders are not packages."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("metrics_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def blobs():
    """Seeded random lesion-like (x, y, z) bool masks: blobs(seed, shape, share)."""

    def make(seed, shape=(24, 21, 15), share=0.06):
        noise = np.random.default_rng(seed).normal(size=shape)
        smooth = ndimage.gaussian_filter(noise, 1.0)
        return smooth > np.quantile(smooth, 1 - share)

    return make


@pytest.fixture(scope="session")
def gold_standards():
    """The three largest real consensus lesion masks: list of ((x, y, z) bool, affine)."""
    paths = sorted(DATA.glob("cross_sectional/MNI/patient*/GOLD_STANDARD*"))
    if not paths:
        pytest.skip(f"no open_ms_data at {DATA}")
    images = [nib.load(path) for path in sorted(paths, key=lambda path: path.stat().st_size)[-3:]]
    return [(np.asarray(image.dataobj) > 0, image.affine) for image in images]


@pytest.fixture(scope="session")
def longitudinal_patient():
    """A real pair: dict of flair0, flair1, brain, truth, affine."""
    folder = DATA / "longitudinal/coregistered/patient01"
    if not folder.is_dir():
        pytest.skip(f"no open_ms_data at {DATA}")

    def load(name):
        return nib.load(folder / f"{name}.nii.gz")

    brain = load("brainmask")
    return {
        "flair0": np.ascontiguousarray(load("study1_FLAIR").get_fdata(dtype=np.float32)),
        "flair1": np.ascontiguousarray(load("study2_FLAIR").get_fdata(dtype=np.float32)),
        "brain": np.ascontiguousarray(np.asarray(brain.dataobj) > 0),
        "truth": np.ascontiguousarray(np.asarray(load("gt").dataobj) > 0),
        "affine": brain.affine,
    }
