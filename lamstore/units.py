"""What is one piece of work, and what is it called in plans, ledgers and logs?"""

from __future__ import annotations

from typing import NamedTuple

NO_SHIFT = "none"
"""Label of the images as acquired, on every shift axis."""


class Unit(NamedTuple):
    """One piece of work: a job on a (subject, timepoint, shift) with an engine, or a prefix.

    Attributes
    ----------
    job : str
        ``ingest``, ``infer``, ``compare``, ``cohort``, ``report``.
    engine, subject, timepoint, shift : str
        Labels of the store, empty where the job spans all of them.
    fingerprint : str
        Digest of job, version, parameters and the fingerprints of the inputs. A unit is done when
        the ledger's latest record of it is ``done`` with the wanted fingerprint.
    """

    job: str
    engine: str = ""
    subject: str = ""
    timepoint: str = ""
    shift: str = ""
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """Name of the unit, whatever its fingerprint: ``job/engine/subject/timepoint/shift``."""
        return "/".join(self[:5])

    def __str__(self) -> str:
        return " ".join(part for part in self[:5] if part)


def parse_key(key: str, fingerprint: str = "") -> Unit:
    """Inverse of `Unit.key`."""
    job, engine, subject, timepoint, shift = key.split("/")
    return Unit(job, engine, subject, timepoint, shift, fingerprint)


def parse_shift_label(label: str) -> tuple[str, int, str]:
    """Name, level, mode of a shift label: ``gamma-1`` or ``gamma-1-both``; ``none`` is level 0."""
    name, _, rest = label.partition("-")
    level, _, mode = rest.partition("-")
    return name, int(level or 0), mode or "t1_only"
