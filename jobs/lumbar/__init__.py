"""What can a lumbar study be tried on when no patient data is at hand?

A geometric model of lumbar spines, normal and transitional, with every level's place known::

    generate_lumbar(draw_spec(seed, "normal"))
"""

from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import Lumbar, generate_lumbar
from jobs.lumbar.spec import KINDS, LEVELS, VERTEBRAE, Coverage, Kind, LumbarSpec

__all__ = [
    "KINDS",
    "LEVELS",
    "VERTEBRAE",
    "Coverage",
    "Kind",
    "Lumbar",
    "LumbarSpec",
    "draw_spec",
    "generate_lumbar",
]
