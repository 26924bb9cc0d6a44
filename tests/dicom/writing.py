"""Small DICOM series with known voxels, written by pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SECRET = "Zebrafinch"


def volume(shape=(6, 5, 4), seed=0, dtype=np.uint16, top=4000):
    """(column, row, slice) random voxels."""
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def directions(orientation):
    """Row, column and normal of a slice."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return row, column, np.cross(row, column)


def affine_of(orientation, spacing, gap, origin):
    """The affine (RAS) that a series written with these must have."""
    row, column, normal = directions(orientation)
    lps = np.column_stack([row * spacing[1], column * spacing[0], normal * gap])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = lps, origin
    return np.diag([-1, -1, 1, 1]) @ affine


def slices(voxels, orientation=SAGITTAL, spacing=(0.7, 0.8), gap=4.0, origin=(1, 2, 3), **tags):
    """One data set a slice, in order along the normal; `tags` by keyword for all of them."""
    series = tags.pop("SeriesInstanceUID", generate_uid())
    study = tags.pop("StudyInstanceUID", generate_uid())
    normal = directions(orientation)[2]
    found = []
    for z in range(voxels.shape[2]):
        ds = base(MR, series, study)
        image(ds, voxels[:, :, z])
        ds.ImagePositionPatient = list(np.round(np.array(origin) + z * gap * normal, 9))
        ds.ImageOrientationPatient = list(np.round(orientation, 12))
        ds.PixelSpacing = list(spacing)
        ds.InstanceNumber = z + 1
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
        found.append(ds)
    return found


def base(sop_class, series, study, syntax=ExplicitVRLittleEndian):
    """A data set without image."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = series, study, "MR"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    return ds


def image(ds, plane):
    """Give a data set the voxels (column, row) of one slice, or (frame, row, column)."""
    rows = plane.T if plane.ndim == 2 else plane
    ds.Rows, ds.Columns = rows.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * rows.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(rows.dtype.kind == "i")
    ds.PixelData = np.ascontiguousarray(rows).tobytes()
    ds["PixelData"].VR = "OW"


def save(datasets, folder, names=None):
    """Write them; files ``1.dcm``, ``2.dcm`` … by default."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = names or [f"{n}.dcm" for n in range(1, len(datasets) + 1)]
    for ds, name in zip(datasets, names, strict=True):
        pydicom.dcmwrite(folder / name, ds, enforce_file_format=True)
    return folder


def enhanced(voxels, orientation=SAGITTAL, spacing=(0.7, 0.8), gap=4.0, origin=(1, 2, 3)):
    """One multi-frame file; frames shuffled, orientation shared, slopes per frame."""
    ds = base(ENHANCED_MR, generate_uid(), generate_uid())
    count = voxels.shape[2]
    order = np.random.default_rng(1).permutation(count)
    image(ds, np.ascontiguousarray(voxels.transpose(2, 1, 0)[order]))
    ds.NumberOfFrames = count
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(spacing)
    plane.ImageOrientationPatient = list(orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    echo, timing = Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = 100.0, 3000.0
    shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = [echo], [timing]
    ds.SharedFunctionalGroupsSequence = [shared]
    normal, groups = directions(orientation)[2], []
    for z in order:
        group, position, content, values = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = list(np.array(origin) + z * gap * normal)
        content.StackID = "1"
        values.RescaleSlope, values.RescaleIntercept = "2", str(int(z))
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [values]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    return ds


def sagittal_t2(seed=0, **tags):
    """A sagittal T2 series that its header gives away."""
    timed = {"EchoTime": "100", "RepetitionTime": "3500"} | tags
    return slices(volume(seed=seed), **timed)
