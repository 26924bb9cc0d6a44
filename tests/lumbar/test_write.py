"""Do the written files give back the volume, its place and its labels?"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from jobs.lumbar import (
    Kind,
    Lumbar,
    LumbarStudy,
    default_lumbar_cohort,
    generate_lumbar,
    write_centroids,
    write_rsna,
)
from jobs.lumbar.series import study_series
from lamstore.errors import ConfigError


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Volume, RAS affine and headers of a series, from the tags alone."""
    images = [pydicom.dcmread(p) for p in folder.iterdir()]
    cosines = np.array(images[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    images.sort(key=lambda i: float(normal @ np.array(i.ImagePositionPatient, float)))
    positions = np.array([i.ImagePositionPatient for i in images], float)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * float(images[0].PixelSpacing[1])
    affine[:3, 1] = cosines[3:] * float(images[0].PixelSpacing[0])
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(images) - 1)
    affine[:3, 3] = positions[0]
    volume = np.stack([i.pixel_array.T for i in images], axis=2)
    return volume, np.diag([-1, -1, 1, 1]) @ affine, images


def test_every_series_comes_back(written: Path, cohort: list[LumbarStudy]) -> None:
    study = cohort[1]
    listed = [
        r
        for r in rows(written / "train_series_descriptions.csv")
        if r["study_id"] == str(study.study_id)
    ]
    expected = {s.description: s for s in study_series(generate_lumbar(study.spec))}
    assert {r["series_description"] for r in listed} == set(expected)
    for row in listed:
        folder = written / "train_images" / row["study_id"] / row["series_id"]
        volume, affine, images = read(folder)
        series = expected[row["series_description"]]
        np.testing.assert_array_equal(volume, series.volume)
        np.testing.assert_allclose(affine, series.affine, atol=1e-5)
        assert len({i.SeriesInstanceUID for i in images}) == 1
        assert len({i.SOPInstanceUID for i in images}) == len(images)


def test_landmarks_in_pixels_and_millimetres_agree(
    written: Path, cohort: list[LumbarStudy]
) -> None:
    table = rows(written / "train_label_coordinates.csv")
    assert len(table) == 5 * len(cohort)
    for row in table:
        folder = written / "train_images" / row["study_id"] / row["series_id"]
        image = pydicom.dcmread(folder / f"{row['instance_number']}.dcm")
        assert image.SeriesDescription == "Sagittal T2/STIR"
        cosines = np.array(image.ImageOrientationPatient, float)
        spacing = float(image.PixelSpacing[0])
        point = np.array(image.ImagePositionPatient, float)
        point = point + spacing * (float(row["x"]) * cosines[:3] + float(row["y"]) * cosines[3:])
        truth = [float(row[f"{c}_mm"]) for c in ("right", "anterior", "superior")]
        away = point * [-1, -1, 1] - truth
        # Only across the slices may the truth lie off its nearest slice.
        assert np.linalg.norm(away) <= float(image.SpacingBetweenSlices) / 2 + 1e-3
        assert abs(cosines[:3] @ (away * [-1, -1, 1])) < 1e-2


def test_labels_and_ids(written: Path, cohort: list[LumbarStudy]) -> None:
    labels = {int(r["study_id"]): r for r in rows(written / "labels.csv")}
    train, valid = (np.load(written / f"{s}_id.npy") for s in ("train", "valid"))
    assert not set(train) & set(valid)
    assert set(train) | set(valid) == set(labels)
    assert [labels[int(i)]["lstv"] for i in train] == ["0"]
    assert [labels[int(i)]["lstv"] for i in valid] == ["0", "1", "1"]
    for study in cohort:
        assert labels[study.study_id]["castellvi"] == study.spec.castellvi


def test_splits_share_neither_ids_nor_seeds() -> None:
    cohort = default_lumbar_cohort(5, 7, seed=2, n_train=6)
    by_split = {s: [c for c in cohort if c.split == s] for s in ("train", "valid")}
    assert [len(v) for v in by_split.values()] == [6, 12]
    assert {c.spec.kind for c in by_split["train"]} == {"normal"}
    assert sum(c.spec.lstv for c in by_split["valid"]) == 7
    assert len({c.study_id for c in cohort}) == len({c.spec.seed for c in cohort}) == len(cohort)
    other = default_lumbar_cohort(5, 7, seed=3, n_train=6)
    assert not {c.spec.seed for c in cohort} & {c.spec.seed for c in other}


@pytest.mark.parametrize("counts", [(0, 0), (-1, 3)])
def test_an_impossible_cohort_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="cannot be generated"):
        default_lumbar_cohort(*counts)


def test_a_study_that_comes_twice_is_refused(cohort: list[LumbarStudy], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_rsna([cohort[0], cohort[0]], tmp_path)


def test_centroids_are_voxels_of_the_image(by_kind: dict[Kind, Lumbar], tmp_path: Path) -> None:
    lumbar = by_kind["normal"]
    path = write_centroids(lumbar, tmp_path, 7)
    assert path.name == "sub-7_ses-1_ctd.json"
    head, *points = json.loads(path.read_text())
    assert head == {"direction": ["P", "I", "R"]}
    found = {p["label"]: lumbar.affine @ [p["X"], p["Y"], p["Z"], 1] for p in points}
    assert len(found) == len(lumbar.centroids)
    for label, name in ((20, "L1"), (24, "L5"), (26, "S1")):
        np.testing.assert_allclose(found[label][:3], lumbar.centroids[name], atol=1e-6)
