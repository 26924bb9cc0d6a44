"""What does a person see of `lam run --on slurm`? Scripts, or jobs, or progress until the end."""

from __future__ import annotations

from rich.console import Console

from hpc.follow import Follower
from hpc.launch import Request, farewell
from hpc.losses import outcome
from hpc.profiles import Profile
from hpc.progress import watch
from hpc.run import Plan
from hpc.run_folder import RunFolder
from hpc.slurm import site, tasks
from hpc.slurm_run import Selection, plan_slurm_run
from hpc.slurm_submit import submit
from hpc.slurm_watch import await_run


def launch_slurm(
    plan: Plan,
    run: RunFolder,
    profile: Profile,
    selection: Selection,
    request: Request,
    console: Console,
) -> RunFolder:
    """Write a run and submit it, unless it is a dry run; the caller holds the lock."""
    plan_slurm_run(plan, run, profile, selection, site(), request.retries)
    if request.dry_run:
        _show_scripts(run, console)
        return run
    submit(run)
    announce(run, console)
    return run


def announce(run: RunFolder, console: Console) -> None:
    """Say what was submitted."""
    arrays = run.facts.arrays.values()
    units = sum(array.end - array.begin for array in arrays)
    tasks = sum(array.tasks for array in arrays)
    console.print(
        f"Run [bold]{run.id}[/bold]: {units} units in {tasks} tasks of {len(arrays)} arrays, "
        f"jobs {', '.join(run.jobs())}.",
        highlight=False,
        soft_wrap=True,
    )


def _show_scripts(run: RunFolder, console: Console) -> None:
    for path in [*sorted(run.path.glob("*.sbatch")), run.path / "submit.sh"]:
        console.print(f"[dim]# ==> {path}[/dim]", highlight=False, soft_wrap=True)
        console.out(path.read_text(), highlight=False)
    console.print(
        f"Nothing was submitted. All of it: [cyan]bash {run.path / 'submit.sh'}[/cyan], "
        "or each script by hand with sbatch",
        highlight=False,
        soft_wrap=True,
    )


def after_submission(run: RunFolder, request: Request, console: Console, begun: float) -> int:
    """Stay with a run if that was asked for, or say how to come back to it."""
    study = run.study
    if request.dry_run:
        return 0
    if not request.wait:
        console.print(f"  watch   [cyan]lam status {study.path} --watch[/cyan]", soft_wrap=True)
        console.print(f"  end     [cyan]lam cancel {study.path}[/cyan]", soft_wrap=True)
        return 0
    with watch(console) as watcher:
        last = await_run(run, watcher)
    ledger = Follower(study.ledger.folder)
    ledger.refresh()
    found = outcome(last, ledger, tasks(list(last.jobs()), accounting=last.facts.accounting))
    unreported = ledger.words.get("report////")
    reported = unreported is not None and unreported.state == "done"
    lost = len(found.lost) + len(found.blocked) + len(found.waiting) + (not reported)
    if lost:
        console.print(f"{len(found.lost)} units were lost. Which and why:", highlight=False)
        console.print(f"  [cyan]lam status {study.path}[/cyan]", soft_wrap=True)
        console.print(f"  [cyan]lam retry {study.path}[/cyan]", soft_wrap=True)
    if request.subjects:
        from hpc.debug_pictures import debug_pictures

        for path in debug_pictures(study, request.subjects):
            console.print(f"  picture  {path}", highlight=False, soft_wrap=True)
    return farewell(study, console, lost, begun)
