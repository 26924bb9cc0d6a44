"""How does a study get from its files to its report? Survey, store, waves of units, report.

The planner here is the only process that creates or grows arrays; executors only do units. State
is read back from the ledger between waves, so whatever happened in between counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpc import kept
from hpc.local import Listener
from hpc.plan import (
    EngineFacts,
    Wanted,
    cohort_unit,
    engine_facts,
    left,
    needs_of,
    ready,
    report_unit,
    suite,
    wanted_units,
)
from hpc.provenance import provenance
from hpc.registry import VOXEL_JOBS
from jobs.datasets import load_dataset
from jobs.datasets.manifest import Manifest, survey
from jobs.engines.base import Engine, Localizer
from jobs.infer import stored_measures
from jobs.standard_scale import keep_recipe
from jobs.workbench import audited_engines
from lamstore.build import ensure
from lamstore.config import StudyConfig
from lamstore.errors import ConfigError
from lamstore.ledger import Entry, LedgerFile, started
from lamstore.schema import EngineLayout, Layout
from lamstore.study import Study
from lamstore.units import Unit, parse_key


class Executor(Protocol):
    """Runs units; the ledger holds the results."""

    def run(self, units: Iterable[Unit], words: Mapping[str, Entry], listener: Listener) -> None:
        """Do all units; returns when each is done or failed."""


@dataclass(frozen=True)
class Plan:
    """Everything that a study wants, after a look at its cohort and engines."""

    study: Study
    manifest: Manifest
    engines: tuple[EngineFacts, ...]
    wanted: Wanted

    def words(self) -> dict[str, Entry]:
        """Latest words of the ledger."""
        return self.study.ledger.latest()

    @property
    def facts(self) -> kept.Facts:
        """What counting needs beside the wanted units."""
        return kept.facts_of(self.study, {engine.name: engine.shifts for engine in self.engines})


def make_plan(study: Study, *, keep: bool = True) -> Plan:
    """Look at the cohort and the engines; writes nothing but what workers must find.

    Parameters
    ----------
    keep : bool
        Whether to write the manifest, what is wanted, and from which scans a standard scale is
        learned: only who holds the study's lock may, since workers read them.

    Raises
    ------
    ConfigError, EngineError
        When the dataset or an engine cannot be used at all.
    """
    manifest = look(study, keep=keep)
    if keep and "nyul" in study.config.harmonizations:
        keep_recipe(study, manifest)
    plan = _plan_of(study, manifest)
    if keep:
        kept.keep(study, plan.facts, list(plan.wanted), needs_of(manifest))
    return plan


def kept_plan(study: Study) -> Plan:
    """The plan for the cohort as a planner left it, without a look at any of its files."""
    return _plan_of(study, Manifest.read(study.path / "cohort.json"))


def _plan_of(study: Study, manifest: Manifest) -> Plan:
    engines = audited_engines(study)
    _refuse_both_kinds(engines)
    facts = tuple(engine_facts(study, manifest, n, e) for n, e in engines.items())
    return Plan(study, manifest, facts, wanted_units(study.config, manifest, facts))


def _refuse_both_kinds(engines: Mapping[str, Engine]) -> None:
    located = [name for name, engine in engines.items() if isinstance(engine, Localizer)]
    if located and len(located) < len(engines):
        raise ConfigError(
            "a study audits segmenters or localizers, not both: their tables and report differ",
            got=f"localizers {', '.join(located)} among {', '.join(engines)}",
            remedy="make two studies; `lam new` of the same dataset costs nothing",
        )


def look(study: Study, *, keep: bool = True) -> Manifest:
    """Survey the cohort's headers, only those of changed files, and `keep` what was found."""
    config = study.config.dataset
    path = study.path / "cohort.json"
    known = Manifest.read(path)
    manifest = survey(load_dataset(config.adapter, config.root, config.options), config, known)
    if keep and manifest != known:
        manifest.write(path)
    return manifest


def prepare_store(plan: Plan) -> None:
    """Create or grow the store so that every wanted unit has its place."""
    usable = plan.manifest.check.usable
    if not usable:
        return
    config = plan.study.config
    engines = audited_engines(plan.study)
    layout = _layout(plan, config, engines)
    _forget_failures(plan)
    ensure(
        plan.study.store_path,
        layout,
        {c.subject: c.grid for c in usable if c.grid},
        {c.subject: c.available for c in usable},
        {"provenance": provenance(plan.study)},
    )


def _forget_failures(plan: Plan) -> None:
    """Withdraw the failures of units that nobody wants any more, so that no table lists them."""
    wanted, words = {unit.key for unit in plan.wanted}, plan.words()
    stale = [
        parse_key(key, word.fingerprint)
        for key, word in words.items()
        if word.state == "failed" and key not in wanted and key.split("/")[0] in VOXEL_JOBS
    ]
    if stale:
        task = f"{new_run_id()}-plan"
        with LedgerFile(plan.study.ledger.folder, task, provenance(plan.study)) as ledger:
            for unit in stale:
                ledger.append(started(unit), words[unit.key].finished)


def _layout(plan: Plan, config: StudyConfig, engines: Mapping[str, Engine]) -> Layout:
    check = plan.manifest.check
    spacing = np.median([c.grid.spacing_mm for c in check.usable if c.grid], axis=0).tolist()
    facts = {f.name: f for f in plan.engines}
    present = {cell for c in check.usable for cell in c.available}
    # One that is required may also stand among the optional ones, which have a default.
    wanted = dict.fromkeys((*config.dataset.modalities, *config.dataset.optional_modalities))
    return Layout(
        subjects=tuple(c.subject for c in check.usable),
        timepoints=tuple(sorted({timepoint for timepoint, _ in present})),
        modalities=tuple(m for m in wanted if any(m == found for _, found in present)),
        extent=check.extent,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        volume_dtype=str(check.dtype),
        brainmask=any(c.has_brainmask for c in check.usable),
        lesion_truth=any(c.lesion_truth for c in check.usable),
        change_truth=any(c.has_change_truth for c in check.usable),
        store_shifted=config.shifts.store_shifted,
        shifts=tuple(shift.label for shift in suite(config)),
        engines={
            name: _engine_layout(facts[name].shifts, engine, config)
            for name, engine in engines.items()
        },
    )


def _engine_layout(shifts: tuple[str, ...], engine: Engine, config: StudyConfig) -> EngineLayout:
    if isinstance(engine, Localizer):
        return EngineLayout(shifts, levels=engine.levels)
    measures = stored_measures(engine, config.uncertainty.measures)
    return EngineLayout(shifts, engine.members, measures)


def run_plan(
    plan: Plan,
    executor: Executor,
    listener: Listener,
    starting: Callable[[str, int], None],
    only: frozenset[str] | None = None,
) -> int:
    """Run every wave, of all or `only` some subjects; returns how many units were attempted."""
    index = {unit.key: unit for unit in plan.wanted}
    attempted = 0
    for job in VOXEL_JOBS:
        words = plan.words()
        wanted = chosen(plan.wanted.of(job), only)
        units = ready(left(wanted, words), index, words, plan.manifest)
        attempted += _wave(executor, job, units, words, listener, starting)
    return attempted + close_plan(plan, executor, listener, starting)


def chosen(units: Iterable[Unit], only: frozenset[str] | None) -> list[Unit]:
    """Units of these subjects; all of them when `only` is None."""
    return [unit for unit in units if only is None or unit.subject in only]


def close_plan(
    plan: Plan,
    executor: Executor,
    listener: Listener,
    starting: Callable[[str, int], None],
) -> int:
    """Gather the cohort and write the report, from whatever is done by now."""
    words, attempted = plan.words(), 0
    units = left((cohort_unit(engine, plan.wanted, words) for engine in plan.engines), words)
    if plan.manifest.check.usable:
        attempted += _wave(executor, "cohort", units, words, listener, starting)
    words = plan.words()
    units = left([report_unit(plan.study.config, plan.engines, words)], words)
    return attempted + _wave(executor, "report", units, words, listener, starting)


def _wave(
    executor: Executor,
    job: str,
    units: Sequence[Unit],
    words: Mapping[str, Entry],
    listener: Listener,
    starting: Callable[[str, int], None],
) -> int:
    if units:
        starting(job, len(units))
        executor.run(units, words, listener)
    return len(units)


def new_run_id() -> str:
    """Id of a run: when it began, to the millisecond; sorts by time."""
    now = time.time()
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{int(now * 1000) % 1000:03d}"


__all__ = ["Executor", "Plan", "make_plan", "new_run_id", "prepare_store", "run_plan"]
