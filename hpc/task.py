"""What does one task of an array do? Its lines of the plan, many units, the engine loaded once.

``python -P -m hpc.task STUDY --run ID --script NAME --lines A:B …`` is what a batch script runs.
The units are done by worker processes, as on one machine (`hpc.local`): one that is killed for its
memory costs the unit that it was at, which is recorded with that cause, and the task goes on.

On SIGUSR1 (before the time limit) the unit at hand is finished or abandoned and the task ends with
a status by which its script requeues it. A requeued task does only what is left.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpc.closing import is_done
from hpc.job import say, serve, task_name
from hpc.local import Event, LocalExecutor
from hpc.plan_file import Planned, read_plan
from hpc.provenance import provenance
from hpc.run_folder import ArrayFacts, RunFolder
from hpc.slurm_script import STOPPED
from lamstore.ledger import Entry, LedgerFile, failed
from lamstore.units import Unit

GRACE_MARGIN_S = 15
"""What of the time between the signal and the limit is kept for ending."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status says how the task ended, the ledger what became of the units."""
    return serve(argv, __doc__, _do_lines)


def _do_lines(run: RunFolder, arguments: argparse.Namespace) -> int:
    begin, _, end = arguments.lines.partition(":")
    task = ArrayTask(run, run.facts.arrays[arguments.script], task_name(arguments))
    return task.run(read_plan(run.plan, int(begin), int(end)))


@dataclass
class ArrayTask:
    """One attempt at one slice of the plan."""

    folder: RunFolder
    facts: ArrayFacts
    name: str
    ended: set[str] = field(default_factory=set)
    begun_s: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def run(self, planned: Sequence[Planned]) -> int:
        """Do what is left of these units; returns the exit status."""
        words = self.folder.study.ledger.latest()
        units = self.choose(planned, words)
        say(f"{len(units)} of {len(planned)} units to do")
        if not units:
            return 0
        with LocalExecutor(
            self.folder.study,
            self.folder.id,
            self.facts.processes,
            task=self.name,
            logs=self.folder.logs,
            verbose=self.folder.facts.verbose,
        ) as executor:
            signal.signal(signal.SIGUSR1, lambda *_: self.stop(executor))
            executor.run(units, words, self.hear)
            abandoned = executor.at_hand() if self.stopped else []
        return self.conclude(units, abandoned)

    def choose(self, planned: Sequence[Planned], words: Mapping[str, Entry]) -> list[Unit]:
        """Units that are left and whose inputs are done; says which wait."""
        units = []
        for unit, needs in planned:
            if self._settled(unit, words):
                continue
            missing = [need for need in needs if not is_done(need, words)]
            if missing:
                say(f"left out {unit.key}: {missing[0].key} is not done")
            else:
                units.append(unit)
        return units

    def _settled(self, unit: Unit, words: Mapping[str, Entry]) -> bool:
        word = words.get(unit.key)
        if word is None or word.fingerprint != unit.fingerprint:
            return False
        failed_now = word.state == "failed" and word.finished >= self.folder.facts.created
        return word.state == "done" or failed_now

    def hear(self, event: Event) -> None:
        """A unit has ended."""
        self.ended.add(event.unit.key)
        message = f": {event.message}" if event.message else ""
        say(f"{event.state} {event.unit.key} in {event.seconds:.2f} s{message}")

    def stop(self, executor: LocalExecutor) -> None:
        """Told to end: the time limit is near, or the task is preempted."""
        if not self.stopped:
            self.stopped = True
            grace_s = max(5, self.facts.lead_s - GRACE_MARGIN_S)
            say(f"told to stop; the unit at hand has {grace_s} s")
            executor.stop(grace_s)

    def conclude(self, units: Sequence[Unit], abandoned: Sequence[Unit]) -> int:
        """Exit status; a unit that takes more than the whole time limit is recorded as failed."""
        left = {unit.key for unit in units} - self.ended
        if abandoned and not self.ended and self._had_its_time():
            with LedgerFile(
                self.folder.study.ledger.folder,
                f"{self.name}-timeout",
                provenance(self.folder.study),
            ) as ledger:
                for unit in abandoned:
                    ledger.append(failed(unit, _timeout(self.facts.time_s), self.facts.time_s))
                    say(f"failed {unit.key}: not done within the time limit")
                    left.discard(unit.key)
        if not left:
            return 0
        say(f"{len(left)} units left")
        return STOPPED

    def _had_its_time(self) -> bool:
        # SLURM may send the signal up to a minute early; any other signal comes much earlier.
        used_s = time.monotonic() - self.begun_s
        return used_s >= self.facts.time_s - self.facts.lead_s - 75


def _timeout(limit_s: int) -> dict[str, str]:
    message = f"the unit was not done within the task's time limit of {limit_s} s"
    return {"type": "Timeout", "message": message, "cause": "timeout", "traceback": ""}


if __name__ == "__main__":
    sys.exit(main())
