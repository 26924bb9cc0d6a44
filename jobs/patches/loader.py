"""How are patches ready before the training step asks for them?

Worker processes cut and transform patches ahead of time. Batch k holds the draws k·B to (k+1)·B − 1
and everything random in them comes from the seed and the number of the draw: the batches are the
same, in the same order, for any number of workers and from any start.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.context import BaseContext

import numpy as np
import torch
from numcodecs import blosc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset

from jobs.patches.draw import Draw
from jobs.patches.sampler import Patch, PatchSource
from lamstore.blocks import flipped

Transform = Callable[[Patch, np.random.Generator], Patch]
"""Changes a patch, in the worker; picklable. All its randomness comes from the generator."""

AHEAD = 3
"""Batches that each worker prepares ahead."""


@dataclass(frozen=True)
class Batch:
    """Patches of one training step.

    Tensors have x fastest in memory, like the store, unless a transform gave C-ordered arrays.

    Attributes
    ----------
    step : int
    image : (B, C, x, y, z) float32 Tensor
    label, brain : (B, 1, x, y, z) bool Tensor
    present : (B, C) bool Tensor
    draws : tuple of Draw
    """

    step: int
    image: torch.Tensor
    label: torch.Tensor
    brain: torch.Tensor
    present: torch.Tensor
    draws: tuple[Draw, ...]

    def pin_memory(self) -> Batch:
        """The same in page-locked memory, from where a GPU fetches it without waiting."""
        tensors = ("image", "label", "brain", "present")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in tensors})


class _Batches(Dataset[Batch]):
    """Batch by step."""

    def __init__(self, source: PatchSource, size: int, transform: Transform | None) -> None:
        self._source, self._size, self._transform = source, size, transform

    def __getitem__(self, step: int) -> Batch:
        numbers = range(step * self._size, (step + 1) * self._size)
        return _collated(step, [self._patch(number) for number in numbers])

    def _patch(self, number: int) -> Patch:
        patch = self._source[number]
        if self._transform is None:
            return patch
        return self._transform(patch, transform_random(self._source.sampling.seed, number))


def transform_random(seed: int, number: int) -> np.random.Generator:
    """The generator of the transform of one draw, apart from the one that placed it."""
    return np.random.default_rng([seed, number, 1])


def _collated(step: int, patches: list[Patch]) -> Batch:
    return Batch(
        step,
        _stacked([p.image for p in patches]),
        _stacked([p.label for p in patches]),
        _stacked([p.brain for p in patches]),
        torch.from_numpy(np.stack([p.present for p in patches])),
        tuple(p.draw for p in patches),
    )


def _stacked(arrays: list[NDArray[np.generic]]) -> torch.Tensor:
    """One (B, …) tensor in the arrays' own memory order, in shared memory when this is a worker."""
    # Patches that no transform has copied have x fastest: to turn them takes longer than to read.
    turned = not arrays[0].flags.c_contiguous
    rows = [flipped(array) for array in arrays] if turned else arrays
    first = torch.from_numpy(rows[0])
    out = torch.empty((len(rows), *first.shape), dtype=first.dtype)
    if torch.utils.data.get_worker_info() is not None:
        out.share_memory_()  # type: ignore[no-untyped-call]
    for place, row in zip(out.numpy(), rows, strict=True):
        place[...] = row
    return out.permute(0, 1, 4, 3, 2) if turned else out


def batches(
    source: PatchSource,
    batch_size: int,
    *,
    steps: int,
    start: int = 0,
    workers: int = 2,
    transform: Transform | None = None,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Batches `start` to `steps` − 1.

    Parameters
    ----------
    source : PatchSource
    batch_size : int
    steps : int
        End of the training, counted from its very beginning.
    start : int, optional
        First step to give: a training that resumes gets what it would have got.
    workers : int, optional
        Processes beside this one, each with one thread; 0: this process does it, step by step.
    transform : callable, optional
        See `Transform`.
    pin_memory : bool, optional

    Yields
    ------
    Batch
    """
    dataset = _Batches(source, batch_size, transform)
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start, steps),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_quiet_worker if workers else None,
        multiprocessing_context=_processes() if workers else None,
        pin_memory=pin_memory,
    )
    yield from loader


def _processes() -> BaseContext:
    """How workers start: forked from a server that has imported everything and done nothing.

    Neither zarr's threads nor torch's survive a fork of this process; and whoever starts workers
    anew for every epoch waits for the imports only once.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of a terminal: the training decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    blosc.set_nthreads(1)
    threadpool_limits(1)
