"""Fixtures of the page: its real server, a generated study whose headers name a person."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from hpc.demo_spine import small
from jobs.lumbar.write import default_lumbar_cohort, write_rsna
from tests.dicom.writing import SECRET
from tests.page.browsing import Browser, written
from tests.running import LAM


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """`lam try-spine`, as typed; ends as the system ends it, and leaves nothing."""
    home = tmp_path_factory.mktemp("page")
    process = subprocess.Popen(
        [LAM, "try-spine", "--max-mb", "64"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(home), "COLUMNS": "200"},
    )
    assert process.stdout is not None
    heard = []
    for line in process.stdout:
        heard.append(line)
        if line.startswith("http://"):
            break
    (folder,) = home.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    yield Browser(heard[-1].strip(), folder, process.pid)
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert list(home.iterdir()) == []
    assert SECRET.lower() not in "".join([*heard, rest]).lower()


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated study of three series as DICOM files; not to be changed."""
    home = tmp_path_factory.mktemp("study")
    write_rsna([small(default_lumbar_cohort(1, 0)[0])], home / "made")
    folder = home / "named"
    folder.mkdir()
    for i, path in enumerate(sorted((home / "made").rglob("*.dcm"))):
        (folder / f"{SECRET}{i}.dcm").write_bytes(written([pydicom.dcmread(path)])[0])
    return folder


@pytest.fixture(scope="session")
def study(study_folder: Path) -> list[bytes]:
    """Its files."""
    return [path.read_bytes() for path in sorted(study_folder.iterdir())]
