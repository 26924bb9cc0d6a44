"""Over all voxels of a cohort: does a probability mean what it says, is the uncertain the wrong?

A dask graph over the store, a task a unit: each reads its own shards, leaves two small
histograms (`analysis.calibration`) and lets go of its voxels; the histograms add up. So the memory
is that of the units in flight, whatever the size of the cohort.

Voxels are those of the brain mask, images are as acquired. What they are compared with:

- *lesion*, where a subject has a lesion truth: mean probability of the members, mask and
  uncertainty of each scan against that scan's truth.
- *change*, where it has a change truth only: the probability of being lesion on exactly one of the
  two scans, p0 + p1 − 2 p0 p1 (as if the scans were independent), baseline mask ≠ follow-up mask,
  and the larger of the two uncertainties, against the change truth.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import compute as dask_compute
from dask.base import get_scheduler
from numpy.typing import NDArray

import lamstore
from analysis import calibration as cal
from analysis.tally import Tally, tally
from lamstore.errors import MissingArrayError
from lamstore.study import Study
from lamstore.units import NO_SHIFT

Truth = Literal["lesion", "change"]
TRUTHS: Mapping[Truth, str] = {"lesion": "the lesion truth", "change": "the change truth"}

PAIR = ("t0", "t1")
THREADS = 4
"""Units in flight where no dask cluster is at hand."""

PART = 250
"""Subjects whose tasks are laid out at a time: dask keeps about 50 kB for each scan."""


@dataclass(frozen=True)
class Calibration:
    """One engine behind one harmonization against one truth."""

    engine: str
    harmonization: str
    truth: Truth
    tally: Tally

    def curves(self) -> dict[str, cal.RetentionCurve]:
        """Retention curve of each measure."""
        return {m: cal.retention_curve(h) for m, h in self.tally.retention.items()}

    def labels(self) -> dict[str, str]:
        """First columns of every table."""
        names = ("engine", "harmonization", "truth")
        return {name: str(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class VoxelAudit:
    """What the voxels of a study say.

    Attributes
    ----------
    found : tuple of Calibration
    missing : tuple of str
        What could not be computed, and why.
    """

    found: tuple[Calibration, ...]
    missing: tuple[str, ...] = ()

    def of(self, engine: str) -> VoxelAudit:
        """One engine's part."""
        return VoxelAudit(
            tuple(f for f in self.found if f.engine == engine),
            tuple(m for m in self.missing if m.startswith(f"{engine}:")),
        )


def voxel_audit(study: Study) -> VoxelAudit:
    """Calibration and error retention of every engine of a study.

    Runs on the dask client of the session where there is one, else in `THREADS` threads.
    """
    found, missing = list[Calibration](), list[str]()
    for variant in study.config.variants:
        try:
            ds = lamstore.open(study.path, engine=variant.name)
        except MissingArrayError as error:
            missing.append(f"{variant.name}: {error.what}")
            continue
        tallies = _tallied(ds) if "probability" in ds else {}
        if not tallies:
            lacks = "truth" if "probability" in ds else "probability"
            missing.append(f"{variant.name}: no calibration, there is no {lacks}")
        name, method = variant.engine.name, variant.harmonization
        found += [Calibration(name, method, truth, total) for truth, total in tallies.items()]
    return VoxelAudit(tuple(found), tuple(missing))


def _tallied(ds: xr.Dataset) -> dict[Truth, Tally]:
    """Totals by truth; the cohort in parts, whose graphs would otherwise outgrow the voxels."""
    totals: dict[Truth, Tally] = {}
    for start in range(0, ds.sizes["subject"], PART):
        graphs = tally_graphs(ds.isel(subject=slice(start, start + PART)))
        for truth, part in zip(graphs, compute(*graphs.values()), strict=True):
            totals[truth] = totals[truth] + part.item() if truth in totals else part.item()
    return totals


def compute(*lazy: Any) -> tuple[Any, ...]:
    """`dask.compute`; without a client of a cluster in as many threads as memory is meant for."""
    options: dict[str, Any] = {}
    if get_scheduler() is None:  # type: ignore[no-untyped-call]
        threads = min(THREADS, os.cpu_count() or 1)
        options = {"scheduler": "threads", "num_workers": threads}
    return tuple(dask_compute(*lazy, **options))  # type: ignore[no-untyped-call]


def tally_graphs(ds: xr.Dataset) -> dict[Truth, da.Array]:
    """Lazy totals by truth; a truth that no subject has is left out.

    Parameters
    ----------
    ds : Dataset
        Of ``lamstore.open(study, engine=…)`` with probabilities and gathered metrics.
    """
    plain = ds.sel(shift=NO_SHIFT)
    none = np.zeros((ds.sizes["subject"], ds.sizes["timepoint"]), bool)
    # A metric says that truth and output are there; an array of the store cannot tell.
    lesion, change = none, none[:, 0]
    if "volume_truth_mm3" in plain:
        lesion = plain["volume_truth_mm3"].transpose("subject", "timepoint").notnull().to_numpy()
    if "change_gt_vol_mm3" in plain:
        change = plain["change_gt_vol_mm3"].notnull().to_numpy() & ~lesion.any(axis=1)
    graphs: dict[Truth, da.Array] = {}
    if lesion.any():
        graphs["lesion"] = _total(_tallies(plain, lesion, plain["lesion_truth"], "st"))
    if change.any():
        pair = plain.isel(timepoint=slice(0, 2))
        if tuple(pair["timepoint"].values) == PAIR:
            graphs["change"] = _total(_tallies(pair, change, plain["change_truth"], "s"))
    return graphs


def _tallies(ds: xr.Dataset, wanted: NDArray[np.bool_], truth: xr.DataArray, unit: str) -> Any:
    """A `Tally` (or None) for each scan (unit ``st``) or for each pair of scans (``s``)."""
    axes = {"subject": "s", "timepoint": "t", "member": "m", "measure": "u"}
    measures = tuple(map(str, ds["measure"].values)) if "uncertainty" in ds else ()
    arrays = [ds["brainmask"], truth, ds["probability"], ds["mask"]]
    arrays += [ds["uncertainty"]] if measures else []
    pairs = [(a.data, "".join(axes.get(str(d), str(d)) for d in a.dims)) for a in arrays]
    flags = da.from_array(wanted, chunks=1)  # type: ignore[no-untyped-call]
    return da.blockwise(  # type: ignore[no-untyped-call]
        partial(_tally, measures=measures),
        unit,
        flags,
        unit,
        *(part for pair in pairs for part in pair),
        dtype=object,
        meta=np.empty((0,) * len(unit), object),
    )


def _tally(wanted: Any, brainmask: Any, truth: Any, *outputs: Any, measures: Sequence[str]) -> Any:
    """The task of one unit; arrays come as nested lists of chunks that are not read yet."""
    out = np.full(np.shape(wanted), None, dtype=object)
    if not np.all(wanted):
        return out
    try:
        out[...] = _read_and_tally(brainmask, truth, outputs, measures)
    except (OSError, RuntimeError, ValueError):
        # One torn shard must not take the cohort's figures with it; `lam verify` names it.
        none = np.empty(0)
        empty = tally(none, none > 0, np.empty((len(measures), 0)), none > 0, measures)
        out[...] = replace(empty, scans=0, unreadable=1)
    return out


def _read_and_tally(
    brainmask: Any, truth: Any, outputs: Sequence[Any], measures: Sequence[str]
) -> Tally:
    brain = _voxels(*_leaves(brainmask)) > 0
    probability, mask, *maps = (
        [_voxels(leaf)[..., brain] for leaf in _leaves(nested)] for nested in outputs
    )
    uncertainty = maps[0] if maps else [np.empty((0, int(brain.sum())))]
    known = _voxels(*_leaves(truth))[brain] > 0
    means = [members.mean(axis=0, dtype=np.float32) for members in probability]
    unsure = reduce(np.maximum, uncertainty)
    return tally(_lesion(means), _differs(mask), unsure, known, measures)


def _lesion(means: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Probability of lesion on one scan, or on exactly one of two."""
    if len(means) == 1:
        return means[0]
    first, second = means
    # Rounding may leave [0, 1] by an ulp.
    return np.clip(first + second - 2 * first * second, 0, 1)


def _differs(masks: list[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    return reduce(np.logical_xor, [mask > 0 for mask in masks[1:]], masks[0] > 0)


def _leaves(nested: Any) -> Iterator[Any]:
    if isinstance(nested, list):
        for part in nested:
            yield from _leaves(part)
    else:
        yield nested


def _voxels(block: Any) -> NDArray[Any]:
    """Values (…, x, y, z) of a chunk, without the axes of length 1 before member or measure."""
    values = np.asarray(block)
    lead = tuple(i for i, n in enumerate(values.shape[:2]) if n == 1 and values.ndim - i > 3)
    return values.squeeze(axis=lead)


def _total(tallies: da.Array) -> Any:
    """Sum of all tallies, by a tree of tasks."""
    return da.reduction(  # type: ignore[no-untyped-call]
        tallies,
        chunk=_unchanged,
        aggregate=_sum,
        combine=_sum,
        dtype=object,
        split_every=16,
        meta=np.empty((), object),
    )


def _unchanged(x: Any, **_: Any) -> Any:
    return x


def _sum(x: Any, keepdims: bool = False, **_: Any) -> Any:
    total = np.empty((1,) * np.ndim(x) if keepdims else (), object)
    here = [one for one in np.ravel(x) if one is not None]
    total[...] = reduce(add, here) if here else None
    return total
