"""How is one value of study.yaml changed without touching the rest of it, comments included?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from lamstore.config import read_config
from lamstore.errors import ConfigError


def with_value(text: str, section: str, key: str, value: str) -> str:
    """The text of a study.yaml in which ``section.key`` has another value.

    Raises
    ------
    ConfigError
        When the section is written in a way that this does not understand (``{…}`` on one line).
    """
    wanted: dict[str, Any] = yaml.safe_load(text) or {}
    wanted[section] = {**(wanted.get(section) or {}), key: value}
    line = f"{key}: {json.dumps(value, ensure_ascii=False)}"
    lines = text.splitlines()
    heads = [i for i, found in enumerate(lines) if re.match(rf"{section}:\s*(#.*)?$", found)]
    if not heads:
        lines += [f"{section}:", f"  {line}"]
    else:
        begin, end = heads[0] + 1, heads[0] + 1
        while end < len(lines) and re.match(r"\s|#|$", lines[end]):
            end += 1
        indents = [m[1] for row in lines[begin:end] if (m := re.match(r"( +)[^ #]", row))]
        indent = min(indents, key=len, default="  ")
        old = [i for i in range(begin, end) if re.match(rf"{indent}{key}:", lines[i])]
        lines[old[0] if old else begin : old[0] + 1 if old else begin] = [indent + line]
    changed = "\n".join(lines) + "\n"
    if _parsed(changed) != wanted:
        raise ConfigError(
            f"{section}.{key} could not be set in study.yaml",
            got=f"a section {section} that is not written line by line",
            remedy=f"set it by hand: {line} below {section}:",
        )
    return changed


def set_value(study: Path, section: str, key: str, value: str) -> bool:
    """Set ``section.key`` in the study.yaml of a study; whether that changed anything.

    Raises
    ------
    ConfigError
        When the file would not be a valid study.yaml; it is left as it was then.
    """
    path = study / "study.yaml"
    text = path.read_text(encoding="utf-8")
    changed = with_value(text, section, key, value)
    if changed == text:
        return False
    # Beside the file, so that paths in it mean the same.
    part = path.with_name(".study.yaml.part")
    part.write_text(changed, encoding="utf-8")
    try:
        read_config(part)
    except ConfigError:
        part.unlink()
        raise
    part.replace(path)
    return True


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None
