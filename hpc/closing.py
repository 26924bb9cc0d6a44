"""From what are a cohort's metrics and the report made, and so when are they stale?

Apart from `hpc.plan`, so that who only counts imports neither jobs nor engines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from lamstore.config import StudyConfig, digest
from lamstore.ledger import Entry
from lamstore.units import Unit

Words = Mapping[str, Entry]


def cohort_unit(
    version: str, engine: str, shifts: Sequence[str], inputs: Iterable[tuple[str, str]]
) -> Unit:
    """The gathering of one engine.

    Parameters
    ----------
    inputs : iterable of (key, fingerprint)
        The wanted units that are done.
    """
    made = digest(["cohort", version, shifts, sorted(inputs)])
    return Unit("cohort", engine, fingerprint=made)


def report_unit(version: str, config: StudyConfig, engines: Iterable[str], words: Words) -> Unit:
    """Tables and report; stale when any result, failure or threshold changed."""
    cohorts = [words.get(Unit("cohort", engine).key) for engine in engines]
    failures = sorted(
        (key, word.fingerprint) for key, word in words.items() if word.state == "failed"
    )
    # Where cohort and labels lie and which cluster computes decide no result: a study may move.
    asked = config.model_dump(
        mode="json", exclude={"cluster": True, "dataset": {"root"}, "screening": {"labels"}}
    )
    gathered = [word and word.fingerprint for word in cohorts]
    parts = ["report", version, asked, gathered, failures, *_labels(config)]
    return Unit("report", fingerprint=digest(parts))


def _labels(config: StudyConfig) -> list[str]:
    """Digest of the labels' content; without a file (the report will say so) that of none."""
    path = config.screening.labels
    if path is None:
        return []
    return [hashlib.blake2b(path.read_bytes() if path.is_file() else b"").hexdigest()]


def is_done(unit: Unit, words: Words) -> bool:
    """Whether the ledger's latest word is that this very unit is done."""
    word = words.get(unit.key)
    return word is not None and word.state == "done" and word.fingerprint == unit.fingerprint
