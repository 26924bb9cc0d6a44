"""How does a generated cohort come onto disk: as an open_ms_data tree, or as BIDS?

The only part of the phantom that touches files. The same subjects give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jobs.datasets.model import TIMEPOINTS
from jobs.phantom.subject import PhantomSubject
from lamstore.grid import Grid

_OPEN_MS = {"flair": "FLAIR", "t1w": "T1W"}
_BIDS = {"flair": "FLAIR", "t1w": "T1w"}
_PIPELINE = "lamstore-phantom"
_MASK_TYPES = {"desc-brain": "Brain", "label-lesion": "Lesion", "label-change": "Lesion"}


def write_open_ms(subjects: Iterable[PhantomSubject], root: Path) -> Path:
    """Write subjects in the layout of open_ms_data's coregistered longitudinal set.

    ``root/longitudinal/coregistered/<subject>/`` holds ``study1_FLAIR``, ``study1_T1W``,
    ``study2_…``, ``brainmask`` and ``gt`` (the change truth), and beside them what open_ms_data
    lacks: ``study1_lesions`` and ``study2_lesions``; all ``.nii.gz``.

    Parameters
    ----------
    subjects : iterable of PhantomSubject
        Written one by one, so a generator keeps one subject in memory.
    root : Path

    Returns
    -------
    Path
        `root`.
    """
    for subject in subjects:
        folder = root / "longitudinal" / "coregistered" / subject.spec.subject
        folder.mkdir(parents=True, exist_ok=True)
        for study, timepoint in enumerate(TIMEPOINTS, start=1):
            for modality, name in _OPEN_MS.items():
                path = folder / f"study{study}_{name}.nii.gz"
                _save(subject.images[timepoint, modality], subject.grid, path)
            lesions = subject.lesion_truth[timepoint]
            _save(lesions, subject.grid, folder / f"study{study}_lesions.nii.gz")
        _save(subject.brainmask, subject.grid, folder / "brainmask.nii.gz")
        _save(subject.change_truth, subject.grid, folder / "gt.nii.gz")
    return root


def write_bids(subjects: Iterable[PhantomSubject], root: Path) -> Path:
    """Write subjects as a raw BIDS dataset with sessions; masks go to its derivatives.

    Images are ``sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz`` and ``…_T1w.nii.gz``. Below
    ``derivatives/lamstore-phantom`` each session has ``…_desc-brain_mask`` and
    ``…_label-lesion_mask``, each subject ``anat/sub-01_label-change_mask``.

    Parameters
    ----------
    subjects : iterable of PhantomSubject
    root : Path

    Returns
    -------
    Path
        `root`.
    """
    derivative = root / "derivatives" / _PIPELINE
    derivative.mkdir(parents=True, exist_ok=True)
    labels = []
    for subject in subjects:
        labels.append(_bids_label(subject.spec.subject))
        _write_bids_subject(subject, labels[-1], root, derivative)
    _write_bids_descriptions(labels, root, derivative)
    return root


def _write_bids_subject(subject: PhantomSubject, label: str, root: Path, derivative: Path) -> None:
    for session, timepoint in enumerate(TIMEPOINTS, start=1):
        stem = f"{label}_ses-{session:02d}"
        anat = Path(label) / f"ses-{session:02d}" / "anat"
        for folder in (root / anat, derivative / anat):
            folder.mkdir(parents=True, exist_ok=True)
        for modality, suffix in _BIDS.items():
            path = root / anat / f"{stem}_{suffix}.nii.gz"
            _save(subject.images[timepoint, modality], subject.grid, path)
        masks = {"desc-brain": subject.brainmask, "label-lesion": subject.lesion_truth[timepoint]}
        for entity, mask in masks.items():
            _save(mask, subject.grid, derivative / anat / f"{stem}_{entity}_mask.nii.gz")
    folder = derivative / label / "anat"
    folder.mkdir(exist_ok=True)
    _save(subject.change_truth, subject.grid, folder / f"{label}_label-change_mask.nii.gz")


def _write_bids_descriptions(labels: list[str], root: Path, derivative: Path) -> None:
    raw = {"Name": "lamstore phantom cohort", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
    made_by = [{"Name": _PIPELINE, "Description": "Procedural brain phantom with known lesions"}]
    _save_json(raw | {"License": "CC0", "GeneratedBy": made_by}, root / "dataset_description.json")
    derived = raw | {"DatasetType": "derivative", "GeneratedBy": made_by}
    _save_json(derived, derivative / "dataset_description.json")
    for entity, kind in _MASK_TYPES.items():
        _save_json({"Type": kind}, derivative / f"{entity}_mask.json")
    (root / "participants.tsv").write_text("\n".join(["participant_id", *labels]) + "\n")
    (root / "README").write_text(
        "A generated cohort: no person was scanned. Each subject has two sessions; the masks in\n"
        f"derivatives/{_PIPELINE} are the truth that the images were generated from.\n"
    )


def _bids_label(subject: str) -> str:
    """``patient01`` to ``sub-01``; BIDS labels hold letters and digits only."""
    return "sub-" + "".join(c for c in subject.removeprefix("patient") if c.isalnum())


def _save(array: NDArray[Any], grid: Grid, path: Path) -> None:
    """Write an (x, y, z) image as uint16, a mask as uint8."""
    voxels = array.astype(np.uint8) if array.dtype == np.bool_ else array
    image = nib.Nifti1Image(voxels, grid.matrix)  # type: ignore[no-untyped-call]
    image.set_sform(grid.matrix, code="scanner")  # type: ignore[no-untyped-call]
    image.set_qform(grid.matrix, code="scanner")  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    nib.save(image, path)


def _save_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
