"""What does a worker process do? Reads units as JSON lines, does them, answers with JSON lines.

``python -P -m hpc.worker STUDY --task NAME`` serves standard input until it is closed. Standard
output carries the answers alone: whatever a library prints goes to standard error, the log.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import IO

import orjson

from hpc.origin import check_origin
from lamstore.errors import LamstoreError
from lamstore.ledger import Entry
from lamstore.units import Unit, parse_key

BEGIN = "begin"
"""Word before a unit's key in the log: what follows, up to the next, belongs to that unit."""

NEW = {"again": False, "after": 0.0}
"""What a request says of a unit on which the ledger has no word."""

FULL = 75
"""Exit status when there is no space left (EX_TEMPFAIL): rerun once there is."""


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status is 0 when standard input was served to its end."""
    parser = argparse.ArgumentParser(prog="python -P -m hpc.worker", description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--task", required=True, help="unique name, the stem of its ledger file")
    parser.add_argument("--verbose", action="store_true", help="log every unit's result")
    arguments = parser.parse_args(argv)
    _die_with_parent()
    answers = _own_stdout()
    try:
        check_origin()
        _serve(arguments.study, arguments.task, answers, verbose=arguments.verbose)
    except LamstoreError as error:
        parts = {"got": error.got, "expected": error.expected, "remedy": error.remedy}
        _answer(answers, {"fatal": error.what, "type": type(error).__name__, "parts": parts})
        return FULL
    return 0


def _serve(path: str, task: str, answers: IO[bytes], *, verbose: bool) -> None:
    from hpc.execute import execute
    from hpc.provenance import provenance
    from jobs.workbench import Workbench
    from lamstore.ledger import LedgerFile
    from lamstore.study import Study

    study = Study.at(path)
    bench = Workbench(study)
    with LedgerFile(study.ledger.folder, task, provenance(study)) as ledger:
        _answer(answers, {"ready": os.getpid()})
        for unit, again, after in _requests():
            say(f"{BEGIN} {unit.key}")
            record = execute(bench, ledger, unit, again=again, after=after)
            say(f"{record.state} in {record.seconds:.2f} s")
            if verbose:
                say(_shown(record.result or record.error))
            said = {"unit": unit.key, "state": record.state, "seconds": record.seconds}
            _answer(answers, said | ({"error": dict(record.error)} if record.error else {}))


def _shown(result: object) -> str:
    return orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def say(text: str) -> None:
    """One line for the log."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)


def _requests() -> Iterator[tuple[Unit, bool, float]]:
    stopping: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: stopping.append(number))
    for line in sys.stdin.buffer:
        if stopping:
            return
        request = orjson.loads(line)
        unit = parse_key(request["unit"], request["fingerprint"])
        yield unit, request["again"], request["after"]


def request(unit: Unit, word: Entry | None) -> bytes:
    """The line that asks a worker for a unit; `word` is the ledger's last on it."""
    known = {"again": word.state == "done", "after": word.finished} if word else NEW
    body = {"unit": unit.key, "fingerprint": unit.fingerprint, **known}
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def _answer(stream: IO[bytes], body: dict[str, object]) -> None:
    stream.write(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE))
    stream.flush()


def _own_stdout() -> IO[bytes]:
    """Keep standard output for the answers and point everybody else's at standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent goes: no orphan ever writes."""
    parent_death_signal = 1
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(parent_death_signal, signal.SIGKILL)
    if os.getppid() == 1 and "LAMSTORE_PARENT" in os.environ:
        sys.exit("the run that started this worker is gone")


if __name__ == "__main__":
    sys.exit(main())
