"""What does a single subject look like? Pictures for `lam run --subject`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import lamstore
from lamstore.study import Study

SLICES = 4


def debug_pictures(study: Study, subjects: Iterable[str]) -> Iterator[Path]:
    """Draw images and what each engine made of these subjects, one file an engine.

    Subjects of which an engine made nothing are left out; `lam status` says why.
    """
    folder = study.figures / "debug"
    inferred = {
        (record.unit.engine, record.unit.subject)
        for record in study.ledger.records("infer", "done")
    }
    for engine, subject in sorted(inferred):
        if subject in set(subjects):
            folder.mkdir(parents=True, exist_ok=True)
            ds = lamstore.open(study.path, engine=engine).sel(subject=subject)
            path = folder / f"{subject}_{engine}.png"
            ds.lam.overlay(slices=SLICES).savefig(path, dpi=110)
            yield path
