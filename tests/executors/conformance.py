"""What must every executor do alike? Inherited by one class an executor."""

from __future__ import annotations

import pytest

from lamstore.study import Study
from tests.executors.conftest import probing
from tests.running import (
    assert_same_tables,
    change_study,
    did,
    lam,
    ledger_files,
    records,
    snapshot,
    status_of,
)

SUBJECTS = ("patient01", "patient02", "patient03")


class ExecutorConformance:
    """`options` are those of `lam run`."""

    options: tuple[object, ...] = ()

    def run(self, study: Study, *more: object, status: int = 0, **kept: object) -> str:
        """`lam run` to its end."""
        return lam("run", study.path, *self.options, *more, status=status, **kept)

    def test_study_is_done_as_on_one_machine(self, study, reference):
        self.run(study)
        assert status_of(study)["complete"]
        assert study.report_path.stat().st_size > 10_000
        assert_same_tables(study, reference)
        ended = [r.unit.key for r in records(study) if r.state == "done"]
        assert len(ended) == len(set(ended))
        arrays = {r.unit: r.arrays for r in records(study) if r.arrays}
        assert arrays == {r.unit: r.arrays for r in records(reference) if r.arrays}

    def test_rerun_does_nothing_and_a_new_shift_only_itself(self, study):
        self.run(study)
        before = snapshot(study.store_path)
        assert "nothing to do" in self.run(study)
        assert snapshot(study.store_path) == before
        known = ledger_files(study)
        study = change_study(study, shifts={"names": ["gamma", "noise"], "levels": [1]})
        self.run(study)
        assert did(study, known) == {
            "infer": {f"{subject}/t1/noise-1" for subject in SUBJECTS},
            "compare": {f"{subject}/noise-1" for subject in SUBJECTS},
            "cohort": {""},
            "report": {""},
        }

    @pytest.mark.parametrize(
        ("what", "cause"), [("fail", "error"), ("die", "out of memory")], ids=["error", "death"]
    )
    def test_failed_unit_is_recorded_and_stops_no_other(self, what, cause, cohort, tmp_path, probe):
        study = probing(tmp_path / "s", cohort, do={"patient02": what})
        self.run(study, status=1)
        found = status_of(study)
        assert [f["unit"] for f in found["failures"]] == ["infer/probe/patient02/t1/none"]
        assert found["failures"][0]["cause"] == cause
        by_job = {job["job"]: job for job in found["jobs"]}
        assert by_job["infer"] == {
            "job": "infer",
            "done": 8,
            "failed": 1,
            "pending": 0,
            "blocked": 0,
        }
        assert by_job["compare"]["done"] == 5
        assert by_job["report"]["done"] == 1
        assert "begin infer/probe/patient02/t1/none" in lam("logs", study.path, "--failed")

    def test_trial_does_a_recorded_choice_of_subjects(self, study):
        self.run(study, "--trial", 2, "--seed", 5)
        chosen = {r.unit.subject for r in records(study) if r.unit.job == "compare"}
        assert len(chosen) == 2
        again = study.runs.glob("*/run.json")
        assert any('"trial_seed": 5' in path.read_text() for path in again)

    def test_single_subject_has_pictures_and_a_folder_named_jobs_harms_nobody(
        self, study, tmp_path
    ):
        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "__init__.py").write_text("raise SystemExit('the wrong jobs')")
        self.run(study, "--subject", "patient03", cwd=tmp_path)
        assert {r.unit.subject for r in records(study) if r.unit.job == "ingest"} == {"patient03"}
        assert [p.name for p in (study.figures / "debug").iterdir()] == [
            "patient03_flair-zscore.png"
        ]
