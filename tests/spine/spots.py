"""Which localizer can be tried without any weights? One that looks for balls of known brightness.

Installed by `conftest.spots` as a plug-in of its own, under the name ``spots``. What it locates is
real, if crude: level `i` is where the image is about 100 · (i + 1).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from jobs.engines.base import Localization, Localizer
from lamstore.config import digest
from lamstore.errors import ConfigError, EngineError

LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")


class Spots(Localizer):
    """Options: ``width`` of each member in grey values; ``planes``: hand them out as well."""

    name = "spots"
    version = "1"
    levels = LEVELS
    required_modalities = ("t2w",)

    def __init__(self, options):
        unknown = set(options) - {"widths", "planes"}
        if unknown:
            raise ConfigError(f"engine 'spots' has no option {', '.join(sorted(unknown))}")
        self.options = dict(options)
        self.widths = tuple(options.get("widths", (30, 45)))

    @classmethod
    def parse(cls, options):
        return cls(options)

    @property
    def members(self):
        return tuple(f"w{width}" for width in self.widths)

    def digest(self):
        return digest([self.version, self.widths, self.options.get("planes", False)])

    def locate(self, inputs):
        self.require(inputs)
        image = inputs.images["t2w"]
        if not np.isfinite(image).all():
            raise EngineError(f"{inputs.subject} has values that are not finite")
        heatmap = np.stack([[self._map(image, i, w) for i in range(5)] for w in self.widths])
        planes = heatmap.max(axis=-1) if self.options.get("planes") else None
        return Localization(heatmap, planes)

    def _map(self, image, level, width):
        near = 1 - np.abs(np.ascontiguousarray(image) - 100 * (level + 1)) / width
        return np.clip(ndimage.gaussian_filter(np.clip(near, 0, 1), (1, 1, 0)), 0, 1)
