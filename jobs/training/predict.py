"""What does a network in training say of a whole scan? What the engine ``unet`` would say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from jobs.training.config import TrainConfig
from jobs.training.evaluate import Scan
from jobs.unet.brain import How, Member, view_of
from jobs.unet.network import build_network
from jobs.unet.weights import Facts


class Predictor:
    """Segments whole scans with the weights that a module has now.

    Parameters
    ----------
    module : nn.Module
    facts : Facts
    config : TrainConfig
    """

    def __init__(self, module: nn.Module, facts: Facts, config: TrainConfig) -> None:
        device = next(module.parameters()).device.type
        self._how = How(overlap=config.overlap, device=device)
        # A deeply supervised network keeps outputs of its last step, which cannot be copied.
        fresh = build_network(facts.network)
        fresh.load_state_dict(module.state_dict())
        self._member = Member(fresh, facts, self._how)

    def __call__(self, scan: Scan) -> NDArray[np.float32]:
        """Lesion probability (x, y, z) of a scan on its own grid; 0 outside the brain."""
        view = view_of(scan.images, scan.brain, scan.grid, self._member.facts, self._how)
        return np.asarray(self._member.probabilities(view)[0])
