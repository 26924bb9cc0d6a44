"""What does SLURM say? The few calls of its clients that lamstore makes, and what they mean.

Never one call a task: a whole run is asked after at once, by one ``squeue`` and, where accounting
is on and ``squeue`` has forgotten, one ``sacct``.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from lamstore.errors import ExecutorError

CALL_TIMEOUT_S = 120


class Phase(StrEnum):
    """Where a task is."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


_QUEUED = frozenset(
    {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
_RUNNING = frozenset(
    {
        "RUNNING",
        "COMPLETING",
        "CONFIGURING",
        "SUSPENDED",
        "STOPPED",
        "SIGNALING",
        "STAGE_OUT",
        "RESIZING",
    }
)

CAUSES = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "NODE_FAIL": "node lost",
    "BOOT_FAIL": "node lost",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "FAILED": "task failed",
    "COMPLETED": "no record",
}
"""Why a unit has no record, by the state in which SLURM says that its task ended."""


class Task(NamedTuple):
    """State of one task: SLURM's word, and the reason why it waits."""

    state: str
    reason: str = ""

    @property
    def phase(self) -> Phase:
        """Queued, running or ended."""
        if self.state in _QUEUED:
            return Phase.QUEUED
        return Phase.RUNNING if self.state in _RUNNING else Phase.ENDED


Tasks = Mapping[tuple[str, int], Task]
"""By job id and array index; index 0 for a single job."""


@dataclass(frozen=True)
class Site:
    """What ``scontrol show config`` says of a cluster.

    Attributes
    ----------
    max_array_size : int
        Number of tasks that one array may have.
    accounting : bool
        Whether ``sacct`` has anything to say.
    """

    max_array_size: int
    accounting: bool
    version: str = ""


def call(*argv: str) -> str:
    """Standard output of one client.

    Raises
    ------
    ExecutorError
        When SLURM is not here, does not answer or refuses.
    """
    if shutil.which(argv[0]) is None:
        raise ExecutorError(
            f"{argv[0]} is not here, so there is no SLURM to ask",
            remedy="type this on a login node, load SLURM's module, or use --on local",
        )
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=CALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ExecutorError(f"{argv[0]} did not answer within {CALL_TIMEOUT_S} s") from error
    if done.returncode:
        raise ExecutorError(f"{argv[0]} failed", got=done.stderr.strip() or f"{done.returncode}")
    return done.stdout


def site() -> Site:
    """Limits of the cluster, in one call."""
    return parse_site(call("scontrol", "show", "config"))


def parse_site(text: str) -> Site:
    """`Site` from the text of ``scontrol show config``."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    said = {key.strip(): value.strip() for key, _, value in pairs}
    kind = said.get("AccountingStorageType", "")
    return Site(
        max_array_size=max(1, int(said.get("MaxArraySize", "1001"))),
        accounting=bool(kind) and not kind.endswith("none"),
        version=said.get("SLURM_VERSION", ""),
    )


def tasks(jobs: Sequence[str], *, accounting: bool) -> dict[tuple[str, int], Task]:
    """State of every task of these jobs that SLURM still knows.

    Raises
    ------
    ExecutorError
    """
    if not jobs:
        return {}
    found = _squeue(jobs)
    if accounting and {job for job, _ in found} < set(jobs):
        text = call("sacct", "-X", "-n", "-P", "-j", ",".join(jobs), "-o", "JobID,State")
        found = parse_sacct(text) | found
    return found


def _squeue(jobs: Sequence[str]) -> dict[tuple[str, int], Task]:
    ask = ["squeue", "-h", "-r", "--states=all", "-j", ",".join(jobs), "-o", "%F|%K|%T|%r"]
    try:
        return parse_squeue(call(*ask))
    except ExecutorError as error:
        if "Invalid job id" in (error.got or ""):  # it has forgotten them all
            return {}
        raise


def parse_squeue(text: str) -> dict[tuple[str, int], Task]:
    """Lines of job, array index, state and reason."""
    found = {}
    for line in text.splitlines():
        job, index, state, reason = line.strip().split("|", 3)
        found[job, int(index) if index.isdigit() else 0] = Task(state, reason)
    return found


def parse_sacct(text: str) -> dict[tuple[str, int], Task]:
    """Lines of ``job_index|state``; a state may go on (``CANCELLED by 1000``)."""
    found = {}
    for line in text.splitlines():
        name, _, state = line.strip().partition("|")
        job, _, index = name.partition("_")
        if index.isdigit() or not index:  # ranges of waiting tasks are squeue's to tell
            found[job, int(index or 0)] = Task(state.split()[0] if state else "")
    return found


def in_queue(jobs: Sequence[str]) -> list[str]:
    """Those jobs of which something waits or runs."""
    left = {job for (job, _), task in _squeue(jobs).items() if task.phase is not Phase.ENDED}
    return [job for job in jobs if job in left]


def cancel(jobs: Iterable[str]) -> None:
    """Take jobs out of the queue and end what runs of them."""
    listed = list(jobs)
    if listed:
        call("scancel", *listed)


def cause_from_log(text: str) -> str | None:
    """Why a task ended, by what SLURM wrote into its log; None when it wrote nothing.

    The only witness where accounting is off and the controller has forgotten the job.
    """
    for line in reversed(text.splitlines()):
        if "DUE TO TIME LIMIT" in line:
            return "timeout"
        if "DUE TO PREEMPTION" in line:
            return "preempted"
        if "DUE TO NODE FAILURE" in line:
            return "node lost"
        if "oom_kill" in line or "oom-kill" in line or "OOM Killed" in line:
            return "out of memory"
        if "slurmstepd" in line and "CANCELLED AT" in line:
            return "cancelled"
    return None
