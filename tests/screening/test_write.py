"""Does a study end in tables, figures and a page that says what was found, and what was not?"""

import re
import shutil

import pandas as pd

from analysis.screening import screen, write_spine_report
from lamstore.study import Study
from tests.running import change_study, lam
from tests.screening.conftest import PICTURES

WITH_LABELS = {
    "auroc.csv", "roc.csv", "precision_recall.csv", "thresholds.csv", "comparison.csv",
    "calibration.csv", "selection.csv",
}  # fmt: skip
ALWAYS = {"risk_groups.csv", "audit_queue.csv"}


def written(folder):
    return {path.name for path in (folder / "tables").glob("*.csv")}


def test_labels_give_the_whole_and_taking_them_away_takes_it_away(spines):
    study = spines / "study"
    summary = screen(study, spines / "labels.csv", warnings=("All studies were evaluated.",))
    assert written(study) >= WITH_LABELS | ALWAYS
    assert (study / "summary.md").read_text() == str(summary)
    areas = pd.read_csv(study / "tables/auroc.csv").set_index("measure")["auroc"]
    assert areas["chain_levels"] == 1
    page = (study / "report.html").read_text()
    verdict = page.index('class="verdict"')
    assert page.index("All studies were evaluated.") < verdict
    assert page.index("For research only") < verdict
    assert "AUROC 1.00, 95 % interval 0." in page
    assert page.count("data:image/webp;base64,") == PICTURES
    for heading in ("Distributions", "Level by level", "Risk groups", "As a probability"):
        assert heading in page
    assert not re.search(r'(?:src|href)="https?:', page)
    for href in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{href}"' in page
    assert {p.name for p in (study / "figures").glob("*.png")} == {
        "screening_distributions.png", "screening_roc.png", "screening_levels.png",
        "screening_precision_recall.png",
    }  # fmt: skip

    write_spine_report(Study.at(study))
    assert not written(study) & WITH_LABELS
    assert "Nothing was validated" in (study / "report.html").read_text()
    assert "nothing was validated" in (study / "summary.md").read_text()


def test_the_command_writes_elsewhere_and_leaves_the_study(spines, tmp_path):
    study, out = spines / "study", tmp_path / "out"
    before = (study / "report.html").read_bytes()
    text = lam("analyse", study, "--labels", spines / "labels.csv", "--out", out)
    assert "11 transitional, 12 normal" in text
    assert written(out) == WITH_LABELS | ALWAYS
    assert (out / "report.html").is_file()
    assert (study / "report.html").read_bytes() == before


def test_thresholds_are_those_of_study_yaml(spines):
    study = change_study(
        Study.at(spines / "study"),
        screening={"high_entropy": 9.0, "medium_entropy": 6.5, "queue_length": 2},
    )
    screen(study.path, None)
    groups = pd.read_csv(study.tables / "risk_groups.csv").set_index("risk")
    metrics = pd.read_csv(study.tables / "lstv_uncertainty_metrics.csv")
    assert groups["n"]["high"] == (metrics["l5_s1_entropy"] > 9).sum()
    assert len(pd.read_csv(study.tables / "audit_queue.csv")) == 2


def test_a_study_without_any_result_still_reports(spines):
    study = Study.at(spines / "study")
    shutil.rmtree(study.store_path)
    page = write_spine_report(study).read_text()
    assert "Nothing could be screened: none of 23 studies has measures." in page
