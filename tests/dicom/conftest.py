"""What reads a folder of DICOM files in one step."""

from __future__ import annotations

import pytest

from jobs.dicom.pixels import read_voxels
from jobs.dicom.series import read_series_header
from jobs.dicom.storage import storage_at


@pytest.fixture
def read():
    """read(folder): header and voxels of the one series in it."""

    def read(folder):
        storage = storage_at(folder)
        header = read_series_header(storage, list(storage.names()), "series s", str)
        return header, read_voxels(storage, header, "series s")

    return read
