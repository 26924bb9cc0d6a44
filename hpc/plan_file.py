"""What is a plan on disk? JSON lines, one unit each, with what it waits for.

``{"unit": key, "fingerprint": digest, "needs": [line numbers]}``: a line needs those lines of the
same plan whose outputs it reads; inputs that were done when the plan was made are not named. Waves
follow each other, subjects are contiguous within a wave, so a task's share is a range of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from lamstore.errors import ExecutorError
from lamstore.units import Unit, parse_key


class Planned(NamedTuple):
    """One line: a unit, and the units of this plan that it needs."""

    unit: Unit
    needs: tuple[Unit, ...]


def write_plan(path: Path, units: Sequence[Unit], needs: Callable[[Unit], Iterable[str]]) -> None:
    """Write a plan.

    Parameters
    ----------
    path : Path
    units : sequence of Unit
        In the order of the waves.
    needs : callable
        Keys of the units whose outputs a unit reads, whether they are in this plan or not.
    """
    lines = {unit.key: number for number, unit in enumerate(units)}
    option = orjson.OPT_APPEND_NEWLINE
    with path.open("xb") as stream:
        for unit in units:
            body: dict[str, Any] = {"unit": unit.key, "fingerprint": unit.fingerprint}
            waits = [lines[key] for key in needs(unit) if key in lines]
            if waits:
                body["needs"] = waits
            stream.write(orjson.dumps(body, option=option))


def read_plan(path: Path, begin: int = 0, end: int | None = None) -> list[Planned]:
    """Lines ``begin:end`` of a plan; only those, and what they need, are parsed.

    Raises
    ------
    ExecutorError
        When there is no such plan.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError as error:
        raise ExecutorError(f"there is no plan {path}", remedy="lam run again") from error

    def unit_at(number: int) -> Unit:
        body = orjson.loads(lines[number])
        return parse_key(body["unit"], body["fingerprint"])

    planned = []
    for line in lines[begin:end]:
        body = orjson.loads(line)
        unit = parse_key(body["unit"], body["fingerprint"])
        planned.append(Planned(unit, tuple(map(unit_at, body.get("needs", ())))))
    return planned
