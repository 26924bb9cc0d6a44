"""What can a study be tried on when no patient data is at hand?

A procedural brain phantom whose lesions, and their changes, are known exactly::

    write_open_ms((generate_subject(spec) for spec in default_cohort()), root)
"""

from jobs.phantom.spec import LesionPlan, PhantomSpec, Scanner, default_cohort
from jobs.phantom.subject import PhantomSubject, generate_subject
from jobs.phantom.write import write_bids, write_open_ms

__all__ = [
    "LesionPlan",
    "PhantomSpec",
    "PhantomSubject",
    "Scanner",
    "default_cohort",
    "generate_subject",
    "write_bids",
    "write_open_ms",
]
