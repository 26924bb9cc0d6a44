"""Is the code that runs the code that was installed?

`jobs`, `analysis`, `hpc` and `lamstore` are common names; a folder of the working directory can
shadow one. Every generated command runs ``python -P``, and every worker makes sure here.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from lamstore.errors import ExecutorError

PACKAGES = ("lamstore", "jobs", "analysis", "hpc")


def check_origin() -> None:
    """Raise ExecutorError when one of the four packages does not lie beside the others."""
    homes = {name: _home(name) for name in PACKAGES}
    own = homes["lamstore"]
    intruders = {name: home for name, home in homes.items() if home != own}
    if intruders:
        raise ExecutorError(
            "another package has the name of one of lamstore's",
            got="; ".join(f"{name} comes from {home}" for name, home in intruders.items()),
            expected=f"all of {', '.join(PACKAGES)} in {own}",
            remedy="run python with -P (or PYTHONSAFEPATH=1), or rename that folder",
        )


def _home(name: str) -> Path | None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent.parent
