"""How does a series become DICOM files?

Plain, uncompressed MR images, one slice a file, with the geometry that ingest must find again. The
identifiers are made from a study's number: no person was scanned.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jobs.lumbar.chain import Vector
from jobs.lumbar.series import Series

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_ROOT = "1.2.826.0.1.3680043.8.498"
"""The root that pydicom gives to generated identifiers."""
_LPS = np.array([-1.0, -1.0, 1.0])


def write_series(series: Series, folder: Path, study_id: int, series_id: int) -> list[Path]:
    """Write a series as ``<instance>.dcm``, instances numbered from 1 in slice order.

    Parameters
    ----------
    series : Series
    folder : Path
        Made if absent.
    study_id, series_id : int

    Returns
    -------
    list of Path
        In slice order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(series.volume.shape[2]):
        path = folder / f"{k + 1}.dcm"
        _slice(series, k, study_id, series_id).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(series: Series, k: int, study_id: int, series_id: int) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

    study = f"{_ROOT}.{study_id}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{study}.{series_id}.{k + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(f"{_ROOT}.1")
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = f"{study}.{series_id}"
    image.FrameOfReferenceUID = f"{study}.0"
    image.PatientID = str(study_id)
    image.PatientName = f"Generated^{study_id}"
    image.Modality = "MR"
    image.SeriesDescription = series.description
    image.SeriesNumber = series_id % 1_000_000
    image.InstanceNumber = k + 1
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    image.ScanningSequence, image.SequenceVariant = "SE", "SK"
    times = {"T2": (3500.0, 100.0), "T1": (550.0, 10.0)}[series.weighting]
    image.RepetitionTime, image.EchoTime = times
    _set_geometry(image, series, k)
    _set_pixels(image, series, k)
    return image


def _set_geometry(image: FileDataset, series: Series, k: int) -> None:
    columns, rows, normal = (series.affine[:3, a] for a in range(3))
    position = series.affine[:3, 3] + k * normal
    spacing = (float(np.linalg.norm(rows)), float(np.linalg.norm(columns)))
    image.ImageOrientationPatient = [*_unit(columns * _LPS), *_unit(rows * _LPS)]
    image.ImagePositionPatient = [_decimal(v) for v in position * _LPS]
    image.PixelSpacing = [_decimal(v) for v in spacing]
    image.SliceThickness = _decimal(series.slice_mm)
    image.SpacingBetweenSlices = _decimal(float(np.linalg.norm(normal)))


def _unit(vector: Vector) -> list[str]:
    return [_decimal(v) for v in vector / np.linalg.norm(vector)]


def _decimal(value: float) -> str:
    """At most 16 characters, as decimal strings demand."""
    return f"{value:.10f}"[:16]


def _set_pixels(image: FileDataset, series: Series, k: int) -> None:
    plane = np.ascontiguousarray(series.volume[:, :, k].T, dtype="<i2")
    image.Rows, image.Columns = plane.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 1
    high = float(np.percentile(series.volume[:, :, ::4], 99.5))
    image.WindowCenter, image.WindowWidth = _decimal(high / 2), _decimal(max(high, 1.0))
    image.PixelData = plane.tobytes()
