"""What can a lumbar study be tried on when no patient data is at hand?

A geometric model of lumbar spines, normal and transitional, with every level's place known::

    generate_lumbar(draw_spec(seed, "normal"))
"""

from jobs.heatmaps import LEVELS
from jobs.lumbar.centroids import write_centroids
from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import Lumbar, generate_lumbar
from jobs.lumbar.spec import KINDS, VERTEBRAE, Coverage, Kind, LumbarSpec
from jobs.lumbar.write import LumbarStudy, default_lumbar_cohort, write_rsna

__all__ = [
    "KINDS",
    "LEVELS",
    "VERTEBRAE",
    "Coverage",
    "Kind",
    "Lumbar",
    "LumbarSpec",
    "LumbarStudy",
    "default_lumbar_cohort",
    "draw_spec",
    "generate_lumbar",
    "write_centroids",
    "write_rsna",
]
