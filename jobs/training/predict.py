"""What does a network in training say of a whole scan? The inference of the engine ``unet``."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jobs.metrics.components import bounding_box
from jobs.training.config import TrainConfig
from jobs.training.evaluate import Scan
from jobs.unet.normalize import brain_scale, normalized


def probability(module: nn.Module, scan: Scan, config: TrainConfig) -> NDArray[np.float32]:
    """Lesion probability (x, y, z) of a scan on its own grid; 0 outside the brain."""
    from monai.inferers import sliding_window_inference

    box = bounding_box(scan.brain)
    assert box is not None
    blank = np.zeros(scan.grid.shape, np.float32)
    images = [
        normalized(i, scan.brain, brain_scale(i, scan.brain)) if i is not None else blank
        for i in (scan.images.get(c) for c in config.channels)
    ]
    device = next(module.parameters()).device
    stack = torch.from_numpy(np.stack([i[box] for i in images]))[None].to(device)
    with torch.inference_mode():
        logits = sliding_window_inference(
            stack, config.patch, 2, module, overlap=config.overlap, mode="gaussian"
        )
    out = blank.copy()
    out[box] = torch.sigmoid(logits.float())[0, 0].cpu().numpy() * scan.brain[box]
    return out
