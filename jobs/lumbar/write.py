"""How does a generated cohort come onto disk: as the RSNA 2024 lumbar challenge lays it out?

The only part of the generator that touches files. The same cohort gives the same bytes. Studies
are generated one by one, so that memory holds a single one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jobs.heatmaps import LEVELS
from jobs.lumbar.centroids import write_centroids
from jobs.lumbar.dicom import write_series
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import Lumbar, generate_lumbar
from jobs.lumbar.series import Series, study_series
from jobs.lumbar.spec import Kind, LumbarSpec
from lamstore.errors import ConfigError

Split = Literal["train", "valid"]

_LSTV_KINDS: tuple[Kind, ...] = (
    "sacralized",
    "lumbarized",
    "four_lumbar",
    "sacralized",
    "lumbarized",
    "six_lumbar",
)
_FIRST_STUDY = 100_000
_EVALUATION_SEEDS = 500_000
"""Evaluation studies draw from their own seeds, so that no training seed can be among them."""


@dataclass(frozen=True)
class LumbarStudy:
    """One study of a cohort.

    Attributes
    ----------
    study_id : int
    split : {"train", "valid"}
    spec : LumbarSpec
    """

    study_id: int
    split: Split
    spec: LumbarSpec


def default_lumbar_cohort(
    n_normal: int, n_lstv: int, seed: int = 0, n_train: int = 0
) -> list[LumbarStudy]:
    """Normals and LSTV cases for evaluation, and normals for training.

    Parameters
    ----------
    n_normal, n_lstv : int
        Evaluation studies; LSTV cases take the kinds in turn.
    seed : int
        0 to 999.
    n_train : int
        Training studies, all normal.

    Returns
    -------
    list of LumbarStudy
        Training first; ids are unique, and disjoint between the splits, as are the seeds.

    Raises
    ------
    ConfigError
        For a negative number or a seed out of range.
    """
    counts = (n_normal, n_lstv, n_train)
    enough = min(counts) >= 0 and 1 <= sum(counts) < _EVALUATION_SEEDS
    if not enough or not 0 <= seed < 1000:
        raise ConfigError(
            "this lumbar cohort cannot be generated",
            got=f"n_normal={n_normal}, n_lstv={n_lstv}, n_train={n_train}, seed={seed}",
            expected="numbers of at least 0, one study or more, a seed of 0 to 999",
        )
    base = seed * 2 * _EVALUATION_SEEDS
    kinds: list[Kind] = ["normal"] * n_normal
    kinds += [_LSTV_KINDS[i % len(_LSTV_KINDS)] for i in range(n_lstv)]
    plan: list[tuple[Split, int, Kind]] = [("train", base + i, "normal") for i in range(n_train)]
    plan += [("valid", base + _EVALUATION_SEEDS + i, kind) for i, kind in enumerate(kinds)]
    return [
        LumbarStudy(_FIRST_STUDY + i, split, draw_spec(drawn, kind))
        for i, (split, drawn, kind) in enumerate(plan)
    ]


def write_rsna(cohort: Iterable[LumbarStudy], folder: Path) -> Path:
    """Write a cohort in the layout of the RSNA 2024 lumbar spine challenge.

    ``train_images/<study_id>/<series_id>/<instance>.dcm``; ``train_series_descriptions.csv``;
    ``train_label_coordinates.csv``, whose x and y are pixels of the slice `instance_number` that
    is nearest to a level, with RAS mm beside them; ``labels.csv``; ``train_id.npy`` and
    ``valid_id.npy``, the study ids of the two splits; beside what the challenge has,
    ``centroids/sub-<study_id>_ses-1_ctd.json``. The challenge calls the folder ``train_images``
    whatever the split.

    Parameters
    ----------
    cohort : iterable of LumbarStudy
        A study id that comes twice is an error.
    folder : Path
        Made if absent.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    ConfigError
        For a study id that comes twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptions: list[dict[str, Any]] = []
    coordinates: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    ids: dict[str, list[int]] = {"train": [], "valid": []}
    for study in cohort:
        if study.study_id in (*ids["train"], *ids["valid"]):
            raise ConfigError(
                "this lumbar cohort cannot be written",
                got=f"study {study.study_id} twice",
                expected="every study id once",
            )
        lumbar = generate_lumbar(study.spec)
        for number, series in _numbered(study.study_id, lumbar):
            target = folder / "train_images" / str(study.study_id) / str(number)
            write_series(series, target, study.study_id, number)
            descriptions.append(_description(study.study_id, number, series))
            if series.volume is lumbar.volume:
                coordinates += _coordinates(study.study_id, number, lumbar)
        write_centroids(lumbar, folder / "centroids", study.study_id)
        labels.append(_label(study))
        ids[study.split].append(study.study_id)
    _write_csv(descriptions, folder / "train_series_descriptions.csv")
    _write_csv(coordinates, folder / "train_label_coordinates.csv")
    _write_csv(labels, folder / "labels.csv")
    for split, numbers in ids.items():
        np.save(folder / f"{split}_id.npy", np.array(numbers, np.int64))
    return folder


def _numbered(study_id: int, lumbar: Lumbar) -> list[tuple[int, Series]]:
    """Series with their ids; which number the sagittal T2 gets differs between studies."""
    series = study_series(lumbar)
    numbers = np.random.default_rng([lumbar.spec.seed, 30]).permutation(len(series))
    return [(study_id * 10 + int(n), s) for n, s in zip(numbers, series, strict=True)]


def _description(study_id: int, number: int, series: Series) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "series_id": number,
        "series_description": series.description,
    }


def _coordinates(study_id: int, number: int, lumbar: Lumbar) -> list[dict[str, Any]]:
    rows = []
    for level in LEVELS:
        if not lumbar.in_view(level):
            continue
        column, row, k = lumbar.voxel(level)
        r, a, s = lumbar.landmarks[level]
        rows.append(
            {
                "study_id": study_id,
                "series_id": number,
                "instance_number": round(k) + 1,
                "condition": "Disc Centre",
                "level": level.upper().replace("_", "/"),
                "x": round(float(column), 4),
                "y": round(float(row), 4),
                "right_mm": round(float(r), 4),
                "anterior_mm": round(float(a), 4),
                "superior_mm": round(float(s), 4),
            }
        )
    return rows


def _label(study: LumbarStudy) -> dict[str, Any]:
    spec = study.spec
    return {
        "study_id": study.study_id,
        "lstv": int(spec.lstv),
        "castellvi": spec.castellvi,
        "kind": spec.kind,
        "severity": round(spec.severity, 4),
        "lumbar_bodies": spec.lumbar_bodies,
        "seed": spec.seed,
    }


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    if not rows:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
