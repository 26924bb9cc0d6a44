"""What does a dask worker do? One batch of units after the other, store and engines kept open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import dask

from hpc.attempt import LIMIT, Attempt, begin
from hpc.execute import execute
from hpc.origin import check_origin
from hpc.provenance import provenance, study_digest
from hpc.run_folder import RunFolder
from hpc.worker import BEGIN, say
from jobs.workbench import Workbench
from lamstore.errors import ExecutorError
from lamstore.ledger import Entry, LedgerFile, failed
from lamstore.study import Study
from lamstore.units import Unit, parse_key

LOG = "LAMSTORE_WORKER_LOG"
"""Environment variable with the path of this worker's log."""

Asked = tuple[str, str, bool, float]
"""Key and fingerprint of a unit, whether the ledger calls it done, and when it last spoke of it."""

Answer = dict[str, Any]


def do_batch(study: str, run: str, batch: str, asked: Sequence[Asked]) -> list[Answer]:
    """Do the units of a batch that no earlier attempt has settled.

    Returns
    -------
    list of dict
        ``unit``, ``state``, ``seconds`` and ``message`` of every unit of the batch.
    """
    folder, bench = _open(study, run)
    units = [parse_key(key, fingerprint) for key, fingerprint, _, _ in asked]
    attempt = begin(folder, batch, units, os.environ.get(LOG, ""))
    with (
        # What a unit computes with dask stays here: in a task dask's default is the cluster, where
        # it would wait for others, and be lost when this worker has had its time.
        dask.config.set(scheduler="threads"),
        LedgerFile(folder.study.ledger.folder, attempt.task, provenance(folder.study)) as ledger,
    ):
        return [
            _do(bench, ledger, attempt, unit, again=again, after=after)
            for unit, (_, _, again, after) in zip(units, asked, strict=True)
        ]


@lru_cache(maxsize=1)
def _open(study: str, run: str) -> tuple[RunFolder, Workbench]:
    """Once for each process: nothing that is kept open outlives a run."""
    check_origin()
    folder = RunFolder(Study.at(study), run)
    if study_digest(folder.study) != folder.facts.study_digest:
        raise ExecutorError(
            f"study.yaml has changed since run {run} was planned", remedy="end the run, begin again"
        )
    return folder, Workbench(folder.study)


def _do(
    bench: Workbench,
    ledger: LedgerFile,
    attempt: Attempt,
    unit: Unit,
    *,
    again: bool,
    after: float,
) -> Answer:
    known = attempt.settled.get(unit.key)
    if known is not None:
        return known_answer(unit.key, known)
    if attempt.superseded:
        raise ExecutorError(f"batch {attempt.batch} was begun again elsewhere")
    if len(attempt.deaths.get(unit.key, ())) >= LIMIT:
        record = failed(unit, _killer(attempt, unit), 0.0)
        ledger.append(record, after)
    else:
        say(f"{BEGIN} {unit.key}")
        record = execute(bench, ledger, unit, again=again or attempt.number > 1, after=after)
    message = record.error.get("message", "")
    return {
        "unit": unit.key,
        "state": record.state,
        "seconds": record.seconds,
        "message": message,
    }


def known_answer(key: str, word: Entry) -> Answer:
    """The answer for a unit that an earlier attempt has settled."""
    return {"unit": key, "state": word.state, "seconds": 0.0, "message": ""}


def _killer(attempt: Attempt, unit: Unit) -> dict[str, str]:
    cause = attempt.cause_of_death(unit.key)
    message = f"the worker died {len(attempt.deaths[unit.key])} times at this unit ({cause})"
    return {"type": "KilledWorker", "message": message, "cause": cause, "traceback": ""}
