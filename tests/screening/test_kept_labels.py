"""Are labels that were given once kept by study.yaml, and does the report follow their content?"""

import io
import os

import pytest
import yaml
from rich.console import Console

from analysis.screening import write_spine_report
from hpc.closing import report_unit
from hpc.commands.analysing import keep_labels
from lamstore.config import StudyConfig
from lamstore.errors import AnalysisError, ConfigError
from lamstore.settings import set_value, with_value
from lamstore.study import Study
from tests.running import lam

COMMENTED = """# ours
dataset: {adapter: open-ms, root: /data}
screening:   # thresholds
  # of the pilot
  high_entropy: 6.0

  labels: old.csv  # last year's
engines:
  - engine: unet
"""


class TestText:
    def test_only_the_value_changes(self):
        found = with_value(COMMENTED, "screening", "labels", "/a b/new: 1.csv")
        before, after = COMMENTED.splitlines(), found.splitlines()
        assert [a for a, b in zip(before, after, strict=True) if a != b] == [
            "  labels: old.csv  # last year's"
        ]
        assert yaml.safe_load(found)["screening"] == {
            "high_entropy": 6.0, "labels": "/a b/new: 1.csv",
        }  # fmt: skip

    def test_a_key_that_is_not_there_is_put_into_its_section(self):
        text = COMMENTED.replace("  labels: old.csv  # last year's\n", "")
        found = with_value(text, "screening", "labels", "x.csv")
        assert len(found.splitlines()) == len(text.splitlines()) + 1
        assert yaml.safe_load(found)["screening"] == {"high_entropy": 6.0, "labels": "x.csv"}

    @pytest.mark.parametrize("end", ["", "\n", "\nscreening:\n"])
    def test_a_section_that_is_not_there_is_appended(self, end):
        found = with_value("dataset:\n  root: /data" + end, "screening", "labels", "x.csv")
        assert yaml.safe_load(found) == {
            "dataset": {"root": "/data"}, "screening": {"labels": "x.csv"},
        }  # fmt: skip

    def test_the_same_value_changes_nothing(self):
        once = with_value(COMMENTED, "screening", "labels", "x.csv")
        assert with_value(once, "screening", "labels", "x.csv") == once

    def test_what_is_written_on_one_line_is_left_to_the_user(self):
        with pytest.raises(ConfigError, match="could not be set") as caught:
            with_value("screening: {high_entropy: 6.0}\n", "screening", "labels", "x.csv")
        assert 'labels: "x.csv"' in caught.value.remedy


def test_a_value_that_is_not_allowed_leaves_the_file(spines):
    study = spines / "study"
    before = (study / "study.yaml").read_bytes()
    with pytest.raises(ConfigError):
        set_value(study, "screening", "labells", "x.csv")
    assert (study / "study.yaml").read_bytes() == before
    assert not (study / ".study.yaml.part").exists()


def test_the_report_follows_the_content_of_the_labels_not_their_place(tmp_path):
    for name, text in (("a.csv", "1"), ("b.csv", "1"), ("c.csv", "2")):
        (tmp_path / name).write_text(text)

    def unit(name):
        body = {"dataset": {"adapter": "dicom", "root": "/data"}}
        if name:
            body["screening"] = {"labels": str(tmp_path / name)}
        return report_unit("1", StudyConfig.model_validate(body), [], {}).fingerprint

    assert unit("a.csv") == unit("b.csv")
    assert len({unit(name) for name in ("a.csv", "c.csv", "gone.csv", None)}) == 4


def test_labels_given_once_are_used_by_later_analyses_and_runs(spines, spines_once, monkeypatch):
    plugin = spines_once / "plugin"
    monkeypatch.setenv("PYTHONPATH", f"{plugin}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    study, labels = Study.at(spines / "study"), spines / "labels.csv"
    assert "from now on named in study.yaml" in lam("analyse", study.path, "--labels", labels)
    study = Study.at(study.path)
    assert study.config.screening.labels == labels
    assert study.config.screening.queue_length == 3  # what was there stays

    labels.write_text(labels.read_text().replace("n00,0", "n00,1"))
    lam("run", study.path, "--workers", 1)
    assert (study.tables / "auroc.csv").is_file()
    assert "12 transitional, 11 normal" in (study.path / "summary.md").read_text()
    page = study.report_path.read_text()
    assert str(labels) in page


def test_which_labels_count_is_said_and_missing_ones_are_an_error(spines):
    console = Console(file=io.StringIO(), width=300)
    path, labels = spines / "study", spines / "labels.csv"
    before = (path / "study.yaml").read_bytes()
    with pytest.raises(ConfigError, match="which studies are transitional is not said"):
        keep_labels(Study.at(path), None, None, console)
    with pytest.raises(ConfigError, match=r"no file .*gone.csv"):
        keep_labels(Study.at(path), spines / "gone.csv", None, console)
    keep_labels(Study.at(path), labels, spines / "elsewhere", console)
    assert (path / "study.yaml").read_bytes() == before
    (spines / "bad.csv").write_text("study_id\n1\n")
    with pytest.raises(AnalysisError, match="gives no labels"):
        keep_labels(Study.at(path), spines / "bad.csv", None, console)
    assert (path / "study.yaml").read_bytes() == before

    kept = keep_labels(Study.at(path), labels, None, console)
    assert keep_labels(kept, None, None, console).config.screening.labels == labels
    assert console.file.getvalue().count(f"Labels: {labels}") == 3
    labels.unlink()
    with pytest.raises(ConfigError) as caught:
        keep_labels(kept, None, None, console)
    assert "screening.labels in study.yaml" in caught.value.remedy
    with pytest.raises(AnalysisError, match="gives no labels"):
        write_spine_report(kept)
