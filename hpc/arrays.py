"""How are units divided over tasks, and tasks over arrays?

Many units a task: as many as take `task_minutes`, by the times that the ledger has measured, but
few enough that the wave still spreads over the cluster. An array beyond the site's limit is split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpc.profiles import Profile
from hpc.run_folder import ArrayFacts
from lamstore.units import Unit

GUESSED_S = {"ingest": 4.0, "infer": 6.0, "compare": 2.0}
"""Time of a unit of which nothing has been measured yet."""

WORTHWHILE_S = 30.0
"""A task is not divided below this: starting Python and loading an engine takes seconds."""


@dataclass(frozen=True)
class Group:
    """Units of one wave that get the same resources."""

    wave: str
    units: Sequence[Unit]
    memory_mib: int
    time_s: int


@dataclass(frozen=True)
class Division:
    """Arrays by name in the order of the plan, and what each waits for.

    Attributes
    ----------
    arrays : dict of name to ArrayFacts
    after : dict of name to names
    last : tuple of str
        What the last job waits for.
    """

    arrays: dict[str, ArrayFacts]
    after: dict[str, tuple[str, ...]]
    last: tuple[str, ...]


def divide(
    groups: Sequence[Group], profile: Profile, mean_s: Mapping[str, float], max_array_size: int
) -> Division:
    """Divide units over arrays.

    Parameters
    ----------
    groups : sequence of Group
        In the order of the waves; a wave waits for all arrays of the one before it.
    profile : Profile
    mean_s : mapping of job to seconds
        Measured time of a unit; jobs without one are guessed.
    max_array_size : int
        Tasks that one array may have.
    """
    arrays: dict[str, ArrayFacts] = {}
    after: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    wave, line = "", 0
    for group in groups:
        if group.wave != wave:
            wave, waiting, before = group.wave, before, ()
        per_task = units_per_task(group, profile, mean_s.get(wave) or GUESSED_S.get(wave, 10.0))
        end = line + len(group.units)
        for begin in range(line, end, per_task * max_array_size):
            number = sum(facts.wave == wave for facts in arrays.values())
            name = f"{wave}-{number:02d}"
            arrays[name] = ArrayFacts(
                wave=wave,
                begin=begin,
                end=min(begin + per_task * max_array_size, end),
                per_task=per_task,
                memory_mib=group.memory_mib,
                time_s=group.time_s,
                processes=profile.of(wave).processes,
                lead_s=min(profile.stop_before_s, group.time_s // 3),
            )
            # %N bounds one array; what bounds a wave of several is that they follow each other.
            after[name] = before or waiting if profile.throttle else waiting
            before = (name,) if profile.throttle else (*before, name)
        line = end
    return Division(arrays, after, before)


def units_per_task(group: Group, profile: Profile, mean_s: float) -> int:
    """How many units one task of a group does."""
    count = len(group.units)
    if profile.units_per_task:
        return profile.units_per_task
    processes = profile.of(group.wave).processes
    for_target = profile.task_minutes * 60 * processes / mean_s
    within_limit = 0.8 * group.time_s * processes / mean_s
    spread = math.ceil(count / (profile.throttle or profile.parallel_tasks))
    worthwhile = WORTHWHILE_S * processes / mean_s
    chosen = max(1, int(min(for_target, within_limit, max(spread, worthwhile))))
    return max(1, min(_whole_subjects(group.units, chosen), count))


def _whole_subjects(units: Sequence[Unit], chosen: int) -> int:
    """A task that begins with a subject begins with a cold cache; round to whole subjects."""
    subjects = len({(unit.engine, unit.subject) for unit in units}) or 1
    each = len(units) / subjects
    if chosen < each or each <= 1:
        return chosen
    return max(1, round(math.ceil(chosen / each) * each))
