"""What changed between baseline and follow-up, and how near is each mask to the truth?"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from jobs.metrics.longitudinal import LongitudinalParams, longitudinal_metrics
from jobs.metrics.segmentation import segmentation_metrics
from jobs.shift import Shift
from jobs.workbench import Outcome, Workbench
from lamstore.config import MetricConfig
from lamstore.units import NO_SHIFT, Unit

VERSION = "1"
BASELINE, FOLLOW_UP = "t0", "t1"


@lru_cache(maxsize=4096)  # planning asks it several times a unit
def shift_at(shift: str, timepoint: str, timepoints: tuple[str, ...]) -> str:
    """Which shift a timepoint's image has in the comparison under `shift`.

    With mode ``t1_only`` the baseline stays as acquired; the only image of a cross-sectional
    subject is always the one that is shifted.
    """
    single = len(timepoints) == 1
    return shift if Shift.parse(shift).applies_to(timepoint, cross_sectional=single) else NO_SHIFT


def compare(bench: Workbench, unit: Unit) -> Outcome:
    """Longitudinal and segmentation metrics of one subject under one shift; scalars only."""
    timepoints = timepoints_of(bench, unit.subject)
    result: dict[str, Any] = {}
    if {BASELINE, FOLLOW_UP} <= set(timepoints):
        result["longitudinal"] = _longitudinal(bench, unit, timepoints)
    if bench.manifest.entry(unit.subject).check.lesion_truth:
        result["segmentation"] = {
            timepoint: _segmentation(bench, unit, timepoint, timepoints)
            for timepoint in timepoints
            if timepoint in bench.manifest.entry(unit.subject).check.lesion_truth
        }
    return Outcome(result=result)


def timepoints_of(bench: Workbench, subject: str) -> tuple[str, ...]:
    """Timepoints of which the subject has any volume, in order."""
    has = {timepoint for timepoint, _ in bench.store.available(subject)}
    return tuple(t for t in bench.store.labels("timepoint") if t in has)


def _mask(bench: Workbench, unit: Unit, timepoint: str, timepoints: tuple[str, ...]) -> Any:
    shift = shift_at(unit.shift, timepoint, timepoints)
    name = f"engines/{unit.engine}/mask"
    block = bench.store.read(name, subject=unit.subject, timepoint=timepoint, shift=shift)
    return block[0, 0, 0]


def _longitudinal(bench: Workbench, unit: Unit, timepoints: tuple[str, ...]) -> dict[str, float]:
    subject = unit.subject
    pair = (BASELINE, FOLLOW_UP)
    m0, m1 = (_mask(bench, unit, t, timepoints) for t in pair)
    # As the engine sees them: behind the harmonization, where there is one.
    seen = partial(bench.prepared, unit.engine, subject, modalities={"flair"})
    flair = [seen(t, shift_at(unit.shift, t, timepoints))["flair"] for t in pair]
    check = bench.manifest.entry(subject).check
    truth = bench.store.read("change_truth", subject=subject)[0] if check.has_change_truth else None
    return longitudinal_metrics(
        m0, m1, truth, bench.brainmask(subject), flair[0], flair[1], bench.store.grid(subject),
        longitudinal_params(bench.study.config.metrics),
    )  # fmt: skip


def _segmentation(
    bench: Workbench, unit: Unit, timepoint: str, timepoints: tuple[str, ...]
) -> dict[str, float]:
    truth = bench.store.read("lesion_truth", subject=unit.subject, timepoint=timepoint)[0, 0]
    grid, brain = bench.store.grid(unit.subject), bench.brainmask(unit.subject)
    mask = _mask(bench, unit, timepoint, timepoints)
    return segmentation_metrics(mask, truth, grid, brain)


def longitudinal_params(config: MetricConfig) -> LongitudinalParams:
    """Parameters of the longitudinal metrics as study.yaml has them."""
    return LongitudinalParams(
        dilation_radius_mm=config.dilation_radius_mm,
        min_component_mm3=config.min_component_mm3,
        connectivity=config.connectivity,
        diff_threshold=config.diff_threshold,
    )
