"""Which file of a segmentation tool's output belongs to which subject? By BIDS-like names.

A file belongs to a subject when a part of its name, or a folder above it, is the subject:
``sub-12345_ses-1_ctd.json``, ``12345_ctd.json``, ``sub-12345/…/anything_ctd.json``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from lamstore.errors import MissingInputError

CENTROIDS = "*_ctd.json"
MASKS = "*.nii.gz"
NOT_INSTANCES = ("seg-spine", "seg-subreg")
"""Parts of names of masks whose labels are tissues, the same in every vertebra."""
SHOWN = 3


class ToolFiles:
    """Every file below a folder that a pattern means, by the subjects it may belong to.

    Parameters
    ----------
    folder : Path
    pattern : str
        Of names: `CENTROIDS` or `MASKS`.
    leaving : Path, optional
        A folder that may lie within and does not count: where an earlier run wrote its own.

    Raises
    ------
    MissingInputError
        There is no such folder, or no such file anywhere below it.
    """

    def __init__(self, folder: Path, pattern: str, leaving: Path | None = None) -> None:
        self.folder, self.pattern = folder, pattern
        self._tail = f"…{pattern.removeprefix('*')}"
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob(pattern)):
            parts = path.name.split("_")
            own = leaving is not None and path.is_relative_to(leaving)
            if not own and not any(part in NOT_INSTANCES for part in parts):
                for name in _names(path.relative_to(folder), parts):
                    self._by_name[name].append(path)
        if not self._by_name:
            raise MissingInputError(
                f"{folder} holds no {pattern}",
                got="an existing folder" if folder.is_dir() else "no such folder",
                expected=f"files like sub-<study>_{self._tail}, at any depth",
                remedy="give the folder into which the tool wrote",
            )

    def of(self, subject: str, sessions: Collection[str] = ()) -> Path:
        """The one file of a subject; of several, that of one of the sessions (or series).

        Raises
        ------
        MissingInputError
            There is none, or more than one.
        """
        found = self._by_name.get(_bare(subject), [])
        if len(found) > 1:
            wanted = set(map(_bare, sessions)) - {""}
            found = [p for p in found if wanted & _names(p.relative_to(self.folder))] or found
        if len(found) == 1:
            return found[0]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise MissingInputError(
            f"{subject}: {'more than one' if found else 'no'} {self.pattern} in {self.folder}",
            got=(", ".join(str(p.relative_to(self.folder)) for p in found[:SHOWN]) or "nothing")
            + more,
            expected=f"one file that is named after it: sub-{_bare(subject)}_{self._tail}",
            remedy="tell sessions apart by ses-<series>, or leave one"
            if found
            else "segment this study, or rename the file (of a pseudonymized study: to its "
            "pseudonym)",
        )


def _names(path: Path, parts: list[str] | None = None) -> set[str]:
    """What a file may be named after: parts of its name, beginnings of it, folders above it."""
    parts = parts or path.name.split("_")
    beginnings = ("_".join(parts[: i + 1]) for i in range(len(parts) - 1))
    folders = (parent.name for parent in path.parents if parent.name)
    return {_bare(name) for name in (*parts[:-1], *beginnings, *folders)}


def _bare(name: str) -> str:
    return name.removeprefix("sub-").removeprefix("ses-")
