"""Where does everything of a study lie?"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lamstore.config import StudyConfig, read_config
from lamstore.errors import ConfigError, StudyLockedError
from lamstore.ledger import Ledger

PATIENCE_S = 2.0
"""How long to wait for a lock: the workers of a run that was killed take a moment to go."""


@dataclass(frozen=True)
class Study:
    """A study directory; only paths and the parsed study.yaml, no open files."""

    path: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> Study:
        """The study at a path, with study.yaml parsed.

        Raises
        ------
        ConfigError
            When there is no study, or study.yaml cannot be used.
        """
        study = cls(Path(path).resolve())
        _ = study.config
        return study

    @cached_property
    def config(self) -> StudyConfig:
        """Parsed study.yaml."""
        return read_config(self.path / "study.yaml")

    @property
    def store_path(self) -> Path:
        """The tensors."""
        return self.path / "store.zarr"

    @property
    def tables(self) -> Path:
        """CSV and Parquet tables."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @property
    def runs(self) -> Path:
        """One folder a run: plan, scripts, logs."""
        return self.path / "runs"

    @property
    def report_path(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def ledger(self) -> Ledger:
        """What has been done."""
        return Ledger(self.path / "ledger")


def create_study(path: Path, text: str) -> Study:
    """Make a study directory with this study.yaml.

    Raises
    ------
    ConfigError
        When a study is already there, or the text is not a valid study.yaml.
    """
    target = path / "study.yaml"
    if target.exists():
        raise ConfigError(f"{path} is a study already", remedy=f"lam run {path}")
    path.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return Study.at(path)


@contextmanager
def study_lock(study: Study) -> Iterator[int]:
    """Hold the study's lock; yields its file descriptor.

    The lock belongs to the open file, so worker processes that inherit the descriptor keep it
    until the last of them is gone, even when the process that took it is killed.

    Raises
    ------
    StudyLockedError
        When another run holds it.
    """
    path = study.path / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, study)
        with suppress(OSError):  # on a full disk the lock holds without a note of who holds it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, study: Study) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise StudyLockedError(
                    f"another run is at work on {study.path}",
                    got=os.pread(descriptor, 200, 0).decode(errors="replace").strip() or None,
                    remedy=f"watch it with `lam status {study.path}`, or wait until it ends",
                ) from error
        time.sleep(0.05)
