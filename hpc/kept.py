"""What did the planner want when it last looked? Kept, so that who only looks need not plan.

``runs/wanted.jsonl``: a line of facts, then every unit that the study wants, done or not, in the
form of a plan (`hpc.plan_file`). It speaks for a study.yaml and a lamstore, both of which it names;
under others it counts no more. What is done is never in it: that is the ledger's to say.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from hpc.plan_file import plan_lines
from lamstore.config import digest
from lamstore.study import Study
from lamstore.units import Unit

PACKAGES = ("lamstore", "jobs", "analysis", "hpc")


@dataclass(frozen=True)
class Facts:
    """What counting needs beside the units.

    Attributes
    ----------
    text : str
        Digest of study.yaml as it is written: the folder may move with its cohort.
    code : str
        Of the program's files, see `code_digest`.
    engines : mapping of name to shift labels
    jobs : sequence of str
        Those of the units, in their order.
    versions : mapping of job to version
        Of the jobs that close a study.
    """

    text: str
    code: str
    engines: Mapping[str, Sequence[str]]
    jobs: Sequence[str]
    versions: Mapping[str, str]


def facts_of(study: Study, engines: Mapping[str, Sequence[str]]) -> Facts:
    """Facts of a plan that is made now."""
    from hpc.registry import JOBS, VOXEL_JOBS

    versions = {name: JOBS[name].version for name in ("cohort", "report")}
    return Facts(_text_digest(study), code_digest(), dict(engines), VOXEL_JOBS, versions)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of names, sizes and times of change of lamstore's own files: versions follow them."""
    root = Path(__file__).resolve().parents[1]
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            known = path.stat()
            found.append([str(path.relative_to(root)), known.st_size, known.st_mtime_ns])
    return digest(found)


def keep(
    study: Study, facts: Facts, units: Sequence[Unit], needs: Callable[[Unit], Iterable[str]]
) -> None:
    """Keep what a plan wants, unless the same is kept already; the caller holds the lock."""
    path = _path(study)
    content = hashlib.blake2b(digest_size=16)
    for unit in units:
        content.update(f"{unit.key} {unit.fingerprint}\n".encode())
    first = asdict(facts) | {"content": content.hexdigest()}
    if _first(path) == orjson.loads(orjson.dumps(first)):
        return
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as stream:
            for body in (first, *plan_lines(units, needs)):
                stream.write(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def kept_facts(study: Study) -> Facts | None:
    """Facts of the kept list; None when there is none."""
    first = _first(_path(study))
    if first is None:
        return None
    try:
        return Facts(**{field.name: first[field.name] for field in fields(Facts)})
    except KeyError:  # of another version
        return None


def kept_lines(study: Study) -> Iterator[dict[str, Any]]:
    """The units of the kept list, as `plan_lines` gives them."""
    lines = _path(study).read_bytes().splitlines()
    return map(orjson.loads, lines[1:])


def is_current(facts: Facts, study: Study) -> bool:
    """Whether study.yaml and lamstore are those under which a list was kept."""
    return facts.text == _text_digest(study) and facts.code == code_digest()


def _text_digest(study: Study) -> str:
    return hashlib.blake2b((study.path / "study.yaml").read_bytes(), digest_size=16).hexdigest()


def _path(study: Study) -> Path:
    return study.runs / "wanted.jsonl"


def _first(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as stream:
            found: dict[str, Any] = orjson.loads(stream.readline())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return found
