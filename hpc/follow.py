"""What has the ledger said since one last looked? Reads only what was appended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from hpc.plan_file import no_collection
from lamstore.ledger import Entry


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
                if "unit" in line:
                    self._take(line)
                    news.append(line["unit"])
        return news

    def mean_s(self, job: str) -> float | None:
        """Mean time of the units of a job that were done; None when none was."""
        count, total = self.seconds.get(job, (0, 0.0))
        return total / count if count else None

    def _take(self, line: dict[str, Any]) -> None:
        key = line["unit"]
        known = self.words.get(key)
        if known is not None and line["finished"] < known.finished:
            return
        self.words[key] = Entry(line["state"], line["fingerprint"], line["finished"])
        if line["state"] == "failed":
            self.errors[key] = line.get("error", {})
            return
        self.errors.pop(key, None)
        if line["state"] == "done":
            job = key[: key.index("/")]
            count, total = self.seconds.get(job, (0, 0.0))
            self.seconds[job] = count + 1, total + line["seconds"]

    def _news(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.jsonl")):
            begin = self._read.get(path.name, 0)
            with path.open("rb") as stream:
                stream.seek(begin)
                data = stream.read()
            whole = data.rfind(b"\n") + 1  # the rest is being written, or was torn
            self._read[path.name] = begin + whole
            for line in data[:whole].split(b"\n"):
                if line:
                    try:
                        yield orjson.loads(line)
                    except orjson.JSONDecodeError:
                        continue
