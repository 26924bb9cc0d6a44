"""How far is a study? Derived from the wanted units and the ledger, never stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lamstore.ledger import Record
from lamstore.units import Unit

if TYPE_CHECKING:
    from hpc.run import Plan


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


def study_status(plan: Plan) -> StudyStatus:
    """Where a study stands; reads the ledger once, no voxels, no scheduler."""
    from hpc.plan import cohort_unit, is_done, report_unit
    from hpc.registry import VOXEL_JOBS

    words = plan.words()
    counts = {job: Counter[str]() for job in VOXEL_JOBS}
    failed: set[str] = set()
    for unit in plan.wanted:
        word = words.get(unit.key)
        if is_done(unit, words):
            state = "done"
        elif word is not None and word.state == "failed" and word.fingerprint == unit.fingerprint:
            state = "failed"
            failed.add(unit.key)
        else:
            state = "blocked" if failed and _blocked(plan, unit, failed) else "pending"
            if state == "blocked":
                failed.add(unit.key)
        counts[unit.job][state] += 1
    jobs = [_status(job, count) for job, count in counts.items()]
    single = {"cohort": [cohort_unit(engine, plan.wanted, words) for engine in plan.engines]}
    single["report"] = [report_unit(plan.study.config, plan.engines, words)]
    for job, units in single.items():
        jobs.append(_single(job, units, words))
        failed |= {u.key for u in units if u.key in words and words[u.key].state == "failed"}
    records = plan.study.ledger.records(state="failed") if failed else iter(())
    failures = tuple(r for r in records if r.unit.key in failed)
    return StudyStatus(tuple(jobs), failures)


def _blocked(plan: Plan, unit: Unit, failed: set[str]) -> bool:
    from hpc.plan import needs

    entry = plan.manifest.entry(unit.subject)
    timepoints = tuple(sorted({timepoint for timepoint, _ in entry.check.available}))
    return any(key in failed for key in needs(unit, timepoints))


def _status(job: str, count: Counter[str]) -> JobStatus:
    pending = count["pending"] + count["blocked"]
    return JobStatus(job, count["done"], count["failed"], pending, count["blocked"])


def _single(job: str, units: list[Unit], words: Any) -> JobStatus:
    from hpc.plan import is_done

    finished = sum(is_done(unit, words) for unit in units)
    failed = sum(unit.key in words and words[unit.key].state == "failed" for unit in units)
    return JobStatus(job, finished, failed, len(units) - finished - failed, 0)
