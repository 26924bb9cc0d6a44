"""How are two ways timed so that the comparison holds on a noisy machine?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what, peer : str
    ours, theirs : str
        With unit; empty where there is no peer.
    ratio : float
        As the target counts it.
    target : str
    """

    what: str
    ours: str
    peer: str
    theirs: str
    ratio: str
    target: str


def pairs(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """Seconds of each (median) and the median of theirs/ours taken pair by pair, in turn."""
    ours(), theirs()
    a, b = [], []
    for _ in range(rounds):
        a.append(seconds(ours, clock))
        b.append(seconds(theirs, clock))
    ratio = statistics.median(t / o for o, t in zip(a, b, strict=True))
    return statistics.median(a), statistics.median(b), ratio


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call: wall time, unless another clock is given."""
    begun = clock()
    action()
    return clock() - begun


def compared(
    what: str,
    ours: Callable[[], object],
    peer: str,
    theirs: Callable[[], object],
    target: str,
    rounds: int = 31,
    clock: Callable[[], float] = time.perf_counter,
) -> Row:
    """A row in which ours should be faster."""
    mine, other, ratio = pairs(ours, theirs, rounds, clock)
    return Row(
        what, f"{mine * 1e3:.1f} ms", peer, f"{other * 1e3:.1f} ms", f"{ratio:.1f} ×", target
    )
