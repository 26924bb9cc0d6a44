"""Which engine does on demand what engines do in practice: fail, die, hang, eat memory?

Installed by `conftest.probe` as a plug-in of its own, under the name ``probe``. What it segments is
real, if crude: FLAIR above a fraction of the brain's 99th percentile.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from jobs.engines.base import Segmentation, Segmenter
from lamstore.config import digest
from lamstore.errors import EngineError


class Probe(Segmenter):
    """Options: ``do`` maps a subject to what happens at it, ``flag`` is a folder of markers."""

    name = "probe"
    version = "1"

    def __init__(self, options):
        self.do = dict(options.get("do", {}))
        self.flag = Path(options["flag"]) if "flag" in options else None
        self.takes_s = float(options.get("takes_s", 0))

    @classmethod
    def parse(cls, options):
        return cls(options)

    @property
    def members(self):
        return ("m",)

    @property
    def required_modalities(self):
        return ("flair",)

    def digest(self):
        return digest([self.do, self.takes_s])

    def segment(self, inputs):
        time.sleep(self.takes_s)
        what = self.do.get(inputs.subject, "")
        if what and inputs.timepoint == "t1" and inputs.shift == "none":
            self.misbehave(what, inputs)
        flair, brain = inputs.images["flair"], inputs.brainmask
        score = np.clip(flair / np.percentile(flair[brain], 99), 0, 1).astype(np.float32) * brain
        return Segmentation(score[None], score > 0.8)

    def misbehave(self, what, inputs):
        if what == "fail":
            raise EngineError(f"{inputs.subject} was asked to fail")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what.startswith("hog"):  # hog300: MB
            hog = np.ones(int(what[3:]) << 17)
            hog += 1
        if what == "hang":
            time.sleep(3600)
        if what == "wait":  # until somebody says go
            (self.flag / f"at-{os.environ.get('SLURM_JOB_ID', 'here')}").touch()
            while not (self.flag / "go").exists():
                time.sleep(0.1)
