"""Does `lam` take generated DICOM studies from the folder to the table, as its user types it?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from jobs.lumbar.write import LumbarStudy, default_lumbar_cohort, write_rsna
from lamstore.study import Study
from tests.running import lam


def tiny(study: LumbarStudy) -> LumbarStudy:
    """The same spine on an eighth of the matrix."""
    scanner = study.spec.scanner
    columns, rows = scanner.matrix
    small = replace(
        scanner, matrix=(columns // 8, rows // 8), spacing_mm=8 * scanner.spacing_mm, slices=5
    )
    return replace(study, spec=replace(study.spec, scanner=small))


@pytest.fixture(scope="module")
def rsna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies, of which the first is for training."""
    cohort = [tiny(study) for study in default_lumbar_cohort(1, 1, n_train=1)]
    return write_rsna(cohort, tmp_path_factory.mktemp("rsna") / "cohort")


def new(study: Path, rsna: Path, *options: object, status: int = 0) -> str:
    table = rsna / "train_series_descriptions.csv"
    where = ("--dataset", "rsna-lumbar", "--root", rsna / "train_images", "--series-csv", table)
    return lam("new", study, *where, "--engine", "spots", *options, status=status)


@pytest.mark.usefixtures("spots")
def test_the_table_names_the_studies_of_the_list_and_their_t2_series(rsna, tmp_path):
    new(tmp_path / "lstv", rsna, "--ids", rsna / "valid_id.npy")
    lam("run", tmp_path / "lstv", "--workers", 1)
    found = pd.read_csv(Study.at(tmp_path / "lstv").tables / "lstv_uncertainty_metrics.csv")
    described = pd.read_csv(rsna / "train_series_descriptions.csv")
    t2 = described[described.series_description == "Sagittal T2/STIR"].set_index("study_id")
    assert found.study_id.tolist() == [100001, 100002]
    assert found.series_id.tolist() == t2.series_id[found.study_id].tolist()
    page = (tmp_path / "lstv/report.html").read_text()
    assert "--allow-all-studies" not in page


@pytest.mark.usefixtures("spots")
def test_without_a_list_only_on_request_and_then_the_report_warns(rsna, tmp_path):
    assert "--allow-all-studies" in new(tmp_path / "no", rsna, status=2)
    assert not (tmp_path / "no/study.yaml").exists()
    new(tmp_path / "all", rsna, "--allow-all-studies")
    lam("run", tmp_path / "all", "--trial", 1, "--workers", 1)
    assert "--allow-all-studies" in (tmp_path / "all/report.html").read_text()


@pytest.mark.usefixtures("spots")
def test_training_and_evaluation_must_not_overlap(rsna, tmp_path):
    ids = rsna / "valid_id.npy"
    said = new(tmp_path / "both", rsna, "--ids", ids, "--training-ids", ids, status=2)
    assert "2 in both lists" in said
