"""What does a network in training say of a whole scan? The inference of the engine ``unet``."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jobs.training.config import TrainConfig
from jobs.training.evaluate import Scan
from jobs.unet.fast import fast_on_cpu
from jobs.unet.inference import Windows
from jobs.unet.normalize import brain_scale, normalized


class Predictor:
    """Segments whole scans with the weights that a module has now.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    config : TrainConfig
    """

    def __init__(self, module: nn.Module, config: TrainConfig) -> None:
        self._config = config
        self._device = next(module.parameters()).device
        on_cpu = self._device.type == "cpu"
        self._network = fast_on_cpu(module, torch.float32) if on_cpu else module
        self._batch = 1 if on_cpu else 8

    def __call__(self, scan: Scan) -> NDArray[np.float32]:
        """Lesion probability (x, y, z) of a scan on its own grid; 0 outside the brain."""
        blank = np.zeros(scan.grid.shape, np.float32)
        images = [
            blank if i is None else normalized(i, scan.brain, brain_scale(i, scan.brain))
            for i in (scan.images.get(c) for c in self._config.channels)
        ]
        patch, overlap = self._config.patch, self._config.overlap
        windows = Windows.over(scan.brain, patch, overlap, self._device)
        logits = windows.logits(images, self._network, self._batch, torch.float32)
        found = blank.copy()
        found[windows.box] = torch.sigmoid(logits).cpu().numpy()
        found *= scan.brain
        return found
