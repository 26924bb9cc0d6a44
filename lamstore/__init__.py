"""lamstore: how far can a pretrained medical-image model be trusted on a cohort?

`lamstore.open` gives a study, its store or an HDF5 export as lazy, labelled xarray objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["LamstoreError", "__version__", "open"]

if TYPE_CHECKING:
    from lamstore.errors import LamstoreError
    from lamstore.view import open


def __getattr__(name: str) -> Any:
    # xarray and dask take a second to import; the command line mostly does without them.
    if name == "open":
        import lamstore.accessors  # noqa: F401  (registers .lam)
        from lamstore.view import open

        return open
    if name == "LamstoreError":
        from lamstore.errors import LamstoreError

        return LamstoreError
    raise AttributeError(f"module 'lamstore' has no attribute {name!r}")
