"""How often was this batch of units begun, what did earlier attempts leave, which unit kills?

A worker that dies takes its batch along, and another worker begins it again. Each attempt leaves a
marker and its own ledger file, so the next one does only what is left, and knows at which unit its
predecessor died. A unit at which the worker died three times is recorded as failed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from hpc.run_folder import RunFolder
from lamstore.ledger import Entry
from lamstore.units import Unit

LIMIT = 3
"""So many workers may one unit kill."""

NANNY_S = 10.0
"""How long the nanny of a dead worker may take to say how it died."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a batch.

    Attributes
    ----------
    run : RunFolder
    batch : str
    number : int
        From 1.
    settled : mapping of unit key to the word of an earlier attempt
    deaths : mapping of unit key to the numbers of the attempts that died at it
    """

    run: RunFolder
    batch: str
    number: int
    settled: Mapping[str, Entry] = field(default_factory=dict)
    deaths: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Stem of its ledger file."""
        return _task(self.run, self.batch, self.number)

    @property
    def superseded(self) -> bool:
        """Whether a later attempt has begun: this one was taken for dead and must not write."""
        return _marker(self.run, self.batch, self.number + 1).exists()

    def cause_of_death(self, unit: str) -> str:
        """Why the last worker died at a unit; waits for its nanny, who may not have said it yet.

        The scheduler sees the connection break, and may have another worker begin the next attempt
        before the nanny of the dead one has written a word.
        """
        marker = _marker(self.run, self.batch, self.deaths[unit][-1])
        give_up = time.monotonic() + NANNY_S
        while (cause := _cause(marker)) is None and time.monotonic() < give_up:
            time.sleep(0.1)
        return cause or "worker died"


def begin(run: RunFolder, batch: str, units: Sequence[Unit], log: str = "") -> Attempt:
    """Begin the next attempt at a batch.

    Parameters
    ----------
    log : str
        Where the death of this worker will be told.
    """
    note = {"host": socket.gethostname(), "pid": os.getpid(), "log": log}
    number = _mark(run, batch, orjson.dumps(note))
    settled: dict[str, Entry] = {}
    deaths: dict[str, list[int]] = {}
    for earlier in range(1, number):
        settled |= _words(run, batch, earlier)
        culprit = next((unit.key for unit in units if unit.key not in settled), None)
        if culprit is not None:
            deaths.setdefault(culprit, []).append(earlier)
    return Attempt(run, batch, number, settled, deaths)


def settled(run: RunFolder, batch: str) -> dict[str, Entry]:
    """What all attempts at a batch so far have settled: the last word by the unit's key."""
    found: dict[str, Entry] = {}
    number = 1
    while _marker(run, batch, number).exists():
        found |= _words(run, batch, number)
        number += 1
    return found


def _mark(run: RunFolder, batch: str, note: bytes) -> int:
    number = 1
    (run.path / "attempts").mkdir(exist_ok=True)
    while True:
        try:
            with _marker(run, batch, number).open("xb") as stream:
                stream.write(note)
            return number
        except FileExistsError:
            number += 1


def _marker(run: RunFolder, batch: str, number: int) -> Path:
    return run.path / "attempts" / f"{batch}.{number}"


def _task(run: RunFolder, batch: str, number: int) -> str:
    return f"{run.id}-{batch}-a{number}"


def _words(run: RunFolder, batch: str, number: int) -> dict[str, Entry]:
    """What one attempt has settled: the last word of each unit, unless that is ``started``."""
    path = run.study.ledger.folder / f"{_task(run, batch, number)}.jsonl"
    if not path.exists():
        return {}
    words: dict[str, Entry] = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            body = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # the end, or a torn line
        if "unit" in body:
            words[body["unit"]] = Entry(body["state"], body["fingerprint"], body["finished"])
    return {key: word for key, word in words.items() if word.state != "started"}


def attempt_log(run: RunFolder, task: str) -> Path | None:
    """Log of the worker that made an attempt, by the stem of its ledger file."""
    batch, _, number = task.removeprefix(f"{run.id}-").rpartition("-a")
    marker = run.path / "attempts" / f"{batch}.{number}"
    if not marker.is_file():
        return None
    log = Path(orjson.loads(marker.read_bytes() or b"{}").get("log", ""))
    return log if log.is_file() else None


def _cause(marker: Path) -> str | None:
    """Why the process of an attempt died, by what its nanny said; None while she has not."""
    note = orjson.loads(marker.read_bytes() or b"{}")
    log, pid = note.get("log", ""), note.get("pid", 0)
    if not log or not Path(log).exists():
        return "worker died"
    said = Path(log).read_text(errors="replace")
    budget = any(f"pid={pid})" in line and "exceeded" in line for line in said.splitlines())
    if budget or f"process {pid} was killed by signal 9" in said:
        return "out of memory"
    ended = f"process {pid} was killed" in said or f"process {pid} exited" in said
    return "worker died" if ended else None
