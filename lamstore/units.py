"""What is one piece of work, and what is it called in plans, ledgers and logs?"""

from __future__ import annotations

import re
from typing import NamedTuple

from lamstore.errors import ConfigError

_SHIFT = re.compile(
    r"(?P<name>[a-z][a-z0-9_]*)-(?P<level>\d+)(?:-(?P<mode>t1_only|both))?", re.IGNORECASE
)

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
    """Name, level, mode of a shift label: ``gamma-1`` or ``gamma-1-both``; ``none`` is level 0.

    Raises
    ------
    ConfigError
        For any other form.
    """
    if label == NO_SHIFT:
        return NO_SHIFT, 0, "t1_only"
    match = _SHIFT.fullmatch(label)
    if match is None:
        raise ConfigError(
            "unknown shift: its label cannot be read",
            got=repr(label),
            expected="name-level or name-level-mode, such as gamma-1 or gamma-1-both",
        )
    return match["name"], int(match["level"]), (match["mode"] or "t1_only").lower()
