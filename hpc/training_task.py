"""What does one task of a sweep's array do? Its run, from where it stood.

``python -P -m hpc.training_task SWEEP --index I …`` is what the batch script runs. On SIGUSR1
(before the time limit) or SIGTERM the state is written after the step at hand, and the task ends
with the status by which its script requeues it. Without ``--index`` it is the last job: it gathers
the tables of all runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from hpc.job import REFUSED, parser, say
from hpc.origin import check_origin
from hpc.slurm_script import STOPPED
from hpc.training import train_here
from hpc.training_sweep import read_sweep
from hpc.training_table import gather
from lamstore.errors import LamstoreError


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status says how the task ended."""
    arguments = parser(__doc__).parse_args(argv)
    try:
        check_origin()
        folder = Path(arguments.study)
        if not arguments.index:
            runs, _ = gather(folder)
            say(f"{int(runs['done'].sum())} of {len(runs)} runs done; see {folder / 'sweep.csv'}")
            return 0
        run = read_sweep(folder)[int(arguments.index)]
        say(f"{run.name}, restart {arguments.restart}")
        found = train_here(run.config, Console(width=160), resume=True)
    except LamstoreError as error:
        say(str(error))
        return REFUSED
    say(f"{found.progress.step} of {run.config.steps} steps: {found.progress.ended or 'stopped'}")
    return 0 if found.done else STOPPED


if __name__ == "__main__":
    sys.exit(main())
