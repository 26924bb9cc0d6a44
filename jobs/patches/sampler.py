"""How does training get its patches? Number by number, each cut out of the store by itself.

``source[i]`` is a pure function of the source's parameters and i: any number of processes may ask,
in any order. Of the store only the inner chunks that a patch touches are read, and those read last
are kept decoded within `cache_bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.patches.cut import Cut
from jobs.patches.draw import Case, Draw, Drawing
from jobs.patches.index import SubjectIndex
from jobs.patches.index_file import subject_indexes
from jobs.unet.normalize import normalized
from lamstore.blocks import flipped
from lamstore.errors import ConfigError
from lamstore.store import Box, Store
from lamstore.study import Study

CACHE_BYTES = 256 << 20
"""Decoded chunks that one process keeps."""


@dataclass(frozen=True)
class Sampling:
    """Which patches are drawn, and what they look like.

    Attributes
    ----------
    channels : tuple of str
        Modalities, in the order of the patch's channels.
    optional : tuple of str
        Channels that a scan may lack: zeros, and `Patch.present` says so. A scan that lacks
        another one is not drawn from.
    patch_voxels : (3,) tuple of int
        Edges, along the axes nearest to R, A, S.
    spacing_mm : (3,) tuple of float or None
        Of the patches; None leaves every subject its own.
    lesion_share : float
        Share of the patches that are centred on lesions.
    lesion_alpha : float
        Lesions of a scan are drawn by volume ** alpha; 0: each alike.
    jitter : float
        A centre moves by up to this share of the patch's edge along each axis; below 0.5 a lesion
        voxel that was drawn stays in the patch.
    seed : int
    normalized : bool
        Whether images are scaled as `jobs.unet.normalize` does, by what the whole image has in the
        brain; 0 outside of it. Else they are as stored.
    """

    channels: tuple[str, ...]
    optional: tuple[str, ...] = ()
    patch_voxels: tuple[int, int, int] = (64, 64, 64)
    spacing_mm: tuple[float, float, float] | None = None
    lesion_share: float = 0.5
    lesion_alpha: float = 0.0
    jitter: float = 0.25
    seed: int = 0
    normalized: bool = True


@dataclass(frozen=True)
class Patch:
    """One patch.

    The arrays are Fortran-ordered like the store: a copy into C order is the caller's to make.

    Attributes
    ----------
    image : (C, x, y, z) float32 ndarray
        Zeros outside the scan and in channels that the scan lacks.
    label : (1, x, y, z) bool ndarray
        Lesion truth.
    brain : (1, x, y, z) bool ndarray
    present : (C,) bool ndarray
        Which channels the scan has.
    affine : (4, 4) float64 ndarray
        Voxels of the patch to RAS mm.
    draw : Draw
        Where it comes from.
    """

    image: NDArray[np.float32]
    label: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    present: NDArray[np.bool_]
    affine: NDArray[np.float64]
    draw: Draw


class PatchSource:
    """Patches of some subjects of an ingested study.

    It may be pickled and sent to other processes; each opens the store for itself.

    Parameters
    ----------
    study : Study
    subjects : sequence of str or None
        None for all that are ingested. Their order counts, as the seed does.
    sampling : Sampling
    cache_bytes : int, optional
        Of memory, in each process; decides no voxel.

    Attributes
    ----------
    cases : tuple of (subject, timepoint)
        Scans that are drawn from: those with a lesion truth and every channel that they must have.
    indexes : mapping of subject to SubjectIndex

    Raises
    ------
    MissingArrayError
        A subject is not ingested.
    ConfigError
        No scan can be drawn from.
    """

    def __init__(
        self,
        study: Study,
        subjects: Sequence[str] | None,
        sampling: Sampling,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.sampling, self._cache_bytes = sampling, cache_bytes
        self._path = study.store_path
        self.indexes = subject_indexes(study, subjects)
        self.cases = _cases(self.indexes, sampling)
        self._cuts = {
            subject: Cut.of(index.grid, sampling.patch_voxels, sampling.spacing_mm)
            for subject, index in self.indexes.items()
        }
        self._drawing = Drawing(
            self.indexes,
            self.cases,
            lesion_share=sampling.lesion_share,
            lesion_alpha=sampling.lesion_alpha,
            jitter_voxels={s: cut.reach(sampling.jitter) for s, cut in self._cuts.items()},
            seed=sampling.seed,
        )

    @cached_property
    def _store(self) -> Store:
        return Store(self._path, cache_bytes=self._cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_store"}

    def draw(self, number: int) -> Draw:
        """Where the patch of this number lies; reads nothing."""
        return self._drawing(number)

    def box(self, draw: Draw) -> Box:
        """Voxels x, y, z of the subject's grid that a patch covers; may reach beyond the grid."""
        return self._cuts[draw.subject].box(draw.centre)

    def __getitem__(self, number: int) -> Patch:
        """The patch of this number, 0 or more."""
        return self.read(self.draw(number))

    def read(self, draw: Draw) -> Patch:
        """The patch at a place.

        Raises
        ------
        TornDataError
            The store is damaged there.
        """
        index, cut = self.indexes[draw.subject], self._cuts[draw.subject]
        channels = self.sampling.channels
        window = _Window(self._store, cut, draw, index.grid.shape)
        brain, label = window.mask("brainmask"), window.mask("lesion_truth")
        present = [(draw.timepoint, channel) in index.scales for channel in channels]
        has = [c if there else None for c, there in zip(channels, present, strict=True)]
        image = window.images(has)
        if self.sampling.normalized:  # before it is resampled, as the engine does it
            for values, channel in zip(image, has, strict=True):
                if channel is not None:
                    scale = index.scales[draw.timepoint, channel]
                    normalized(values, brain[0], scale, out=values)
        affine = index.grid.matrix @ cut.to_subject(draw.centre)
        arrays = window.resampled(image), window.resampled(label), window.resampled(brain)
        return Patch(*arrays, np.array(present), affine, draw)


def _cases(indexes: Mapping[str, SubjectIndex], sampling: Sampling) -> tuple[Case, ...]:
    wanted = set(sampling.channels) - set(sampling.optional)
    found = [
        (subject, timepoint)
        for subject, index in indexes.items()
        for timepoint in index.lesions
        if all((timepoint, channel) in index.scales for channel in wanted)
        and any((timepoint, channel) in index.scales for channel in sampling.channels)
    ]
    if not found:
        has = sorted({channel for index in indexes.values() for _, channel in index.scales})
        raise ConfigError(
            "no scan can be trained on",
            got=f"{len(indexes)} subjects with {', '.join(has) or 'no image'}, "
            f"{sum(bool(i.lesions) for i in indexes.values())} of them with a lesion truth",
            expected=f"a lesion truth, and {', '.join(sorted(wanted)) or 'any channel'}",
            remedy="name channels that the study has, or take them in: dataset.modalities",
        )
    return tuple(found)


class _Window:
    """The voxels of one scan that a patch covers, on the patch's axes, padded with zeros."""

    def __init__(self, store: Store, cut: Cut, draw: Draw, shape: tuple[int, ...]) -> None:
        self._store, self._cut, self._draw = store, cut, draw
        self._box = cut.box(draw.centre)
        x, y, z = (
            slice(min(max(b.start, 0), n), max(min(b.stop, n), 0))
            for b, n in zip(self._box, shape, strict=True)
        )
        self._inside: Box = (x, y, z)
        self._place = tuple(
            slice(i.start - b.start, i.stop - b.start)
            for i, b in zip(self._inside, self._box, strict=True)
        )

    def images(self, channels: Sequence[str | None]) -> NDArray[np.float32]:
        """(C, x, y, z) float32; zeros for a channel that is None."""
        block = self._zeros(len(channels), np.float32)
        target = self._cut.unturned(block)
        at = {"subject": self._draw.subject, "timepoint": self._draw.timepoint}
        for values, channel in zip(target, channels, strict=True):
            if channel is not None:
                self._read("volume", values[None, None, None], at | {"modality": channel})
        return block

    def mask(self, name: str) -> NDArray[np.bool_]:
        """(1, x, y, z) bool."""
        block = self._zeros(1, np.uint8)
        at = {"subject": self._draw.subject}
        lead: tuple[None, ...] = (None,)
        if name != "brainmask":
            at["timepoint"], lead = self._draw.timepoint, (None, None)
        self._read(name, self._cut.unturned(block)[0][lead], at)
        return block.view(np.bool_)

    def resampled(self, block: NDArray[Any]) -> NDArray[Any]:
        """(…, *edges) on the patch's grid; of a mask, where at least half of a voxel is inside."""
        if not self._cut.resamples:
            return block
        moved = self._cut.resampled(
            block.astype(np.float32, copy=False), self._box, self._draw.centre
        )
        return moved >= 0.5 if block.dtype == np.bool_ else moved

    def _zeros(self, count: int, dtype: type) -> NDArray[Any]:
        shape = self._cut.turned_shape(self._box)
        return flipped(np.zeros((count, *reversed(shape)), dtype))

    def _read(self, name: str, into: NDArray[Any], at: Mapping[str, str]) -> None:
        if all(side.stop > side.start for side in self._inside):
            lead = (slice(None),) * (into.ndim - 3)
            self._store.read_box(name, self._inside, into[lead + self._place], **at)
