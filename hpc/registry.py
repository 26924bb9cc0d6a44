"""Which jobs are there, in which order, and what does each call?

The one place where jobs and analysis meet: the planner reads the order, the workers the calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs import cohort, compare, infer, ingest
from jobs.engines.base import Localizer
from jobs.workbench import Outcome, Workbench, configured_engine
from lamstore.config import StudyConfig
from lamstore.tables import consolidate
from lamstore.units import Unit


@dataclass(frozen=True)
class Job:
    """A kind of work.

    Attributes
    ----------
    name : str
    version : str
        Part of every fingerprint; raised when the same inputs give another result.
    run : callable
        Does one unit.
    says : str
        What it does, for progress and help.
    """

    name: str
    version: str
    run: Callable[[Workbench, Unit], Outcome]
    says: str


def _cohort(bench: Workbench, unit: Unit) -> Outcome:
    # What counts is what the plan wants; the planner computed the same from the same files.
    from hpc.plan import engine_facts, wanted_units

    config = bench.study.config
    engine = configured_engine(bench.study, unit.engine)
    facts = engine_facts(bench.study, bench.manifest, unit.engine, engine)
    wanted = wanted_units(config, bench.manifest, [facts])
    prints = {unit.key: unit.fingerprint for unit in wanted}
    return cohort.cohort(bench, unit, prints, facts.digest)


def _report(bench: Workbench, unit: Unit) -> Outcome:
    # Plotting libraries take seconds to import, and only this job needs them.
    from analysis.report import write_report
    from analysis.store_tables import write_tables
    from analysis.voxel_tables import write_voxel_audit
    from analysis.voxels import voxel_audit

    if _locates(bench):
        return _spine_report(bench)
    if not bench.study.store_path.exists():  # no subject could be taken in: a report all the same
        return Outcome(result={"report": write_report(bench.study).name})
    # Alone by now: every engine's metrics are in place.
    consolidate(bench.study.store_path)
    if not bench.study.config.engines:  # taken in to train on: nothing was audited
        return Outcome(result={"tables": [], "report": None})
    _spare_collector()
    tables = write_tables(bench.study)
    voxels = voxel_audit(bench.study)
    tables += write_voxel_audit(voxels, bench.study.tables)
    page = write_report(bench.study, voxels)
    return Outcome(result={"tables": [path.name for path in tables], "report": page.name})


def _spare_collector() -> None:
    """Modules stay until the process ends: the garbage collector need not visit their objects.

    A figure makes garbage by the thousand, and each full collection would go through all of them.
    """
    import gc

    import matplotlib.backends.backend_agg  # noqa: F401

    gc.freeze()


def _locates(bench: Workbench) -> bool:
    engines = (configured_engine(bench.study, v.name) for v in bench.study.config.variants)
    return any(isinstance(engine, Localizer) for engine in engines)


def _spine_report(bench: Workbench) -> Outcome:
    from analysis.screening import write_spine_report
    from analysis.store_tables import write_tables

    tables = []
    if bench.study.store_path.exists():  # else no study could be taken in
        consolidate(bench.study.store_path)
        tables = write_tables(bench.study)
    page = write_spine_report(bench.study, leakage_warnings(bench.study.config))
    return Outcome(result={"tables": [path.name for path in tables], "report": page.name})


def leakage_warnings(config: StudyConfig) -> tuple[str, ...]:
    """What the first page must say of studies that no list of ids has chosen."""
    from jobs.datasets.cohort_ids import leakage_warning

    warning = leakage_warning(config.dataset.options)
    return (warning,) if warning else ()


REPORT_VERSION = "2"

JOBS = {
    job.name: job
    for job in (
        Job("ingest", ingest.VERSION, ingest.ingest, "reading scans into the store"),
        Job("infer", infer.VERSION, infer.infer, "running the engines, with uncertainty"),
        Job("compare", compare.VERSION, compare.compare, "comparing timepoints and truth"),
        Job("cohort", cohort.VERSION, _cohort, "gathering the cohort's metrics"),
        Job("report", REPORT_VERSION, _report, "writing tables and report"),
    )
}
"""By name, in the order in which they run."""

VOXEL_JOBS = ("ingest", "infer", "compare")
"""Jobs with units by the thousand; the others have one unit an engine, or one."""
