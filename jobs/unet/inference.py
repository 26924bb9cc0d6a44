"""What does one network say of a whole brain, window by window?

The same as MONAI's `sliding_window_inference` over the whole array says inside the brain: same
positions, same Gaussian weights, logits blended. Windows in which there is no brain are left out,
sums are kept for the brain's bounding box only, in place, and the sum of weights is worked out
once for all networks and flips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from numpy.typing import NDArray
from torch import Tensor

from jobs.metrics.components import bounding_box

Triple = tuple[int, int, int]
Predictor = Callable[[Tensor], Tensor]
"""(batch, channel, x, y, z) windows to logits (batch, 1, x, y, z)."""


def fitted(shape: Triple, window: Triple, overlap: float, divisor: int) -> Triple:
    """Edges of the windows, few and small, that cover an array.

    As few windows as those a sixth larger than `window` would be, and each as small as then
    suffices, but at most a sixth smaller: a network that was tried with windows of one size has to
    be run with windows about as large.

    Parameters
    ----------
    shape, window : (3,) tuple of int
    overlap : float
        Least share of their edges that neighbours have in common.
    divisor : int
        What edges must be multiples of.

    Returns
    -------
    (x, y, z) tuple of int
        Larger than the array along an axis where that is shorter than the least edge.
    """
    x, y, z = (_edge(n, w, overlap, divisor) for n, w in zip(shape, window, strict=True))
    return x, y, z


def _edge(length: int, edge: int, overlap: float, divisor: int) -> int:
    most = max(edge * 7 // 6 // divisor, 1) * divisor
    least = ceil(edge * 5 / 6 / divisor) * divisor
    step = max(int(most * (1 - overlap)), 1)
    count = max(ceil((length - most) / step), 0) + 1
    enough = ceil(length / (count - (count - 1) * overlap) / divisor) * divisor
    return min(max(enough, least), most)


def scan(shape: Triple, window: Triple, overlap: float) -> tuple[list[Triple], Triple]:
    """Where MONAI puts windows on an array.

    Returns
    -------
    starts : list of (x, y, z)
        On the array padded to at least one window.
    before : (x, y, z)
        Voxels of that padding in front of the array.
    """
    full = [max(n, w) for n, w in zip(shape, window, strict=True)]
    steps = [
        w if w == n else max(int(w * (1 - overlap)), 1) for n, w in zip(full, window, strict=True)
    ]
    starts = [(x.start, y.start, z.start) for x, y, z in dense_patch_slices(full, window, steps)]
    before = [(n - m) // 2 for n, m in zip(full, shape, strict=True)]
    return starts, (before[0], before[1], before[2])


@dataclass(frozen=True)
class Windows:
    """Windows over the brain of one array, and how they are blended.

    Attributes
    ----------
    shape : (3,) tuple of int
        Of the array.
    window : (3,) tuple of int
    starts : tuple of (x, y, z)
        Of every window that holds brain, on the padded array.
    before : (3,) tuple of int
        Padding in front.
    box : (3,) tuple of slice
        The brain's bounding box in the array.
    device : torch.device
    """

    shape: Triple
    window: Triple
    starts: tuple[Triple, ...]
    before: Triple
    box: tuple[slice, slice, slice]
    device: torch.device

    @classmethod
    def over(
        cls, brain: NDArray[np.bool_], window: Triple, overlap: float, device: torch.device
    ) -> Windows:
        """Windows over a brain (x, y, z); ValueError where it is empty."""
        box = bounding_box(brain)
        if box is None:
            raise ValueError("the brain mask is empty")
        x, y, z = brain.shape
        starts, before = scan((x, y, z), window, overlap)
        kept = tuple(s for s in starts if brain[_cut(s, before, window)].any())
        return cls((x, y, z), window, kept, before, box, device)

    @cached_property
    def weight(self) -> Tensor:
        """(x, y, z) Gaussian weights of one window, MONAI's."""
        return compute_importance_map(self.window, mode="gaussian", device=self.device)

    @cached_property
    def total(self) -> Tensor:
        """(x, y, z) sum of weights in the box."""
        found = self._empty()
        for start in self.starts:
            inner, part = self._overlap(start)
            found[part] += self.weight[inner]
        return found

    def logits(
        self,
        images: Sequence[NDArray[np.float32]],
        predict: Predictor,
        batch: int,
        dtype: torch.dtype,
    ) -> Tensor:
        """Blended logits of one network in the brain's box.

        Parameters
        ----------
        images : sequence of (x, y, z) float32 ndarray
            Channels, 0 outside the brain.
        predict : callable
        batch : int
            Windows that are predicted at once.
        dtype : torch.dtype
            Of the windows that `predict` is given.

        Returns
        -------
        (x, y, z) float32 Tensor
            On `device`; without meaning where no brain is.
        """
        canvas, found = self._canvas(images, dtype), self._empty()
        with torch.inference_mode():
            for first in range(0, len(self.starts), batch):
                starts = self.starts[first : first + batch]
                seen = torch.stack([canvas[(slice(None), *_at(s, self.window))] for s in starts])
                seen = seen.contiguous(memory_format=torch.channels_last_3d)
                for start, logit in zip(starts, predict(seen)[:, 0], strict=True):
                    inner, part = self._overlap(start)
                    found[part].addcmul_(logit[inner].float(), self.weight[inner])
            # Where no window lies there is no brain: 0 rather than 0 / 0.
            return found.div_(self.total.clamp_min(torch.finfo(torch.float32).tiny))

    def _canvas(self, images: Sequence[NDArray[np.float32]], dtype: torch.dtype) -> Tensor:
        full = [max(n, w) for n, w in zip(self.shape, self.window, strict=True)]
        canvas = torch.zeros((len(images), *full), dtype=dtype, device=self.device)
        place = tuple(slice(b, b + n) for b, n in zip(self.before, self.shape, strict=True))
        for channel, image in enumerate(images):
            voxels = torch.from_numpy(np.ascontiguousarray(image))
            canvas[channel][place] = voxels.to(self.device, non_blocking=True)
        return canvas

    def _empty(self) -> Tensor:
        return torch.zeros([part.stop - part.start for part in self.box], device=self.device)

    def _overlap(self, start: Triple) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part of a window that lies in the box: within the window, within the box."""
        inner, part = [], []
        for s, b, w, span in zip(start, self.before, self.window, self.box, strict=True):
            low, high = max(s - b, span.start), min(s - b + w, span.stop)
            inner.append(slice(low - s + b, high - s + b))
            part.append(slice(low - span.start, high - span.start))
        return tuple(inner), tuple(part)


def _at(start: Triple, window: Triple) -> tuple[slice, ...]:
    return tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))


def _cut(start: Triple, before: Triple, window: Triple) -> tuple[slice, ...]:
    """A window of the padded array in the array itself."""
    return tuple(
        slice(max(s - b, 0), max(s - b + w, 0))
        for s, b, w in zip(start, before, window, strict=True)
    )


def flipped(predict: Predictor, axis: int | None) -> Predictor:
    """The same network looking at windows mirrored along x (0), y (1) or z (2); None: as is."""
    if axis is None:
        return predict
    dim = 2 + axis

    def mirrored(windows: Tensor) -> Tensor:
        turned = windows.flip(dim).contiguous(memory_format=torch.channels_last_3d)
        return predict(turned).flip(dim)

    return mirrored
