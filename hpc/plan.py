"""What is there to do, and what of it is left?

Every unit that a study wants, with its fingerprint, against the latest word of the ledger. A
fingerprint digests the job, its version, its parameters and the fingerprints of its inputs, so a
changed file, weight or parameter makes exactly what depends on it stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc import closing
from hpc.closing import Words, is_done
from hpc.registry import JOBS
from jobs.compare import shift_at
from jobs.datasets.manifest import Entry, Manifest
from jobs.engines.base import Engine, Localizer
from jobs.locate import VERSION as LOCATE_VERSION
from jobs.shift import Shift, shift_suite
from jobs.workbench import configured_variant, harmonization_record
from lamstore.config import StudyConfig, digest
from lamstore.study import Study
from lamstore.units import NO_SHIFT, Unit

INGEST_OPTIONS = {"modalities", "optional_modalities", "resample", "interpolation"}
"""What of the dataset section decides the stored voxels, beside the files."""


@dataclass(frozen=True)
class EngineFacts:
    """What planning needs to know of an engine.

    Attributes
    ----------
    name : str
        Of its group in the store.
    digest : str
        Of its options, version and weights, and of the harmonization in front of it.
    shifts : tuple of str
        Labels; only ``none`` for an engine that does not see shifts.
    locates : bool
        Whether it is a localizer: it gives heatmaps, and there is nothing to compare.
    """

    name: str
    digest: str
    shifts: tuple[str, ...]
    locates: bool = False


def engine_facts(study: Study, manifest: Manifest, name: str, engine: Engine) -> EngineFacts:
    """Facts of one configured engine; reads its weights' digest."""
    config = study.config
    labels = tuple(shift.label for shift in suite(config)) if engine.sees_shifts else (NO_SHIFT,)
    members = [engine.name, engine.version, engine.digest(), engine.members]
    if isinstance(engine, Localizer):
        members.append(engine.levels)
    method = configured_variant(study, name).harmonization
    before = harmonization_record(study, manifest, method)
    decides = digest([*members, before] if before else members)
    return EngineFacts(name, decides, labels, isinstance(engine, Localizer))


def suite(config: StudyConfig) -> list[Shift]:
    """The shifts of a study, the identity first."""
    return shift_suite(config.shifts.names, config.shifts.levels, config.shifts.modes)


@dataclass(frozen=True)
class Wanted:
    """Every voxel unit that a study wants, by job."""

    ingest: list[Unit]
    infer: list[Unit]
    compare: list[Unit]

    def of(self, job: str) -> list[Unit]:
        """Units of one job."""
        units: list[Unit] = getattr(self, job)
        return units

    def __iter__(self) -> Iterator[Unit]:
        for job in ("ingest", "infer", "compare"):
            yield from self.of(job)

    def __len__(self) -> int:
        return len(self.ingest) + len(self.infer) + len(self.compare)


def wanted_units(config: StudyConfig, manifest: Manifest, engines: Sequence[EngineFacts]) -> Wanted:
    """Enumerate every unit of a study, sorted by subject within each job.

    Subjects whose headers have problems get an ingest unit (which records the problems) and
    nothing else.
    """
    wanted = Wanted([], [], [])
    shifts = {shift.label: digest(shift.record()) for shift in suite(config)}
    asked = {
        "ingest": config.dataset.model_dump(mode="json", include=INGEST_OPTIONS),
        "infer": config.uncertainty,
        "compare": config.metrics,
    }
    salts = {job: digest([job, JOBS[job].version, asked[job]]) for job in asked}
    salts["locate"] = digest(["infer", LOCATE_VERSION, config.heatmaps])
    for subject, entry in manifest.entries.items():
        taken = _print(salts["ingest"], entry.fingerprint)
        wanted.ingest.append(Unit("ingest", subject=subject, fingerprint=taken))
        if entry.check.ok:
            for engine in engines:
                _subject_units(wanted, subject, taken, _timepoints(entry), engine, shifts, salts)
    return wanted


def _subject_units(
    wanted: Wanted,
    subject: str,
    taken: str,
    timepoints: tuple[str, ...],
    engine: EngineFacts,
    shifts: Mapping[str, str],
    salts: Mapping[str, str],
) -> None:
    prints: dict[tuple[str, str], str] = {}
    for timepoint in timepoints:
        for label in engine.shifts:
            if shift_at(label, timepoint, timepoints) == label:
                salt = salts["locate" if engine.locates else "infer"]
                made = _print(salt, engine.digest, taken, timepoint, shifts[label])
                prints[timepoint, label] = made
                wanted.infer.append(Unit("infer", engine.name, subject, timepoint, label, made))
    for label in () if engine.locates else engine.shifts:
        inputs = [prints[t, shift_at(label, t, timepoints)] for t in timepoints]
        made = _print(salts["compare"], *inputs)
        wanted.compare.append(Unit("compare", engine.name, subject, "", label, made))


def needs(unit: Unit, timepoints: tuple[str, ...]) -> Iterator[str]:
    """Keys of the units whose outputs a unit reads."""
    if unit.job in ("infer", "compare"):
        yield Unit("ingest", subject=unit.subject).key
    if unit.job == "compare":
        for timepoint in timepoints:
            shift = shift_at(unit.shift, timepoint, timepoints)
            yield Unit("infer", unit.engine, unit.subject, timepoint, shift).key


def needs_of(manifest: Manifest) -> Callable[[Unit], Iterable[str]]:
    """`needs` of the units of a cohort."""
    known = {subject: _timepoints(entry) for subject, entry in manifest.entries.items()}
    return lambda unit: needs(unit, known[unit.subject])


def cohort_unit(engine: EngineFacts, wanted: Wanted, words: Words) -> Unit:
    """The gathering of one engine; its inputs are the wanted units that are done by now.

    What an earlier study.yaml asked for, or an earlier file gave, is no part of it.
    """
    units = (unit for job in ("infer", "compare") for unit in wanted.of(job))
    mine = (unit for unit in units if unit.engine == engine.name)
    inputs = [(unit.key, unit.fingerprint) for unit in mine if is_done(unit, words)]
    return closing.cohort_unit(JOBS["cohort"].version, engine.name, engine.shifts, inputs)


def report_unit(config: StudyConfig, engines: Sequence[EngineFacts], words: Words) -> Unit:
    """Tables and report; stale when any result, failure or threshold changed."""
    names = [engine.name for engine in engines]
    return closing.report_unit(JOBS["report"].version, config, names, words)


def left(units: Iterable[Unit], words: Words) -> list[Unit]:
    """Units that are not done."""
    return [unit for unit in units if not is_done(unit, words)]


def ready(
    units: Iterable[Unit], wanted: Mapping[str, Unit], words: Words, manifest: Manifest
) -> list[Unit]:
    """Units all of whose inputs are done; the others wait for a failed input."""
    return [
        unit
        for unit in units
        if all(
            is_done(wanted[key], words)
            for key in needs(unit, _timepoints(manifest.entry(unit.subject)))
        )
    ]


def _timepoints(entry: Entry) -> tuple[str, ...]:
    return tuple(sorted({timepoint for timepoint, _ in entry.check.available}))


def _print(*parts: Any) -> str:
    return hashlib.blake2b("|".join(parts).encode(), digest_size=12).hexdigest()
