"""What does a model say of one image under one shift, and how sure is it?

The shifted image is computed here from the stored one; it is segmented and its voxelwise
uncertainty mapped, or its levels are located and their heatmaps measured, all while it is in
memory. Summaries are taken at full precision, before the maps are rounded to float16 for the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.engines.base import Engine, EngineInput, Localizer, Segmentation, Segmenter
from jobs.locate import check_localization, heatmap_measures, stored_heatmap
from jobs.shift import Shift, seed
from jobs.structural import structural_summary
from jobs.uncertainty import OF_THE_MEAN, summaries, uncertainty_maps
from jobs.workbench import (
    Images,
    Outcome,
    Workbench,
    configured_variant,
    harmonization_record,
)
from lamstore.errors import EngineError
from lamstore.grid import Grid
from lamstore.units import NO_SHIFT, Unit

VERSION = "2"


def stored_measures(engine: Engine, wanted: Sequence[str]) -> tuple[str, ...]:
    """Measures that an engine allows: a single member has no disagreement, none has nothing."""
    if isinstance(engine, Localizer) or not engine.members:
        return ()
    return tuple(m for m in wanted if len(engine.members) > 1 or m in OF_THE_MEAN)


def infer(bench: Workbench, unit: Unit) -> Outcome:
    """Run an engine on one subject, timepoint and shift.

    A segmenter's `mask`, `probability` and `uncertainty` are written, or a localizer's `heatmap`.

    Raises
    ------
    EngineError
        When the engine fails or breaks its contract.
    """
    engine = bench.engine(unit.engine)
    wanted = {*engine.required_modalities, *engine.optional_modalities}
    images = bench.prepared(unit.engine, unit.subject, unit.timepoint, unit.shift, wanted)
    brainmask, grid = bench.brainmask(unit.subject), bench.store.grid(unit.subject)
    inputs = EngineInput(unit.subject, unit.timepoint, unit.shift, images, brainmask, grid)
    arrays, result = _run(bench, unit, engine, inputs)
    result["shift"] = _shift_record(unit, images)
    method = configured_variant(bench.study, unit.engine).harmonization
    if harmonization := harmonization_record(bench.study, bench.manifest, method):
        result["harmonization"] = harmonization
    elif bench.study.config.shifts.store_shifted:
        arrays |= _store_shifted(bench, unit, images)
    return Outcome(arrays, result)


def _run(
    bench: Workbench, unit: Unit, engine: Engine, inputs: EngineInput
) -> tuple[dict[str, str], dict[str, Any]]:
    """Checksums of what was written, and scalars."""
    if isinstance(engine, Localizer):
        return _locate(bench, unit, engine, inputs)
    assert isinstance(engine, Segmenter)
    found = engine.segment(inputs)
    _check(engine, found, inputs.grid, unit)
    arrays, summary = _store(bench, unit, engine, found, inputs.brainmask, inputs.grid)
    volume_mm3 = int(found.mask.sum()) * inputs.grid.voxel_volume_mm3
    return arrays, {"lesion_volume_mm3": volume_mm3, "uncertainty": summary}


def _locate(
    bench: Workbench, unit: Unit, engine: Localizer, inputs: EngineInput
) -> tuple[dict[str, str], dict[str, Any]]:
    found = engine.locate(inputs)
    check_localization(engine, found, inputs.grid, str(unit))
    name = f"engines/{unit.engine}/heatmap"
    at = {"subject": unit.subject, "timepoint": unit.timepoint, "shift": unit.shift}
    arrays = {name: bench.store.write(name, stored_heatmap(found, inputs.grid), **at)}
    return arrays, {
        "heatmaps": heatmap_measures(engine, found, inputs.grid, bench.study.config.heatmaps)
    }


def _check(engine: Engine, found: Segmentation, grid: Grid, unit: Unit) -> None:
    got = (found.probability.shape, found.mask.shape)
    expected = ((len(engine.members), *grid.shape), grid.shape)
    if got != expected:
        raise EngineError(
            f"{unit.engine} returned arrays on another grid for {unit}",
            got=f"probability {got[0]}, mask {got[1]}",
            expected=f"probability {expected[0]}, mask {expected[1]}",
        )
    low, high = (found.probability.min(), found.probability.max()) if engine.members else (0, 1)
    if not (low >= 0 and high <= 1):
        raise EngineError(
            f"{unit.engine} returned probabilities outside [0, 1] for {unit}",
            got=f"from {low} to {high}",
        )


def _store(
    bench: Workbench,
    unit: Unit,
    engine: Engine,
    found: Segmentation,
    brainmask: NDArray[np.bool_],
    grid: Grid,
) -> tuple[dict[str, str], dict[str, float]]:
    group = f"engines/{unit.engine}"
    at = {"subject": unit.subject, "timepoint": unit.timepoint, "shift": unit.shift}
    blocks: dict[str, NDArray[Any]] = {"mask": found.mask.astype(np.uint8)}
    summary: dict[str, float] = {}
    config = bench.study.config.uncertainty
    if engine.members:
        blocks["probability"] = found.probability
    if measures := stored_measures(engine, config.measures):
        maps = uncertainty_maps(found.probability, measures, brainmask)
        blocks["uncertainty"] = maps
        named = dict(zip(measures, maps, strict=True))
        mask = found.mask.astype(bool, copy=False)
        summary = summaries(named, mask, brainmask, grid.spacing_mm, config.boundary_mm)
    if len(engine.members) > 1:
        summary |= structural_summary(found.mask, found.probability)
    arrays = {f"{group}/{n}": bench.store.write(f"{group}/{n}", b, **at) for n, b in blocks.items()}
    return arrays, summary


def _store_shifted(bench: Workbench, unit: Unit, images: Images) -> dict[str, str]:
    if unit.shift == NO_SHIFT:
        return {}
    modalities = bench.store.labels("modality")
    grid = bench.store.grid(unit.subject)
    empty = np.zeros(grid.shape, np.float32)
    block = np.stack([images.get(modality, empty) for modality in modalities])
    at = {"subject": unit.subject, "timepoint": unit.timepoint, "shift": unit.shift}
    return {"shifted/volume": bench.store.write("shifted/volume", block, **at)}


def _shift_record(unit: Unit, images: Images) -> dict[str, object]:
    shift = Shift.parse(unit.shift)
    seeds = {m: seed(unit.subject, shift, unit.timepoint, m) for m in images}
    return {**shift.record(), **({"seeds": seeds} if shift.name == "noise" else {})}
