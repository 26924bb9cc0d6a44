"""What is handed to sbatch? The text of a batch script: a pure function of what it should do.

A script can be read, changed and submitted by hand with plain ``sbatch``; nothing in it needs the
process that rendered it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hpc.profiles import Profile, Resources
from hpc.resources import show_memory, show_time

STOPPED = 85
"""Exit status of a task that was told to stop and leaves units: its script requeues it."""

RESUBMIT = 86
"""Exit status of the last job when it planned a run that makes good what was lost."""


@dataclass(frozen=True)
class Batch:
    """Everything that decides the text of one script.

    Attributes
    ----------
    title : str
        For people: what it does, for which study.
    name : str
        Job name.
    module : str
        Python module to run: ``hpc.task`` or ``hpc.finish``.
    study, run, script : str
        Path of the study, id of the run, stem of this script's file.
    log, cwd : str
    python : str
        Interpreter; inside the container if there is one.
    container : tuple of str
        Words in front of the interpreter; ``$scratch`` in them is the task's own folder.
    exports : tuple of str
        Shell lines that those words rely on.
    lead_s : int
        How long before the time limit the task is told to stop.
    tasks : int or None
        Size of the array; None for a single job.
    begin, per_task, end : int
        Task i does lines ``begin + i * per_task`` and following of the plan, up to `end`.
    next_submit : str
        For the last job: script that submits the run that makes good what was lost.
    """

    title: str
    name: str
    module: str
    study: str
    run: str
    script: str
    log: str
    cwd: str
    python: str
    memory_mib: int
    time_s: int
    lead_s: int
    container: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    tasks: int | None = None
    throttle: int | None = None
    begin: int = 0
    per_task: int = 1
    end: int = 0
    next_submit: str = ""


def render(batch: Batch, profile: Profile, resources: Resources) -> str:
    """The text of one batch script."""
    lines = [f"#SBATCH {option}" for option in _options(batch, resources)]
    parts = [
        "#!/bin/bash",
        f"# {batch.title}",
        "# Submit it by hand with: sbatch THIS_FILE",
        *lines,
        "",
        "# Exit status: 0 every unit has its word in the ledger, good or bad (`lam status`);",
        f"# {STOPPED} told to stop, the rest is requeued; 75 no space left; others: see the log.",
        "set -euo pipefail",
        *_setup(profile),
        "export PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1",
        'scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/lam-XXXXXXXX")',
        "trap 'rm -rf \"$scratch\"' EXIT",
        *batch.exports,
        "",
        *_command(batch),
        "",
        *_WAIT,
        "",
        *_ending(batch),
        "",
    ]
    return "\n".join(parts)


def directives(resources: Resources, memory_mib: int, time_s: int) -> list[str]:
    """What a job asks for, as sbatch's options."""
    named = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gres": resources.gres,
    }
    asked = [f"--{name}={sbatch_quote(value)}" for name, value in named.items() if value]
    return [
        *asked,
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={resources.cores}",
        f"--mem={show_memory(memory_mib)}",
        f"--time={show_time(time_s)}",
        *resources.extra_directives,
    ]


def sbatch_quote(text: str) -> str:
    """A value for an ``#SBATCH`` line, which is no shell but knows double quotes."""
    if all(c.isalnum() or c in "-_./:=,%+@&|*" for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _options(batch: Batch, resources: Resources) -> list[str]:
    throttle = f"%{batch.throttle}" if batch.throttle else ""
    array = [] if batch.tasks is None else [f"--array=0-{batch.tasks - 1}{throttle}"]
    pattern = "%A_%a" if batch.tasks is not None else "%j"
    log = f"{batch.log.replace('%', '%%')}-{pattern}.log"
    return [
        f"--job-name={sbatch_quote(batch.name)}",
        f"--comment=lamstore:{batch.run}",
        f"--chdir={sbatch_quote(batch.cwd)}",
        f"--output={sbatch_quote(log)}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{batch.lead_s}",
        *array,
        *directives(resources, batch.memory_mib, batch.time_s),
    ]


def _setup(profile: Profile) -> list[str]:
    lines = [f"module load {shlex.quote(name)}" for name in profile.modules]
    lines += profile.prologue
    # Site scripts are rarely written for `set -u`.
    return ["", "set +u", *lines, "set -u", ""] if lines else [""]


def _command(batch: Batch) -> list[str]:
    words = [f"study={shlex.quote(batch.study)}"]
    if batch.tasks is not None:
        words += [
            f"begin=$(({batch.begin} + SLURM_ARRAY_TASK_ID * {batch.per_task}))",
            f"end=$((begin + {batch.per_task} < {batch.end} ? begin + {batch.per_task} : "
            f"{batch.end}))",
        ]
    words.append("task_command=(")
    if batch.container:
        words.append("    " + " ".join(shell_word(word) for word in batch.container))
    words.append(f'    {shlex.quote(batch.python)} -P -m {batch.module} "$study"')
    words.append(f"    --run {shlex.quote(batch.run)} --script {shlex.quote(batch.script)}")
    if batch.tasks is not None:
        words.append('    --lines "$begin:$end" --index "$SLURM_ARRAY_TASK_ID"')
    words.append('    --job "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"')
    words.append('    --restart "${SLURM_RESTART_COUNT:-0}"')
    return [*words, ")"]


def shell_word(word: str) -> str:
    """Quoted; ``$scratch`` is the one variable that the script fills in."""
    return '"$scratch"' if word == "$scratch" else shlex.quote(word)


_WAIT = (
    "# The batch shell alone is signalled before the time limit; the task finishes its unit.",
    '"${task_command[@]}" &',
    "task=$!",
    "trap 'signalled=1; kill -USR1 \"$task\" 2>/dev/null || true' USR1",
    "trap 'signalled=1; kill -TERM \"$task\" 2>/dev/null || true' TERM",
    "while :; do",
    "    signalled=",
    "    status=0",
    '    wait "$task" || status=$?',
    "    [[ -n $signalled ]] || break # a trap, not the end of the task, ended the wait",
    "done",
)


def _ending(batch: Batch) -> list[str]:
    lines = []
    if batch.tasks is not None:
        lines += [
            f"if ((status == {STOPPED})); then",
            '    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "    sleep 60 # the requeue ends this script",
            "fi",
        ]
    if batch.next_submit:
        lines += [
            f"if ((status == {RESUBMIT})); then",
            f"    bash {shlex.quote(batch.next_submit)}",
            "    status=0",
            "fi",
        ]
    return [*lines, 'exit "$status"']


def render_submit(folder: str, title: str, scripts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The script that submits all scripts of a run, each after those that it waits for.

    Parameters
    ----------
    folder : str
        Of the run.
    title : str
    scripts : sequence of (name, names it waits for)
        A name appears before it is waited for.
    """
    calls = []
    for name, after in scripts:
        ids = "".join(f":${{id[{before}]}}" for before in after)
        options = f' "--dependency=afterany{ids}"' if after else ""
        calls.append(f"submit {shlex.quote(name)}{options}")
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {title}",
            "# Submits every script of the run, chained by dependency, and keeps the jobs' ids.",
            "set -euo pipefail",
            f"cd -- {shlex.quote(folder)}",
            "declare -A id",
            "",
            "withdraw() { # a run is submitted whole or not at all",
            '    ((${#id[@]})) && scancel "${id[@]}"',
            "    exit 1",
            "}",
            "",
            "submit() {",
            "    local name=$1 job",
            "    shift",
            '    job=$(sbatch --parsable "$@" "$name.sbatch") || withdraw',
            '    id[$name]=${job%%;*} # "id;cluster" where there are several clusters',
            '    printf \'%s\\n\' "$name" >"jobs/.new"',
            '    mv "jobs/.new" "jobs/${id[$name]}"',
            "}",
            "",
            *calls,
            "",
        ]
    )
