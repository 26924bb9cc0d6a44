"""Which intensity scale is standard for a study, and who learned it from which scans?

The scale of the ``nyul`` harmonization is learned once, from baseline scans of the cohort, and
then frozen in the study directory: subjects that are added later are judged on the same scale, and
change nothing of what is done. ``harmonization/nyul.json`` names the scans (the planner writes it,
its digest is part of every fingerprint), ``harmonization/nyul-<modality>.json`` holds the scale
(the first worker that needs it writes it: by then the scans are in the store, and whoever computes
it gets the same). To learn it anew, delete the folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from jobs.datasets.manifest import Manifest
from jobs.harmonize import LANDMARKS, STANDARD_RANGE, VERSION, brain_percentiles, train_scale
from lamstore.config import digest
from lamstore.errors import StoreError
from lamstore.store import Store
from lamstore.study import Study

BASELINE = "t0"
MOST_SCANS = 40
"""Scans learned from: the mean of more moves little, and every one has to be read."""


@dataclass(frozen=True)
class Recipe:
    """From which scans a study's standard scale is learned.

    Attributes
    ----------
    scans : mapping of subject to str
        Fingerprint of the subject's files when the scale was settled.
    """

    scans: dict[str, str]

    @property
    def digest(self) -> str:
        """Of everything that decides the scale."""
        return digest([VERSION, LANDMARKS.tolist(), STANDARD_RANGE, self.scans])


def recipe(study: Study, manifest: Manifest) -> Recipe:
    """The study's recipe; of the cohort as it is now where none is written yet."""
    try:
        return Recipe(dict(orjson.loads(_recipe_path(study).read_bytes())["scans"]))
    except FileNotFoundError:
        pass
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{_recipe_path(study)} cannot be read",
            got=str(error),
            remedy=f"delete {_recipe_path(study).parent}: the scale is learned anew",
        ) from error
    entries = manifest.entries.items()
    prints = {
        subject: entry.fingerprint
        for subject, entry in sorted(entries)
        if entry.check.ok and any(t == BASELINE for t, _ in entry.check.available)
    }
    chosen = np.linspace(0, len(prints) - 1, min(len(prints), MOST_SCANS)).round().astype(int)
    names = list(prints)
    return Recipe({names[i]: prints[names[i]] for i in chosen})


def keep_recipe(study: Study, manifest: Manifest) -> None:
    """Write the recipe, once; only who holds the study's lock may."""
    found = recipe(study, manifest)
    if found.scans and not _recipe_path(study).exists():
        _put(_recipe_path(study), {"version": VERSION, "scans": found.scans})


def standard_scale(
    study: Study, manifest: Manifest, store: Store, modality: str
) -> NDArray[np.float64]:
    """(11,) standard scale of a modality, learned where it is not yet.

    Raises
    ------
    StoreError
        When no scan that it would be learned from is in the store.
    """
    wanted = recipe(study, manifest)
    path = _recipe_path(study).with_name(f"nyul-{modality}.json")
    try:
        body = orjson.loads(path.read_bytes())
        if body["recipe"] == wanted.digest:
            return np.asarray(body["scale"], np.float64)
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError):
        pass  # not there, or not whole
    scans = _scans(study, store, wanted, modality)
    scale = train_scale(np.stack([_landmarks(store, subject, modality) for subject in scans]))
    facts = {"percentiles": LANDMARKS.tolist(), "scale": scale.tolist(), "scans": scans}
    _put(path, {"version": VERSION, "recipe": wanted.digest, **facts})
    return scale


def _scans(study: Study, store: Store, wanted: Recipe, modality: str) -> list[str]:
    ingested = {record.unit.subject for record in study.ledger.records("ingest", "done")}
    here = [s for s in wanted.scans if s in ingested]
    scans = [s for s in here if (BASELINE, modality) in store.available(s)]
    if not scans:
        raise StoreError(
            f"there is no baseline {modality} to learn the standard scale from",
            got=f"{len(here)} of {len(wanted.scans)} subjects of the recipe in the store",
            remedy=f"ingest them, or delete {_recipe_path(study).parent}",
        )
    return scans


def _landmarks(store: Store, subject: str, modality: str) -> NDArray[np.float64]:
    block = store.read("volume", subject=subject, timepoint=BASELINE, modality=modality)
    image = block[0, 0, 0].astype(np.float32)
    brain = np.ones(image.shape, bool)  # a spine has none: the whole field of view
    if "brainmask" in store:
        brain = store.read("brainmask", subject=subject)[0].astype(bool)
    return brain_percentiles(image, brain, LANDMARKS)


def _recipe_path(study: Study) -> Path:
    return study.path / "harmonization" / "nyul.json"


def _put(path: Path, body: dict[str, Any]) -> None:
    """Write in one step; who comes second writes the same."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        part.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
