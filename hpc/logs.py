"""Where did a unit run, and what was said meanwhile? Its part of a worker's log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from hpc.attempt import attempt_log
from hpc.run_folder import run_folders
from hpc.worker import BEGIN
from lamstore.study import Study

MAX_LINES = 200
"""Of one unit's log, its last; a library in a loop must not fill the terminal."""


@dataclass(frozen=True)
class UnitLog:
    """A failed unit, and what its log says.

    Attributes
    ----------
    key : str
    error : mapping
        As the ledger keeps it.
    path : Path or None
        Of the log; None when it is gone.
    lines : tuple of str
    """

    key: str
    error: dict[str, str]
    path: Path | None
    lines: tuple[str, ...]


def failed_logs(study: Study) -> Iterator[UnitLog]:
    """Every unit whose latest word is that it failed, with its log."""
    latest: dict[str, tuple[float, str, dict[str, str] | None]] = {}
    for path in sorted(study.ledger.folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                body = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if "unit" in body:
                key, finished = body["unit"], body["finished"]
                if key not in latest or finished >= latest[key][0]:
                    error = body.get("error", {}) if body["state"] == "failed" else None
                    latest[key] = finished, path.stem, error
    for key, (_, task, error) in sorted(latest.items()):
        if error is not None:
            log = find_log(study, task)
            yield UnitLog(key, error, log, tuple(excerpt(log, key)) if log else ())


def find_log(study: Study, task: str) -> Path | None:
    """The log of a task, by the stem of its ledger file."""
    stem = task.removesuffix("-died").removesuffix("-timeout")
    found = sorted(study.runs.glob(f"*/logs/{stem}*.log"))
    if found:
        return found[-1]
    owners = (run for run in run_folders(study) if task.startswith(f"{run.id}-"))
    return next((log for run in owners if (log := attempt_log(run, task))), None)


def excerpt(log: Path, key: str) -> list[str]:
    """Lines from the beginning of a unit to that of the next; the last attempt's."""
    lines: list[str] = []
    within = False
    for line in log.read_text(errors="replace").splitlines():
        words = line.split()
        if BEGIN in words[:3]:
            within = words[-1] == key
            lines = [] if within else lines
        if within:
            lines.append(line)
    return lines[-MAX_LINES:]
