"""How do tests use `lam` as a user does? Small generated cohorts, the real command, snapshots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from jobs.phantom import default_cohort, generate_subject, write_open_ms
from lamstore.ledger import Ledger, Record
from lamstore.study import Study

LAM = Path(sys.executable).with_name("lam")
METRICS = ("longitudinal_metrics", "segmentation_metrics", "uncertainty_metrics")
"""Tables that come straight from the store; the others are analysed from them."""

SMALL = 0.3
"""Scale of the phantoms: 42 x 51 x 15 voxels, a few thousand of brain."""


def write_cohort(root: Path, subjects: int, scale: float = SMALL) -> Path:
    """An open-ms tree of generated brains."""
    specs = default_cohort(subjects, scale=scale)
    return write_open_ms((generate_subject(spec) for spec in specs), root)


def write_study(path: Path, root: Path, **sections: Any) -> Study:
    """A study of an open-ms tree under one shift; `sections` replace those of study.yaml."""
    body: dict[str, Any] = {
        "dataset": {"adapter": "open-ms", "root": str(root)},
        "shifts": {"names": ["gamma"], "levels": [1]},
    }
    path.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(body | sections, allow_unicode=True)
    (path / "study.yaml").write_text(text, encoding="utf-8")
    return Study.at(path)


def change_study(study: Study, **sections: Any) -> Study:
    """The same study with some sections of study.yaml replaced."""
    body = yaml.safe_load((study.path / "study.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump(body | sections, allow_unicode=True)
    (study.path / "study.yaml").write_text(text, encoding="utf-8")
    return Study.at(study.path)


def lam(*arguments: object, status: int | None = 0, **options: Any) -> str:
    """Run `lam`; gives what it printed, fails when the exit status is not the one expected."""
    finished = subprocess.run(
        [LAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        timeout=300,
        check=False,
        **options,
    )
    said = finished.stdout + finished.stderr
    if status is not None:
        assert finished.returncode == status, said
    return said


def status_of(study: Study) -> dict[str, Any]:
    """What `lam status --json` says."""
    found: dict[str, Any] = json.loads(lam("status", study.path, "--json"))
    return found


def records(study: Study) -> list[Record]:
    """Every record that was ever written, in the order of the files and their lines."""
    folder = Ledger(study.path / "ledger").folder
    return [record for path in sorted(folder.glob("*.jsonl")) for record in records_in(path)]


def records_in(path: Path) -> Iterable[Record]:
    """Every record of one file of a ledger."""
    from lamstore.ledger import _record

    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    lines = (json.loads(line) for line in whole)
    return [_record(line) for line in lines if "unit" in line]


def did(study: Study, before: Iterable[Path]) -> dict[str, set[str]]:
    """Units done since a listing of the ledger, by job: ``subject/timepoint/shift``."""
    known, found = set(before), {}
    for path in sorted(set(ledger_files(study)) - known):
        for record in records_in(path):
            if record.state == "done":
                unit = record.unit
                label = "/".join(part for part in unit[2:5] if part)
                found.setdefault(unit.job, set()).add(label)
    return found


def ledger_files(study: Study) -> list[Path]:
    """Files of a study's ledger."""
    return sorted((study.path / "ledger").glob("*.jsonl"))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    }


def tables(study: Study) -> dict[str, pd.DataFrame]:
    """The CSV tables of a study, by name."""
    return {path.stem: pd.read_csv(path) for path in sorted(study.tables.glob("*.csv"))}


def assert_same_tables(study: Study, other: Study, names: Iterable[str] | None = None) -> None:
    """Both studies have the same tables with the same values, bit for bit."""
    ours, theirs = tables(study), tables(other)
    assert set(METRICS) <= ours.keys()
    if names is None:
        assert ours.keys() == theirs.keys()
    for name, frame in ours.items():
        pd.testing.assert_frame_equal(frame, theirs[name], check_exact=True, obj=name)
