"""What does every job of a slurm run do first, and how does it end?

It asks whether it may begin (`hpc.admission`); an error raised on purpose becomes a line of
its log and an exit status.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hpc.admission import admit
from hpc.origin import check_origin
from hpc.run_folder import RunFolder
from hpc.worker import FULL
from lamstore.errors import DiskFullError, LamstoreError
from lamstore.study import Study

REFUSED = 3
"""Exit status when the job may not begin."""


def serve(
    argv: Sequence[str] | None,
    description: str | None,
    work: Callable[[RunFolder, argparse.Namespace], int],
) -> int:
    """Do a job's work once it is admitted; returns its exit status.

    Parameters
    ----------
    argv : sequence of str or None
        As every generated script gives them; None for those of this process.
    description : str or None
    work : callable
        Is given the run and the parsed arguments.
    """
    arguments = parser(description).parse_args(argv)
    try:
        check_origin()
        run = RunFolder(Study.at(Path(arguments.study)), arguments.run)
        admit(run, arguments.script, arguments.job)
        return work(run, arguments)
    except DiskFullError as error:
        say(str(error))
        return FULL
    except LamstoreError as error:
        say(str(error))
        return REFUSED


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that every generated script gives."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("study")
    made.add_argument("--run", required=True)
    made.add_argument("--script", required=True, help="stem of the batch script")
    made.add_argument("--job", required=True, help="id of the array")
    made.add_argument("--index", default="", help="of the task in the array")
    made.add_argument("--lines", default="", help="of the plan, A:B")
    made.add_argument("--restart", default="0", help="how often it was requeued")
    return made


def task_name(arguments: argparse.Namespace) -> str:
    """Stem of the job's ledger files: no two attempts share one."""
    index = f"_{arguments.index}" if arguments.index else ""
    name = f"{arguments.run}-{arguments.script}-{arguments.job}{index}"
    return f"{name}-r{arguments.restart}"


def say(text: str) -> None:
    """One line for the log."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
