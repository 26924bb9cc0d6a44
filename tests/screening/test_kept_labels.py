"""Are labels that were given once kept by study.yaml, and does the report follow their content?"""

import os

import pytest
import yaml

from hpc.closing import report_unit
from lamstore.config import StudyConfig
from lamstore.errors import ConfigError
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
    assert "which studies are transitional is not said" in lam("analyse", study.path, status=2)
    assert "from now on named in study.yaml" in lam("analyse", study.path, "--labels", labels)
    assert Study.at(study.path).config.screening.labels == labels
    assert Study.at(study.path).config.screening.queue_length == 3  # what was there stays

    again = lam("analyse", study.path)
    assert f"Labels: {labels}" in again
    assert "11 transitional, 12 normal" in again

    lam("run", study.path, "--workers", 1)
    assert (study.tables / "auroc.csv").is_file()
    page = study.report_path.read_text()
    assert "AUROC 1.00" in page
    assert str(labels) in page
    labels.write_text(labels.read_text().replace("n00,0", "n00,1"))
    lam("run", study.path, "--workers", 1)
    assert "12 transitional, 11 normal" in (study.path / "summary.md").read_text()
    labels.unlink()
    assert "correct screening.labels" in lam("analyse", study.path, status=2)
    lam("run", study.path, "--workers", 1, status=1)
    assert "no such file" in lam("status", study.path)
