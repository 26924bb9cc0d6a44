"""How far is a study? Derived from the wanted units and the ledger, never stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hpc import closing
from hpc.closing import Words
from hpc.follow import Follower
from hpc.kept import Facts
from hpc.plan_file import no_collection
from lamstore.config import StudyConfig
from lamstore.ledger import Record
from lamstore.units import Unit, parse_key


@dataclass(frozen=True)
class JobStatus:
    """Counts of one job.

    Attributes
    ----------
    done, failed, pending : int
        `pending` counts what has not run, or is stale.
    blocked : int
        Of the pending ones, those whose input failed.
    """

    job: str
    done: int
    failed: int
    pending: int
    blocked: int


@dataclass(frozen=True)
class StudyStatus:
    """Counts by job, and the failures."""

    jobs: tuple[JobStatus, ...]
    failures: tuple[Record, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing failed and nothing is left."""
        return not any(job.failed or job.pending for job in self.jobs)

    def to_json(self) -> dict[str, Any]:
        """JSON-like, for scripts."""
        failures = [
            {"unit": r.unit.key, **{k: r.error.get(k, "") for k in ("type", "cause", "message")}}
            for r in self.failures
        ]
        return {
            "complete": self.complete,
            "jobs": [asdict(job) for job in self.jobs],
            "failures": failures,
        }


def study_status(
    facts: Facts, lines: Iterable[Mapping[str, Any]], config: StudyConfig, ledger: Follower
) -> StudyStatus:
    """Where a study stands.

    Parameters
    ----------
    facts : Facts
    lines : iterable of mapping
        Every wanted unit, as `hpc.plan_file.plan_lines` gives them.
    config : StudyConfig
    ledger : Follower
        Refreshed.
    """
    with no_collection():
        counts, failed, done = _count(lines, facts.jobs, ledger.words)
    jobs = [_status(job, count) for job, count in counts.items()]
    cohorts, report = _closing(facts, config, ledger.words, done)
    for job, units in {"cohort": cohorts, "report": [report]}.items():
        jobs.append(_single(job, units, ledger.words))
        failed += [u for u in units if u.key in ledger.errors]
    failures = (Record(u, "failed", error=ledger.errors.get(u.key, {})) for u in failed)
    return StudyStatus(tuple(jobs), tuple(failures))


Done = dict[str, list[tuple[str, str]]]
"""Key and fingerprint of the done units, by engine."""


def _count(
    lines: Iterable[Mapping[str, Any]], jobs: Iterable[str], words: Words
) -> tuple[dict[str, Counter[str]], list[Unit], Done]:
    counts = {job: Counter[str]() for job in jobs}
    undone: set[int] = set()
    failed: list[Unit] = []
    done: Done = {}
    for number, line in enumerate(lines):
        key, fingerprint = line["unit"], line["fingerprint"]
        word = words.get(key)
        state: str = word.state if word and word.fingerprint == fingerprint else "pending"
        if state == "done":
            done.setdefault(key.split("/", 2)[1], []).append((key, fingerprint))
        elif state == "failed":
            failed.append(parse_key(key, fingerprint))
            undone.add(number)
        else:
            blocked = bool(undone) and not undone.isdisjoint(line.get("needs", ()))
            state = "blocked" if blocked else "pending"
            if blocked:
                undone.add(number)
        counts[key[: key.index("/")]][state] += 1
    return counts, failed, done


def _closing(
    facts: Facts, config: StudyConfig, words: Words, done: Done
) -> tuple[list[Unit], Unit]:
    """The units that close a study; nothing is digested for a gathering that nobody has done."""
    cohorts = []
    for engine, shifts in facts.engines.items():
        word = words.get(Unit("cohort", engine).key)
        inputs = done.get(engine, []) if word and word.state == "done" else []
        cohorts.append(closing.cohort_unit(facts.versions["cohort"], engine, shifts, inputs))
    report = closing.report_unit(facts.versions["report"], config, facts.engines, words)
    return cohorts, report


def _status(job: str, count: Counter[str]) -> JobStatus:
    pending = count["pending"] + count["blocked"]
    return JobStatus(job, count["done"], count["failed"], pending, count["blocked"])


def _single(job: str, units: list[Unit], words: Words) -> JobStatus:
    finished = sum(closing.is_done(unit, words) for unit in units)
    failed = sum(unit.key in words and words[unit.key].state == "failed" for unit in units)
    return JobStatus(job, finished, failed, len(units) - finished - failed, 0)
