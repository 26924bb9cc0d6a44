"""How is one unit done, whatever executor asked for it? The only place that runs jobs.

A failed unit is recorded with its error and never stops the others; only what makes all further
work pointless (no space left, a store that cannot be opened) ends the task.
"""

from __future__ import annotations

import time
import traceback

from hpc.registry import JOBS
from jobs.workbench import Workbench
from lamstore.errors import DiskFullError, LamstoreError, disk_full, means_no_space
from lamstore.ledger import LedgerFile, Record, done, failed, started
from lamstore.units import Unit

TRACEBACK_LINES = 30


def execute(
    bench: Workbench, ledger: LedgerFile, unit: Unit, *, again: bool, after: float = 0.0
) -> Record:
    """Do one unit and record it.

    Parameters
    ----------
    again : bool
        Whether the ledger calls this unit done; that is withdrawn first.
    after : float
        When the ledger's last word on this unit was said; 0 when there is none.

    Raises
    ------
    DiskFullError
    """
    if again:
        ledger.append(started(unit), after)
    record = attempt(bench, unit)
    ledger.append(record, after)
    return record


def attempt(bench: Workbench, unit: Unit) -> Record:
    """Do one unit; an error becomes the record of a failure."""
    begun = time.perf_counter()
    try:
        outcome = JOBS[unit.job].run(bench, unit)
    except DiskFullError:
        raise
    except Exception as error:  # whatever a plug-in raises is this unit's failure
        if means_no_space(error):
            raise disk_full(f"do {unit}", error) from error
        return failed(unit, describe(error), time.perf_counter() - begun)
    return done(unit, outcome.result, outcome.arrays, time.perf_counter() - begun)


def describe(error: BaseException) -> dict[str, str]:
    """An error as the ledger keeps it."""
    lines = traceback.format_exception(error)
    cause = "out of memory" if isinstance(error, MemoryError) else "error"
    message = str(error) if isinstance(error, LamstoreError) else f"{type(error).__name__}: {error}"
    return {
        "type": type(error).__name__,
        "message": message,
        "cause": cause,
        "traceback": "".join(lines[-TRACEBACK_LINES:]),
    }
