"""Which subjects does a dataset hold?

Adapters are plug-ins of the entry point group ``lamstore.datasets`` (see `jobs.datasets.model`).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from jobs.datasets.files import subject_label
from jobs.datasets.model import MODALITIES, TIMEPOINTS, ImageSource, SubjectSources
from lamstore.errors import ConfigError

__all__ = [
    "MODALITIES",
    "TIMEPOINTS",
    "ImageSource",
    "SubjectSources",
    "available_datasets",
    "load_dataset",
]

GROUP = "lamstore.datasets"


def available_datasets() -> tuple[str, ...]:
    """Names of the installed adapters, sorted."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_dataset(
    adapter: str, root: Path, options: Mapping[str, Any] | None = None
) -> list[SubjectSources]:
    """Subjects of a dataset, in the adapter's order; no image is opened.

    Subjects that share a label are all kept, and each gets a problem that names the others:
    nothing is merged, none of them enters the store.

    Parameters
    ----------
    adapter : str
        Name of an installed adapter.
    root : Path
    options : mapping, optional
        Passed to the adapter.

    Raises
    ------
    ConfigError
        Unknown adapter or options, or a root that is not such a dataset.
    """
    subjects = _entry_point(adapter).load()(Path(root), **(options or {}))
    return _with_label_problems(subjects)


def _entry_point(adapter: str) -> EntryPoint:
    found = list(entry_points(group=GROUP, name=adapter))
    if not found:
        raise ConfigError(
            f"there is no dataset adapter called {adapter}",
            got=adapter,
            expected=f"one of {', '.join(available_datasets()) or '(none is installed)'}",
            remedy="correct dataset.adapter in study.yaml, or install the package that offers it",
        )
    return found[0]


def _with_label_problems(subjects: list[SubjectSources]) -> list[SubjectSources]:
    by_label: dict[str, list[SubjectSources]] = defaultdict(list)
    for subject in subjects:
        by_label[subject.subject].append(subject)
    return [
        dataclasses.replace(s, problems=(*s.problems, *_label_problems(s, by_label[s.subject])))
        for s in subjects
    ]


def _label_problems(subject: SubjectSources, same: list[SubjectSources]) -> list[str]:
    label, here = subject.subject, subject.reference.shown
    problems = []
    if not label or label != subject_label(label):
        problems.append(
            f"the label {label!r} of the subject at {here} cannot be used in the store: "
            "letters, digits, _, - and . only, starting with a letter or digit"
        )
    others = [s.reference.shown for s in same if s is not subject]
    if others:
        problems.append(
            f"duplicate subject: {label} is the label of {here} and of {', '.join(others)}; "
            "rename one of them"
        )
    return problems
