"""Generated spines that the tests share, on coarse grids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.lumbar import KINDS, Kind, Lumbar, LumbarSpec, draw_spec, generate_lumbar
from jobs.lumbar.write import LumbarStudy, default_lumbar_cohort, write_rsna


def coarse(spec: LumbarSpec, matrix: int = 96) -> LumbarSpec:
    """The same patient and field of view with fewer voxels."""
    scanner = spec.scanner
    spacing = scanner.spacing_mm * scanner.matrix[0] / matrix
    return replace(spec, scanner=replace(scanner, matrix=(matrix, matrix), spacing_mm=spacing))


@pytest.fixture(scope="session")
def by_kind() -> dict[Kind, Lumbar]:
    """One spine of each kind, all the same patient."""
    return {kind: generate_lumbar(coarse(draw_spec(3, kind))) for kind in KINDS}


@pytest.fixture(scope="session")
def cohort() -> list[LumbarStudy]:
    """One training normal, one evaluation normal, two LSTV cases."""
    drawn = default_lumbar_cohort(1, 2, seed=1, n_train=1)
    return [replace(study, spec=coarse(study.spec, 64)) for study in drawn]


@pytest.fixture(scope="session")
def written(cohort: list[LumbarStudy], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort on disk."""
    return write_rsna(cohort, tmp_path_factory.mktemp("rsna"))
