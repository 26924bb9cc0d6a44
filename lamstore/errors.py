"""What can go wrong, and what should the user do about it?

Every error that lamstore raises on purpose descends from `LamstoreError` and says what happened,
what was found, what was expected, and the next thing to do::

    LamstoreError
    ├── ConfigError               study.yaml, a command's arguments
    ├── InputError                a file of the cohort
    │   ├── MissingInputError     it is not there
    │   ├── UnreadableInputError  it is there but cannot be read (truncated, not an image)
    │   ├── GridError             its grid is not the subject's
    │   └── VoxelError            its values cannot be used (NaN, not a mask, empty)
    ├── EngineError               a model cannot run
    │   ├── MissingWeightsError
    │   └── MissingContainerError
    ├── StoreError                the store or the ledger
    │   ├── MissingArrayError     asked for something that is not stored
    │   ├── TornDataError         stored bytes are damaged or differ from their checksum
    │   ├── DiskFullError
    │   └── StudyLockedError      another run is at work on this study
    ├── ExecutorError             a run cannot be planned, submitted or watched
    └── AnalysisError             tables that cannot be analysed
"""

from __future__ import annotations

import errno


class LamstoreError(Exception):
    """Base of every error raised on purpose.

    Parameters
    ----------
    what : str
        One sentence: what went wrong, naming the subject and the file where there is one.
    got, expected : str, optional
        What was found, and what should have been.
    remedy : str, optional
        What the user does next, ideally a command to type.
    """

    def __init__(
        self,
        what: str,
        *,
        got: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        parts = [("got", self.got), ("expected", self.expected), ("try", self.remedy)]
        return "\n".join([self.what, *(f"  {k}: {v}" for k, v in parts if v is not None)])

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword-only arguments need this to survive pickling.
        return _rebuild, (type(self), self.what, self.got, self.expected, self.remedy)


def _rebuild(
    cls: type[LamstoreError], what: str, got: str | None, expected: str | None, remedy: str | None
) -> LamstoreError:
    return cls(what, got=got, expected=expected, remedy=remedy)


class ConfigError(LamstoreError):
    """study.yaml or a command's arguments cannot be used."""


class InputError(LamstoreError):
    """A file of the cohort cannot be used."""


class MissingInputError(InputError):
    """A file that a subject needs is not there."""


class UnreadableInputError(InputError):
    """A file is there but cannot be read: truncated, not an image, an unsupported type."""


class GridError(InputError):
    """The grid (shape, affine) of a file is not that of its subject."""


class VoxelError(InputError):
    """The values of a file cannot be used: NaN, not a mask, empty."""


class EngineError(LamstoreError):
    """A model cannot run."""


class MissingWeightsError(EngineError):
    """The weights of an engine are not there. Nothing is ever substituted for them."""


class MissingContainerError(EngineError):
    """The container of an engine is not there. Nothing is ever substituted for it."""


class StoreError(LamstoreError):
    """The store or the ledger."""


class MissingArrayError(StoreError):
    """Something was asked for that the store does not hold."""


class TornDataError(StoreError):
    """Stored bytes are damaged, missing, or differ from their recorded checksum."""


class DiskFullError(StoreError):
    """There is no space left where the study lies."""


class StudyLockedError(StoreError):
    """Another run is at work on this study."""


class ExecutorError(LamstoreError):
    """A run cannot be planned, submitted or watched."""


class AnalysisError(LamstoreError):
    """Tables that cannot be analysed."""


def means_no_space(error: BaseException) -> bool:
    """Whether an error of any library says that the disk or the quota is full."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    # The codec pipeline and HDF5 pass on the system's words without its number.
    text = str(error).lower()
    return "no space left" in text or "quota exceeded" in text


def disk_full(doing: str, error: BaseException) -> DiskFullError:
    """The error for work that ended because there was no space left, whatever library noticed."""
    return DiskFullError(
        f"no space left to {doing}",
        got=f"{type(error).__name__}: {error}",
        remedy="free space, then run the same command again: finished units are kept",
    )
