"""What has the ledger said since one last looked? Reads only what was appended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from hpc.plan_file import no_collection
from lamstore.ledger import Entry, Head, head


@dataclass
class Follower:
    """The ledger as of the last `refresh`.

    Attributes
    ----------
    words : dict of unit key to Entry
        Latest words.
    errors : dict of unit key to mapping
        Errors of the units whose latest word is that they failed.
    seconds : dict of job to (count, total)
        How long units that were done took.
    """

    folder: Path
    words: dict[str, Entry] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, tuple[int, float]] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)

    def refresh(self) -> list[str]:
        """Take in what was appended; returns the keys of the units that were spoken of."""
        news = []
        with no_collection():
            for line in self._news():
                said = head(line)
                if said is not None:
                    self._take(said, line)
                    news.append(said.unit)
        return news

    def mean_s(self, job: str) -> float | None:
        """Mean time of the units of a job that were done; None when none was."""
        count, total = self.seconds.get(job, (0, 0.0))
        return total / count if count else None

    def _take(self, said: Head, line: bytes) -> None:
        key = said.unit
        known = self.words.get(key)
        if known is not None and said.finished < known.finished:
            return
        self.words[key] = Entry(said.state, said.fingerprint, said.finished)
        if said.state == "failed":
            self.errors[key] = orjson.loads(line).get("error", {})
            return
        self.errors.pop(key, None)
        if said.state == "done":
            job = key[: key.index("/")]
            count, total = self.seconds.get(job, (0, 0.0))
            self.seconds[job] = count + 1, total + said.seconds

    def _news(self) -> Iterator[bytes]:
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb", buffering=1 << 20) as stream:
                stream.seek(self._read.get(path.name, 0))
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # it is being written, or was torn
                    self._read[path.name] = self._read.get(path.name, 0) + len(line)
                    yield line
