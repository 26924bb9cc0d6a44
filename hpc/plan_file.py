"""What is a plan on disk? JSON lines, one unit each, with what it waits for.

``{"unit": key, "fingerprint": digest, "needs": [line numbers]}``: a line needs those lines of the
same plan whose outputs it reads; inputs that were done when the plan was made are not named. Waves
follow each other, subjects are contiguous within a wave, so a task's share is a range of lines.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    with path.open("xb") as stream:
        for body in plan_lines(units, needs):
            stream.write(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE))


def plan_lines(
    units: Sequence[Unit], needs: Callable[[Unit], Iterable[str]]
) -> Iterator[dict[str, Any]]:
    """The lines of a plan, parsed; see `write_plan`."""
    lines = {unit.key: number for number, unit in enumerate(units)}
    for unit in units:
        body: dict[str, Any] = {"unit": unit.key, "fingerprint": unit.fingerprint}
        waits = [lines[key] for key in needs(unit) if key in lines]
        yield body | {"needs": waits} if waits else body


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

    units: dict[int, Unit] = {}

    def unit_at(number: int, body: dict[str, Any] | None = None) -> Unit:
        if number not in units:
            body = body or orjson.loads(lines[number])
            units[number] = parse_key(body["unit"], body["fingerprint"])
        return units[number]

    planned = []
    with no_collection():
        for number in range(*slice(begin, end).indices(len(lines))):
            body = orjson.loads(lines[number])
            needs = tuple(map(unit_at, body.get("needs", ())))
            planned.append(Planned(unit_at(number, body), needs))
    return planned


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the collector, which looks again and again at units of which none is garbage."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
