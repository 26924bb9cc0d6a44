"""What is the probability of a lesion in each voxel of a subject, by one network?

From images on the subject's grid to probabilities on the subject's grid: normalize in the brain,
go to the training grid, look window by window, come back. The engine ``unet`` and the validation
of a training both ask here, so that a model is validated as it will be used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jobs.metrics.components import Box, bounding_box
from jobs.unet.fast import fast_on_cpu
from jobs.unet.inference import Triple, Windows, fitted, flipped
from jobs.unet.normalize import brain_scale, normalized
from jobs.unet.resample import Placement
from jobs.unet.weights import Facts
from lamstore.errors import EngineError, VoxelError
from lamstore.grid import Grid

Images = Mapping[str, NDArray[np.float32]]
Precision = Literal["float32", "bfloat16", "float16"]
Scan = Literal["brain", "volume"]


@dataclass(frozen=True)
class How:
    """How a network is run over a brain.

    Attributes
    ----------
    overlap : float
        Of neighbouring windows, as a share of their edges.
    scan : {"brain", "volume"}
        Over what the windows are laid: over the brain's bounding box, so that the field of view
        around the head decides nothing, and fitted to it; or, as MONAI does it, over the whole
        array. Either way windows without brain are left out.
    flips : tuple of {0, 1, 2}
        Axes (towards R, A, S) along which the network looks again at mirrored windows.
    window : (3,) tuple of int, optional
        Edges of a window, just so; about what the weights say when None.
    batch : int
        Windows at once; 1 on a CPU and 8 on a GPU when 0.
    precision : {"float32", "bfloat16", "float16"}
    device : {"cpu", "cuda"}
    """

    overlap: float = 0.25
    scan: Scan = "brain"
    flips: tuple[int, ...] = ()
    window: Triple | None = None
    batch: int = 0
    precision: Precision = "float32"
    device: str = "cpu"

    @property
    def windows_at_once(self) -> int:
        """The batch that is meant."""
        return self.batch or (8 if self.device == "cuda" else 1)

    @property
    def dtype(self) -> torch.dtype:
        """Of `precision`."""
        found: torch.dtype = getattr(torch, self.precision)
        return found


@dataclass(frozen=True)
class View:
    """One subject on the training grid, as every network trained on that grid sees it.

    Attributes
    ----------
    shape : (3,) tuple of int
        Of the subject's grid.
    box : (3,) tuple of slice
        What of it was looked at.
    inside : (x, y, z) bool ndarray
        Brain mask in the box.
    placement : Placement
    brain : (x, y, z) bool ndarray
        Brain mask on the training grid.
    images : mapping of modality to (x, y, z) float32 ndarray
        Normalized, on the training grid.
    windows : Windows
    """

    shape: tuple[int, ...]
    box: Box
    inside: NDArray[np.bool_]
    placement: Placement
    brain: NDArray[np.bool_]
    images: Images
    windows: Windows


def view_of(
    images: Images,
    brain: NDArray[np.bool_],
    grid: Grid,
    facts: Facts,
    how: How,
) -> View:
    """Images of one subject as networks of one training grid and window see them.

    Parameters
    ----------
    images : mapping of modality to (x, y, z) float32 ndarray
    brain : (x, y, z) bool ndarray
    grid : Grid
    facts : Facts
        Of any of these networks.
    how : How

    Raises
    ------
    EngineError
        The brain mask is empty, or vanishes on the training grid.
    VoxelError
        An image is not finite in the brain, or has no scale.
    """
    found = bounding_box(brain)
    if found is None:
        raise EngineError("The brain mask is empty.", remedy="look at the brain mask")
    x, y, z = brain.shape
    box = found if how.scan == "brain" else (slice(0, x), slice(0, y), slice(0, z))
    inside = np.ascontiguousarray(brain[box])
    placement = Placement.of(grid, inside.shape, facts.spacing_mm)
    on_grid = np.ascontiguousarray(placement.mask_to_training(inside))
    if not on_grid.any():
        raise EngineError(
            "The brain mask vanishes on the grid of the model.",
            got=f"{np.count_nonzero(inside)} voxels of {grid.spacing_mm} mm",
            expected=f"a brain that fills voxels of {facts.spacing_mm} mm",
            remedy="look at the brain mask",
        )
    seen = {m: _seen(m, image[box], inside, placement) for m, image in images.items()}
    windows = Windows.over(
        on_grid, _window(on_grid, facts, how), how.overlap, torch.device(how.device)
    )
    return View(brain.shape, box, inside, placement, on_grid, seen, windows)


def _window(brain: NDArray[np.bool_], facts: Facts, how: How) -> Triple:
    """Edges of a window: those that somebody named, or about what the weights were tried with."""
    if how.window is not None or how.scan == "volume":
        return how.window or facts.tried_window
    x, y, z = brain.shape
    return fitted((x, y, z), facts.tried_window, how.overlap, facts.network.divisor)


def _seen(
    modality: str,
    image: NDArray[np.float32],
    inside: NDArray[np.bool_],
    placement: Placement,
) -> NDArray[np.float32]:
    try:
        scale = brain_scale(image, inside)
    except VoxelError as error:
        raise VoxelError(
            f"{modality}: {error.what}",
            got=error.got,
            expected=error.expected,
            remedy=error.remedy,
        ) from error
    return placement.to_training(normalized(image, inside, scale))


class Member:
    """One network, made ready for a device and a precision.

    Parameters
    ----------
    network : nn.Module
        From `jobs.unet.network`; it is not changed.
    facts : Facts
    how : How
    """

    def __init__(self, network: nn.Module, facts: Facts, how: How) -> None:
        self.facts, self._how = facts, how
        if how.device == "cpu":
            self._network = fast_on_cpu(network, how.dtype)
        else:
            self._network = copy.deepcopy(network).eval().to(how.device)

    def probabilities(self, view: View) -> NDArray[np.float32]:
        """(look, x, y, z) on the subject's grid, 0 outside the brain.

        The first look is at the windows as they are, the others at mirrored ones, in the order of
        ``how.flips``. A channel that `view` has no image for is zeros.
        """
        blank = np.zeros(view.brain.shape, np.float32)
        images = [view.images.get(channel, blank) for channel in self.facts.network.channels]
        at_once = self._how.windows_at_once
        on_cpu = self._how.device == "cpu"
        dtype = self._how.dtype if on_cpu else torch.float32
        found = np.zeros((1 + len(self._how.flips), *view.shape), np.float32)
        for look, axis in zip(found, (None, *self._how.flips), strict=True):
            logits = view.windows.logits(images, flipped(self._predict, axis), at_once, dtype)
            _back(logits, view, look)
        return found

    def _predict(self, windows: Tensor) -> Tensor:
        low = self._how.device != "cpu" and self._how.precision != "float32"
        with torch.autocast(self._how.device, self._how.dtype if low else None, enabled=low):
            logits: Tensor = self._network(windows)
            return logits


def _back(logits: Tensor, view: View, out: NDArray[np.float32]) -> None:
    """Probabilities of logits into `out` (x, y, z), on the subject's grid."""
    on_grid = np.zeros(view.brain.shape, np.float32)
    on_grid[view.windows.box] = torch.sigmoid(logits).cpu().numpy()
    on_grid[~view.brain] = 0  # no window need lie there: 0 / 0
    np.copyto(out[view.box], view.placement.to_subject(on_grid), where=view.inside)
    np.clip(out, 0, 1, out=out)


def probability(
    network: nn.Module, facts: Facts, images: Images, brain: NDArray[np.bool_], grid: Grid, how: How
) -> NDArray[np.float32]:
    """Probability of a lesion (x, y, z) on the subject's grid, the mean over all looks.

    Parameters
    ----------
    network : nn.Module
        From `jobs.unet.network`, in any mode; it is not changed.
    facts : Facts
        Its patch, spacing and channels.
    images : mapping of modality to (x, y, z) float32 ndarray
    brain : (x, y, z) bool ndarray
    grid : Grid
    how : How

    Raises
    ------
    EngineError, VoxelError
        As `view_of`.
    """
    member = Member(network, facts, how)
    wanted = {m: image for m, image in images.items() if m in facts.network.channels}
    view = view_of(wanted, brain, grid, facts, how)
    mean: NDArray[np.float32] = member.probabilities(view).mean(axis=0)
    return mean
