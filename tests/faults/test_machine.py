"""What if the disk is full, or the working directory holds folders of our names?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamstore.study import Study
from tests.running import METRICS, assert_same_tables, lam, status_of, write_study


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 120 kB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let one mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.timeout(200)
def test_a_full_disk_is_one_clear_error_and_a_rerun_completes(tiny_disk: Path, finished_once: Path):
    study = write_study(tiny_disk / "study", finished_once / "cohort")
    refusals = 0
    for size in ("120k", "400k", "900k"):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(tiny_disk)], check=True)
        said = lam("run", study.path, "--workers", 2, status=None)
        if "no space left" in said:
            refusals += 1
            assert "free space" in said
        assert "Traceback" not in said
    assert refusals >= 2
    subprocess.run(["mount", "-o", "remount,size=200m", str(tiny_disk)], check=True)
    lam("run", study.path)
    assert status_of(study)["complete"]
    lam("verify", study.path)
    assert_same_tables(study, Study.at(finished_once / "study"), METRICS)


@pytest.mark.timeout(100)
def test_a_full_disk_ends_the_run_with_status_2(tiny_disk: Path, finished_once: Path):
    study = write_study(tiny_disk / "study", finished_once / "cohort")
    lam("run", study.path, status=2)


def test_an_export_to_a_full_disk_leaves_no_half_of_a_file(tiny_disk: Path, finished: Study):
    said = lam("export", finished.path, "--format", "hdf5", "--out", tiny_disk / "a.h5", status=2)
    assert "no space left" in said
    assert list(tiny_disk.iterdir()) == []


def test_folders_of_our_names_in_the_working_directory_do_no_harm(
    finished_once: Path, tmp_path: Path
):
    here = tmp_path / "here"
    for name in ("lamstore", "jobs", "analysis", "hpc", "numpy"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise SystemExit('the intruder was imported')")
    study = write_study(tmp_path / "study", finished_once / "cohort")
    lam("run", study.path, cwd=here)
    assert status_of(study)["complete"]


def test_a_worker_that_finds_an_intruder_stops_and_names_it(finished: Study, tmp_path: Path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").touch()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "hpc.worker", str(finished.path), "--task", "x"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode != 0
    assert "another package has the name" in done.stdout
    assert f"jobs comes from {tmp_path}" in done.stdout


def test_a_study_may_move(finished: Study, tmp_path: Path):
    target = tmp_path / "elsewhere, «ä» 'b'"
    shutil.move(finished.path.parent, target)
    assert "nothing to do" in lam("run", target / "study")


def test_who_may_not_write_may_look(finished: Study):
    said = lam("status", finished.path, "--json")
    assert '"complete": true' in said


def test_names_that_are_no_utf8_are_read_or_refused_by_name(finished_once: Path, tmp_path: Path):
    source = finished_once / "cohort/longitudinal/coregistered"
    folders = tmp_path / "cohort/longitudinal/coregistered"
    shutil.copytree(source, folders)
    latin = os.fsencode(folders) + b"/J\xfcrgen"
    shutil.copytree(os.fsencode(source / "patient01"), latin)
    study = write_study(tmp_path / "study", tmp_path / "cohort", shifts={"names": []})
    said = lam("run", study.path, status=None)
    assert "Traceback" not in said, said
    counts = {job["job"]: job["done"] for job in status_of(study)["jobs"]}
    assert counts["ingest"] >= 2
