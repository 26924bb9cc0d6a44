"""How does a section of study.yaml become an engine's options, and what is their digest?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lamstore.errors import ConfigError


class EngineOptions(BaseModel):
    """Base of every engine's options: immutable, unknown names refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Options = TypeVar("Options", bound=EngineOptions)


def parse_options(model: type[Options], options: Mapping[str, Any], engine: str) -> Options:
    """Check `options` against `model`.

    Raises
    ------
    ConfigError
        Naming the engine, each option at fault, and the options that exist.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        faults = (f"{_where(e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"The options of engine '{engine}' cannot be used.",
            got="; ".join(faults),
            expected="options " + ", ".join(model.model_fields),
            remedy=f"correct the options of '{engine}' in study.yaml",
        ) from error


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "options"


def digest_options(name: str, version: str, options: EngineOptions, *more: str) -> str:
    """SHA-256 (hex) of an engine's name, version, options and whatever else decides its output."""
    content = [name, version, options.model_dump(mode="json"), list(more)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
