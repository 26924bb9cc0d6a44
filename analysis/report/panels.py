"""What does each subject look like? Pictures, small enough for one page.

The worst subjects' pictures are part of the page, those of the others lie beside it in
``figures/``, and beyond a few hundred none is drawn: `lamstore.open` draws any one in a second.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

import lamstore
from analysis.robustness import level_name
from lamstore.errors import LamstoreError
from lamstore.overlay import overlay_levels
from lamstore.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INLINE = 24
"""Pictures in the page itself; about 0.1 MB each."""
DRAWN = 200
"""Pictures drawn at all, for each engine; about half a second each."""
SLICES = 2
QUALITY = 78
UNREADABLE = (LamstoreError, OSError, RuntimeError, ValueError)
"""What torn voxels raise. One torn block must not take the report of all others with it: the page
says so in the picture's place."""


@dataclass(frozen=True)
class Panel:
    """A subject's picture: a data URI, or the path of a file beside the page, or why neither."""

    source: str = ""
    inline: bool = False
    why: str = ""


def draw_panels(
    study: Study, engine: str, subjects: Sequence[str], folder: Path
) -> dict[str, Panel]:
    """Draw the subjects in this order; files of earlier reports in `folder` are replaced.

    Parameters
    ----------
    subjects : sequence of str
        Worst first, only such as have results.
    folder : Path
        Where pictures go that are not part of the page.
    """
    for old in folder.glob("*.webp"):
        old.unlink()
    if not subjects:
        return {}
    ds = lamstore.open(study.path, engine=engine)
    stored = set(ds.subject.values.tolist())
    return {
        subject: _panel(ds, subject, i, folder, study.path)
        if subject in stored
        else Panel(why="It is not in the store.")
        for i, subject in enumerate(subjects)
    }


def _panel(ds: xr.Dataset, subject: str, rank: int, folder: Path, home: Path) -> Panel:
    if rank >= DRAWN:
        return Panel(
            why=f"Not drawn: {DRAWN} subjects are worse. lamstore.open(study, engine="
            f"{ds.attrs['engine']!r}).sel(subject={subject!r}).lam.overlay() draws it."
        )
    try:
        picture = webp(ds.sel(subject=subject).lam.overlay(slices=SLICES))
    except UNREADABLE as error:
        return Panel(why=f"It cannot be drawn: {error}")
    if rank < INLINE:
        return Panel(data_uri(picture, "webp"), inline=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^\w.-]", "_", subject) + ".webp")
    path.write_bytes(picture)
    return Panel(path.relative_to(home).as_posix())


def worst_case(study: Study, engine: str, subject: str, shift: str, folder: Path) -> Panel:
    """One subject's mask under every level of a shift, as a panel of the page.

    Parameters
    ----------
    shift : str
        Name, without a level.
    folder : Path
        Gets ``worst_case.webp``.
    """
    ds = lamstore.open(study.path, engine=engine)
    try:
        found = ds.sel(subject=subject).lam.crop()
        picture = webp(overlay_levels(found, shift, titled=titled))
    except UNREADABLE as error:
        return Panel(why=f"It cannot be drawn: {error}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worst_case.webp").write_bytes(picture)
    return Panel(data_uri(picture, "webp"), inline=True)


def titled(shift: str, level: int) -> str:
    """A column's title: the level in words."""
    return level_name(shift, level) if level == 0 else f"{shift}: {level_name(shift, level)}"


def webp(figure: Figure) -> bytes:
    """A figure as a WebP file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", pil_kwargs={"quality": QUALITY, "method": 2})
    return buffer.getvalue()


def data_uri(picture: bytes, kind: str) -> str:
    """A picture as text that an ``src`` can hold."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
