"""How fast is a DICOM series read, against a loop that opens, sorts and stacks each file?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.timing import Row, compared
from jobs.dicom.pixels import read_voxels
from jobs.dicom.series import SeriesHeader, read_series_header
from jobs.dicom.storage import storage_at

SLICES, EDGE, STUDIES = 20, 512, 10
OTHER_ELEMENTS = 160
"""Further elements of each header: a clinical MR file has two hundred or so in all."""


def rows(work: Path) -> Iterator[Row]:
    """A series of 20 slices of 512 × 512, and the headers of ten such series."""
    folders = [_written(work / str(number), number) for number in range(STUDIES)]
    one = folders[0]
    np.testing.assert_array_equal(ours(one).transpose(2, 1, 0), theirs(one))
    yield compared(
        f"read a DICOM series, {EDGE}×{EDGE}×{SLICES} uint16", lambda: ours(one),
        "pydicom.dcmread each file, sort, stack", lambda: theirs(one), "", rounds=9,
    )  # fmt: skip
    yield compared(
        f"headers of {STUDIES} series, {SLICES * STUDIES} files",
        lambda: [header(folder) for folder in folders],
        "pydicom.dcmread(stop_before_pixels), sort",
        lambda: [their_header(folder) for folder in folders], "", rounds=7,
    )  # fmt: skip


def header(folder: Path) -> SeriesHeader:
    """Headers of a series, every check made."""
    storage = storage_at(folder)
    return read_series_header(storage, list(storage.names()), "series", str)


def ours(folder: Path) -> NDArray[np.uint16]:
    """Voxels of a series, every check made; (column, row, slice)."""
    return read_voxels(storage_at(folder), header(folder), "series")


def theirs(folder: Path) -> NDArray[np.uint16]:
    """(slice, row, column) by the plain loop, no check at all."""
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    files.sort(key=lambda ds: -float(ds.ImagePositionPatient[0]))
    return np.stack([ds.pixel_array for ds in files])


def their_header(folder: Path) -> list[tuple[list[float], list[float], list[float]]]:
    """What an affine needs, by the plain loop."""
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    files.sort(key=lambda ds: -float(ds.ImagePositionPatient[0]))
    return [(ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing) for ds in files]


def _written(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    uid = generate_uid()
    for z in draw.permutation(SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID = ds.SeriesInstanceUID = uid
        ds.Modality, ds.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M"]
        ds.ImagePositionPatient = [-40 + 4.4 * float(z), -100, 100]
        ds.ImageOrientationPatient, ds.PixelSpacing = [0, 1, 0, 0, 0, -1], [0.6, 0.6]
        ds.Rows = ds.Columns = EDGE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        block = ds.private_block(0x0019, "LAMSTORE BENCH", create=True)
        for number in range(OTHER_ELEMENTS):
            block.add_new(number, "LO", f"value {number}")
        ds.PixelData = draw.integers(0, 4096, (EDGE, EDGE), np.uint16).tobytes()
        ds["PixelData"].VR = "OW"
        pydicom.dcmwrite(folder / f"{z}.dcm", ds, enforce_file_format=True)
    return folder
