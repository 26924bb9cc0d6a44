"""Is every voxel that the ledger calls done really there, and unharmed?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track

from hpc.provenance import provenance
from lamstore.errors import MissingArrayError, TornDataError
from lamstore.ledger import LedgerFile, Record, started
from lamstore.store import Store, checksum
from lamstore.study import Study
from lamstore.units import Unit


@dataclass(frozen=True)
class Damage:
    """One array of one unit that does not hold what was written.

    Attributes
    ----------
    what : str
        How it is damaged, in words.
    """

    unit: Unit
    array: str
    what: str


def find_damage(study: Study, console: Console) -> tuple[int, list[Damage]]:
    """Check the arrays of every done unit.

    Returns
    -------
    int
        Number of units checked.
    list of Damage
    """
    records = [r for r in study.ledger.records(state="done") if r.arrays]
    if not records:
        return 0, []
    store = Store(study.store_path)
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda record: list(damages_of(store, record)), records)
        shown: Iterable[list[Damage]] = track(
            results, "verifying", total=len(records), console=console, transient=True
        )
        return len(records), [damage for found in shown for damage in found]


def damages_of(store: Store, record: Record) -> Iterator[Damage]:
    """Damaged arrays of one record."""
    for array, expected in record.arrays.items():
        name, _, timepoint = array.partition("@")
        unit = record.unit
        at = {"subject": unit.subject, "timepoint": timepoint or unit.timepoint}
        at |= {"shift": unit.shift}
        try:
            found = checksum(store.read(name, **{k: v for k, v in at.items() if v}))
        except (TornDataError, MissingArrayError) as error:
            yield Damage(unit, array, f"cannot be read: {error.got or error.what}")
            continue
        if found != expected:
            yield Damage(unit, array, f"holds {found}, the ledger says {expected}")


def withdraw(study: Study, damages: Iterable[Damage], run: str) -> None:
    """Record that damaged units are not done, so that the next run does them."""
    units, words = {damage.unit for damage in damages}, study.ledger.latest()
    with LedgerFile(study.ledger.folder, f"{run}-verify", provenance(study)) as ledger:
        for unit in sorted(units):
            ledger.append(started(unit), words[unit.key].finished)
