"""Is the report whole, honest and safe to open?"""

import base64
import io
import json
import re

import pandas as pd
import pytest
from PIL import Image

from analysis.qc import QcThresholds
from analysis.report import panels, write_report
from analysis.report.page import EnginePage, render
from analysis.report.subjects import subject_rows
from analysis.report.write import _write_tables
from lamstore.config import EngineConfig, StudyConfig, render_config
from lamstore.ledger import LedgerFile, failed
from lamstore.study import Study, create_study
from lamstore.units import Unit
from tests.report.conftest import Page

SUBJECTS = ("patient01", "patient02")
HOSTILE = '"><img src=x onerror=alert(1)><b>'


def record_failure(study, subject, message, job="ingest", **at):
    """A failed unit in the ledger, as a task leaves it."""
    with LedgerFile(
        study.ledger.folder, f"test-{abs(hash((subject, job, str(at))))}", {}
    ) as ledger:
        unit = Unit(job, subject=subject, fingerprint="0", **at)
        ledger.append(failed(unit, {"type": "InputError", "message": message}, 0.1))


def add_subject(study, subject):
    """One more subject in the cohort's manifest."""
    path = study.path / "cohort.json"
    body = json.loads(path.read_text())
    body["entries"].append(body["entries"][0] | {"subject": subject})
    path.write_text(json.dumps(body))


def test_every_subject_has_a_row_a_panel_and_a_picture(page):
    panels_by_subject = {a["data-subject"]: a["id"] for a in page.all("article")}
    assert set(panels_by_subject) == set(SUBJECTS)
    anchors = {a["href"] for a in page.all("a", href="#")}
    assert {f"#{anchor}" for anchor in panels_by_subject.values()} <= anchors
    pictures = page.all("img", alt="Images, masks")
    assert len(pictures) == len(SUBJECTS)
    for picture in pictures:
        data = base64.b64decode(picture["src"].partition(",")[2])
        width, height = Image.open(io.BytesIO(data)).size
        assert width > 800 and height > 300


def test_anchors_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"] for a in page.all("a", href="#")}
    assert links and {link[1:] for link in links} <= set(ids)


def test_the_page_loads_nothing(text, page):
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/", "figures/"))
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|import\(", text)
    assert len(text) < 4_000_000


def test_sections_and_definitions_are_there(page):
    for heading in ("Every subject", "Measured change", "Change proxies against the truth",
                    "Simulated scanner shifts", "Uncertainty and quality control",
                    "Segmentation against the lesion truth", "Every subject in pictures",
                    "What is missing, and why", "Definitions", "Provenance"):  # fmt: skip
        assert heading in page.text, heading
    for measure in ("new_raw", "new_cons", "chg_sym_raw", "chg_sym_cons", "chg_tight", "ΔΔV"):
        assert measure in page.text
    assert "dilated by 2 mm" in page.text and "opposite directions" in page.text


def test_small_cohorts_are_warned_of(page):
    assert "The QC thresholds come from 2 subjects. Below 10" in page.text


def test_definitions_carry_the_parameters_of_the_study(finished, rewritten):
    text = (finished.path / "study.yaml").read_text()
    (finished.path / "study.yaml").write_text(text + "metrics: {dilation_radius_mm: 3.5}\n")
    assert "dilated by 3.5 mm" in rewritten().text


def test_data_is_escaped(finished, rewritten):
    add_subject(finished, HOSTILE)
    record_failure(finished, HOSTILE, "</pre><script>alert('x')</script>\n  got: `<i>`")
    page = rewritten()
    assert len(page.all("script")) == 1
    assert not [a for tag, a in page.tags if tag == "i" and not a.get("class")]
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert page.all("article", **{"data-subject": HOSTILE})
    assert HOSTILE in page.text and "</pre><script>alert('x')</script>" in page.text


def test_a_failed_subject_is_listed_first_with_its_error(finished, rewritten):
    add_subject(finished, "patient99")
    record_failure(finished, "patient99", "its file is truncated\n  got: 12 bytes\n  try: gzip -t")
    page = rewritten()
    first = page.all("article")[0]
    assert first["data-subject"] == "patient99" and "failed" in first["class"]
    assert page.all("tr")[1]["class"] == "failed"
    assert "its file is truncated" in page.text and "try: gzip -t" in page.text
    assert "2 of 3" in page.text and "1 failed" in page.text


def test_a_failed_shift_is_told_and_the_subject_kept(finished, rewritten):
    record_failure(finished, "patient01", "out of memory", "infer", engine="flair-zscore",
                   timepoint="t1", shift="noise-2")  # fmt: skip
    page = rewritten()
    assert "some shifts failed" in page.text and "infer t1 noise-2: out of memory" in page.text
    assert len(page.all("img", alt="Images, masks")) == 2


def test_a_study_where_everything_failed_gets_a_report(tmp_path):
    config = StudyConfig.model_validate({"dataset": {"adapter": "open-ms", "root": "."}})
    study = create_study(tmp_path / "study", render_config(config))
    for subject in SUBJECTS:
        record_failure(study, subject, f"{subject} is unreadable")
    page = Page(write_report(study).read_text(encoding="utf-8"))
    assert "Nothing could be measured: all 2 subjects failed." in page.text
    assert all(f"{subject} is unreadable" in page.text for subject in SUBJECTS)
    assert {a["data-subject"] for a in page.all("article")} == set(SUBJECTS)


def test_an_empty_study_gets_a_report(tmp_path):
    config = StudyConfig.model_validate({"dataset": {"adapter": "open-ms", "root": "."}})
    study = create_study(tmp_path / "study", render_config(config))
    page = Page(write_report(study).read_text(encoding="utf-8"))
    assert "There is no subject in this study." in page.text


def test_torn_voxels_cost_one_picture(finished, rewritten):
    shard = next((finished.store_path / "volume" / "c" / "0").rglob("*"))
    shards = [p for p in (finished.store_path / "volume" / "c" / "0").rglob("*") if p.is_file()]
    assert shard and shards
    for path in shards:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    page = rewritten()
    assert len(page.all("img", alt="Images, masks")) == 1
    assert "It cannot be drawn" in page.text


def test_pictures_beyond_the_limit_are_files(finished, rewritten, monkeypatch):
    monkeypatch.setattr(panels, "INLINE", 1)
    page = rewritten()
    assert len(page.all("img", alt="Images, masks")) == 1
    (link,) = page.all("a", href="figures/")
    assert (finished.path / link["href"]).is_file()
    monkeypatch.setattr(panels, "DRAWN", 1)
    assert "lam.overlay() draws it" in rewritten().text
    assert not (finished.path / link["href"]).exists()


def test_tables_and_figures_are_written(finished_once):
    study = Study.at(finished_once / "study")
    robustness = pd.read_csv(study.tables / "robustness.csv")
    assert set(robustness["engine"]) == {"flair-zscore"}
    assert set(robustness["subject"]) == set(SUBJECTS)
    assert (study.tables / "robustness_summary.csv").is_file()
    assert QcThresholds.read(study.tables / "qc_thresholds.json").cohort_n == 2
    assert (study.figures / "change_per_subject.png").is_file()
    assert (study.figures / "worst_case.webp").is_file()
    assert not list(study.path.rglob("*.part"))


@pytest.fixture(scope="module")
def two_engines(facts):
    """The same results under two names."""
    (one,) = facts.engines
    other = EngineConfig(engine="flair-zscore", label="again")
    return one, type(one)(**vars(one) | {"config": other})


def test_several_engines_stand_side_by_side(facts, two_engines):
    both = type(facts)(**vars(facts) | {"engines": two_engines})
    pages = [
        EnginePage(engine, i, subject_rows(engine, facts.subjects, i), {}, {})
        for i, engine in enumerate(two_engines)
    ]
    page = Page(render(both, pages))
    assert [b["data-engine"] for b in page.all("button")] == ["e0", "e1"]
    assert "Engines side by side" in page.text
    assert len({a["id"] for a in page.all("article")}) == 4


def test_tables_of_several_engines_name_them(two_engines, tmp_path):
    study = Study(tmp_path)
    _write_tables(study, two_engines)
    assert set(pd.read_csv(tmp_path / "tables/robustness.csv")["engine"]) == {
        "flair-zscore",
        "again",
    }
    assert (tmp_path / "tables/qc_thresholds_again.json").is_file()
