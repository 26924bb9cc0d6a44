"""How does a subject come into the store? Read once, validate, write one shard a timepoint."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.load import iter_arrays
from jobs.patches.index import IndexBuilder
from jobs.patches.index_file import drop_index, write_index
from jobs.workbench import Outcome, Workbench
from lamstore.blocks import flipped
from lamstore.errors import InputError, VoxelError
from lamstore.units import Unit

VERSION = "1"
INPUTS = ("volume", "brainmask", "change_truth", "lesion_truth")


def ingest(bench: Workbench, unit: Unit) -> Outcome:
    """Write `volume`, `brainmask` and the truths of one subject, and what training needs of it.

    Raises
    ------
    InputError
        With everything that is wrong with the subject's files.
    """
    entry = bench.manifest.entry(unit.subject)
    if entry.check.problems:
        raise InputError(f"{unit.subject} cannot be taken in", got="\n".join(entry.check.problems))
    drop_index(bench.study.path, unit.subject)
    for name in INPUTS:
        if name in bench.store:
            # A truth or timepoint that the subject once had and has no more must not stay.
            bench.store.clear(name, subject=unit.subject)
    trainable = entry.check.lesion_truth and entry.check.has_brainmask
    index = _index(bench, unit.subject) if trainable else None
    writer = _Writer(bench, unit.subject, index)
    dataset = bench.study.config.dataset
    arrays = iter_arrays(
        entry.sources,
        entry.check,
        timepoints=bench.store.labels("timepoint"),
        modalities=bench.store.labels("modality"),
        resample=dataset.resample,
        interpolation=dataset.interpolation,
    )
    for name, timepoint, modality, values in arrays:
        writer.take(name, timepoint, modality, values)
    result = {"sessions": dict(entry.sources.sessions)}
    if entry.sources.decisions:
        result["decisions"] = dict(entry.sources.decisions)
    return Outcome(writer.finish(), result)


def _index(bench: Workbench, subject: str) -> IndexBuilder:
    return IndexBuilder(subject, bench.store.grid(subject))


class _Writer:
    """Collects the modalities of a timepoint, since one shard holds them all."""

    def __init__(self, bench: Workbench, subject: str, index: IndexBuilder | None) -> None:
        self._study, self._store, self._subject = bench.study.path, bench.store, subject
        self._index = index
        self._present: list[str] = []
        self._arrays: dict[str, str] = {}
        self._block: NDArray[Any] | None = None
        self._timepoint = ""

    def take(
        self, name: str, timepoint: str | None, modality: str | None, values: NDArray[Any]
    ) -> None:
        if name != "volume":
            at = {"subject": self._subject} | ({"timepoint": timepoint} if timepoint else {})
            suffix = f"@{timepoint}" if timepoint else ""
            self._arrays[name + suffix] = self._store.write(name, values, **at)
            self._note_mask(name, timepoint, values)
            return
        assert timepoint is not None and modality is not None
        if timepoint != self._timepoint:
            self._flush()
            self._timepoint = timepoint
        modalities = self._store.labels("modality")
        if self._block is None:
            dtype = self._store.array("volume").dtype
            # Fortran order, as the files and the store have it: nothing is ever transposed.
            self._block = flipped(np.zeros((len(modalities), *reversed(values.shape)), dtype))
        self._block[modalities.index(modality)] = values
        self._present.append(modality)

    def _note_mask(self, name: str, timepoint: str | None, values: NDArray[Any]) -> None:
        if self._index is not None and name == "brainmask":
            self._index.brainmask(values)
        elif self._index is not None and name == "lesion_truth" and timepoint is not None:
            self._index.lesion_truth(timepoint, values)

    def _note_images(self, block: NDArray[Any]) -> None:
        modalities = self._store.labels("modality")
        for modality in self._present:
            if self._index is not None:
                image = block[modalities.index(modality)]
                try:
                    self._index.image(self._timepoint, modality, image)
                except VoxelError:
                    # It can be audited, if not trained on: training asks again, and is told why.
                    self._index = None
        self._present = []

    def _flush(self) -> None:
        if self._block is not None:
            at = {"subject": self._subject, "timepoint": self._timepoint}
            key = f"volume@{self._timepoint}"
            self._arrays[key] = self._store.write("volume", self._block, **at)
            self._note_images(self._block)
            self._block = None

    def finish(self) -> dict[str, str]:
        """Write what is left; checksums by array."""
        self._flush()
        if self._index is not None:
            write_index(self._study, self._index.finish(self._arrays))
        return self._arrays
