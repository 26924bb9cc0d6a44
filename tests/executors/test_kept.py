"""Does `lam status` count against what the last planner wanted, unless that is outdated?"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hpc import kept
from lamstore.study import Study
from tests.running import change_study, lam, status_of


def pending(study: Study, *options: str) -> dict[str, int]:
    found = json.loads(lam("status", study.path, "--json", *options))
    return {job["job"]: job["pending"] for job in found["jobs"]}


def test_status_counts_what_was_planned_until_one_looks_again(finished: Study):
    assert status_of(finished)["note"].endswith("--look")
    cohort = finished.path.parent / "cohort" / "longitudinal" / "coregistered"
    (cohort / "patient02").rename(cohort / "patient03")
    assert not any(pending(finished).values())
    assert pending(finished, "--look") == {
        "ingest": 1, "infer": 3, "compare": 2, "cohort": 1,
        "report": 0,  # of what is gathered now
    }  # fmt: skip
    assert "--look" in lam("status", finished.path)


def test_another_study_yaml_is_looked_at_without_being_asked(finished: Study):
    study = change_study(finished, shifts={"names": ["gamma", "noise"], "levels": [1]})
    found = status_of(study)
    assert found["note"] == ""
    assert {job["job"]: job["pending"] for job in found["jobs"]}["infer"] == 2
    lam("run", study.path, "--workers", 2)
    assert status_of(study)["complete"]
    assert status_of(study)["note"]


def test_another_version_of_the_program_looks_again(finished: Study, monkeypatch):
    facts = kept.kept_facts(finished)
    assert facts is not None
    assert kept.is_current(facts, finished)
    monkeypatch.setattr(kept, "code_digest", lambda: "another")
    assert not kept.is_current(facts, finished)


@pytest.mark.parametrize("command", ["--help", "status", "logs"])
def test_looking_imports_no_network_library(finished: Study, command: str):
    argv = [command] if command == "--help" else [command, str(finished.path)]
    program = (
        "import sys\nfrom hpc.cli import main\n"
        f"try: main({argv!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'matplotlib', 'nibabel'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
