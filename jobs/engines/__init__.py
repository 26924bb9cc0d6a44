"""Which engines are installed, and how is one built from its name?

Engines are found by the entry point group ``lamstore.engines``, in this distribution and in any
other that declares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from jobs.engines.base import (
    Engine,
    EngineInput,
    Localization,
    Localizer,
    Segmentation,
    Segmenter,
)
from lamstore.errors import ConfigError, EngineError

__all__ = [
    "GROUP",
    "Engine",
    "EngineInput",
    "Localization",
    "Localizer",
    "Segmentation",
    "Segmenter",
    "available_engines",
    "load_engine",
]

GROUP = "lamstore.engines"
"""Entry point group in which a distribution declares its engines."""


def available_engines() -> tuple[str, ...]:
    """Names of the installed engines, sorted; none of them is imported."""
    return tuple(sorted(entry_points(group=GROUP).names))


def load_engine(name: str, options: Mapping[str, Any]) -> Engine:
    """Build the engine `name` from its options in study.yaml.

    Raises
    ------
    ConfigError
        When no such engine is installed, two distributions claim its name, or an option is wrong.
    EngineError
        When the plug-in cannot be imported or is neither a `Segmenter` nor a `Localizer`; names
        its distribution.
    """
    return _import_engine(_find(name)).parse(options)


def _find(name: str) -> EntryPoint:
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        installed = ", ".join(available_engines())
        raise ConfigError(
            f"No engine is called '{name}'.",
            got=name,
            expected=f"one of {installed}" if installed else "an installed engine; there is none",
            remedy="correct the name in study.yaml, or install the distribution that declares "
            f"'{name}' in its entry points ({GROUP}) into this environment",
        )
    if len({e.value for e in found}) > 1:
        raise ConfigError(
            f"More than one distribution declares an engine '{name}'.",
            got=", ".join(f"{_distribution(e)} ({e.value})" for e in found),
            expected="one",
            remedy="uninstall all but one of them",
        )
    return found[0]


def _import_engine(entry: EntryPoint) -> type[Engine]:
    try:
        found = entry.load()
    except Exception as error:
        # A plug-in is other people's code: whatever its import raises, the user must learn whose.
        raise EngineError(
            f"Engine '{entry.name}' of distribution '{_distribution(entry)}' cannot be imported.",
            got=f"{type(error).__name__}: {error}",
            expected=f"'{entry.value}' importable",
            remedy=f"install what '{_distribution(entry)}' needs, or remove it",
        ) from error
    if not (isinstance(found, type) and issubclass(found, (Segmenter, Localizer))):
        raise EngineError(
            f"Engine '{entry.name}' of distribution '{_distribution(entry)}' is not an engine.",
            got=f"'{entry.value}' is {found!r}",
            expected="a subclass of jobs.engines.base.Segmenter or .Localizer",
            remedy=f"report it to the authors of '{_distribution(entry)}'",
        )
    return found


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"
