"""How does the report write a number, and which sentence says what was found?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

NONE = "–"
THIN = "\u202f"


def number(value: object, digits: int = 2) -> str:
    """A number with fixed decimals; an en dash for what is undefined."""
    found = as_float(value)
    return NONE if found is None else f"{found + 0.0:.{digits}f}".replace("-", "−")


def mm3(value: object, *, signed: bool = False) -> str:
    """A volume in whole mm³ with thin spaces; one decimal below 10."""
    found = as_float(value)
    if found is None:
        return NONE
    digits = 0 if abs(found) >= 10 or found == 0 else 1
    text = f"{found:{'+' if signed and found else ''},.{digits}f}"
    return text.replace(",", THIN).replace("-", "−")


def compact(value: object) -> str:
    """Three significant digits, with an exponent where needed."""
    found = as_float(value)
    return NONE if found is None else f"{found:.3g}".replace("-", "−")


def as_float(value: object) -> float | None:
    """A finite float, or None."""
    if value is None or isinstance(value, str):
        return None
    found = float(value)  # type: ignore[arg-type]
    return found if math.isfinite(found) else None


def count(n: int, one: str, many: str | None = None) -> str:
    """``1 subject``, ``3 subjects``."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """``a, b and c``; with more than `most`, how many others there are."""
    shown = [*names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def prose(text: str) -> Markup:
    """A sentence of `analysis.summary`: escaped, with its `names` as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
