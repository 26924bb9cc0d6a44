"""What do a tool's labels of one spine become, and how unsure is the localizer where they lie?

Two looks at one series. The heatmaps of the whole series, which the study holds, say which level is
where; held against the tool's labels they give a suggestion (`jobs.heatmaps.relabel`). Patches
around the tool's levels give confidence and entropies where the tool says a level is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jobs.engines.base import Localization
from jobs.engines.vertebra_heatmap import VertebraHeatmap
from jobs.heatmap_measures import level_measures, named, peaks
from jobs.heatmaps import LEVELS
from jobs.heatmaps.centroids import (
    DISC,
    NAMES,
    SACRUM,
    structure_name,
    write_centroids,
)
from jobs.heatmaps.places import Labelled, labelled, turned
from jobs.heatmaps.relabel import (
    Suggestion,
    evidence,
    relabelled_centroids,
    relabelled_mask,
    relabelling,
    suggest,
)
from jobs.nifti import read_header, read_volume
from jobs.predict import Scan, read_scan, write_volume
from jobs.tool_files import ToolFiles
from lamstore.config import HeatmapConfig
from lamstore.errors import GridError, VoxelError
from lamstore.grid import Grid
from lamstore.store import Store
from lamstore.units import NO_SHIFT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = ("confidence", "entropy", "spatial_entropy", "mutual_information")
"""Of each level, in its patch."""


@dataclass(frozen=True)
class Tool:
    """Where a segmentation tool left its results, and where relabelled ones go."""

    centroids: ToolFiles
    masks: ToolFiles | None
    out: Path


@dataclass(frozen=True)
class Relabelled:
    """One spine.

    Attributes
    ----------
    row : mapping
        Its line of the table.
    suggestion : Suggestion
    changed : mapping of int to int
        New label of each vertebra that gets another one.
    """

    row: Mapping[str, Any]
    suggestion: Suggestion
    changed: Mapping[int, int]


def relabel(
    scan: Scan,
    series: str,
    engine: VertebraHeatmap,
    heatmap: NDArray[np.floating],
    tool: Tool,
    config: HeatmapConfig,
) -> Relabelled:
    """Look at one scan of a study, write its centroids and its mask under the suggested labels.

    Parameters
    ----------
    scan : Scan
        Of a study's store.
    series : str
        What the dataset calls it; empty where it has no name.
    engine : VertebraHeatmap
        Loaded.
    heatmap : (level, x, y, z) ndarray
        Of the whole series, from the store.
    tool : Tool
    config : HeatmapConfig

    Raises
    ------
    MissingInputError, UnreadableInputError, GridError, VoxelError
        Naming the subject and the file.
    """
    path = tool.centroids.of(scan.subject, (scan.timepoint, series))
    inputs = read_scan(scan, engine, resample=False)
    found = labelled(path, inputs.grid, scan.subject)
    mask_path = tool.masks.of(scan.subject, (scan.timepoint, series)) if tool.masks else None
    mask = _read_mask(mask_path, found, inputs.grid, scan.subject) if mask_path else None
    around = engine.around(inputs, found.centres)
    suggestion = suggest(evidence(heatmap, found.gaps, inputs.grid), found.gaps)
    labels = set(found.centroids.points) | set(() if mask is None else np.unique(mask).tolist())
    mapping = relabelling(sorted(labels - {0}), suggestion.shift)
    written = _write(tool, scan, path, found, mask_path, mask, mapping)
    row = {
        "study_id": scan.subject,
        "series_id": series,
        "timepoint": scan.timepoint,
        "shift": suggestion.shift,
        "log_odds": suggestion.log_odds,
        "divide_sacrum": suggestion.sacrum_holds_l5,
        "moved": moved_text(mapping),
        "without_centroid": " ".join(level for level in LEVELS if level not in found.centres),
        **guided_measures(around, found, inputs.grid, config),
        **written,
    }
    bodies = {old: new for old, new in mapping.items() if old < DISC}
    return Relabelled(row, suggestion, bodies)


def draw(
    scan: Scan,
    series: str,
    engine: VertebraHeatmap,
    heatmap: NDArray[np.floating],
    tool: Tool,
    one: Relabelled,
) -> Figure:
    """The picture of a scan that was relabelled, see `jobs.relabel_picture`."""
    from jobs.relabel_picture import picture

    inputs = read_scan(scan, engine, resample=False)
    path = tool.centroids.of(scan.subject, (scan.timepoint, series))
    found = labelled(path, inputs.grid, scan.subject)
    image = inputs.images[engine.options.modality]
    ways = {-1: "one vertebra up", 1: "one vertebra down", 0: "as they are"}
    title = f"{scan.subject}: labels {ways[one.suggestion.shift]}"
    return picture(image, inputs.grid, found, heatmap, one.changed, title)


def guided_measures(
    around: Localization, found: Labelled, grid: Grid, config: HeatmapConfig
) -> dict[str, float]:
    """Of each level, in its patch: `MEASURES`, and how far its peak lies from the tool's place.

    NaN for a level that the tool does not name; ``{level}_offset_mm`` also for an empty map.
    """
    assert around.planes is not None
    columns: dict[str, float] = {}
    several = len(around.heatmap) > 1
    names = [*(m for m in MEASURES if several or m != MEASURES[-1]), "offset_mm"]
    for i, level in enumerate(LEVELS):
        values = dict.fromkeys(names, float("nan"))
        if level in found.centres:
            values |= level_measures(around.planes[:, i])
            tops = peaks(around.heatmap[:, i].mean(axis=0), around.grid or grid, config)
            place_mm = (grid.matrix @ [*found.centres[level], 1.0])[:3]
            if tops:
                values["offset_mm"] = float(np.linalg.norm(tops[0].position_mm - place_mm))
        columns |= named(level, values)
    return columns


def moved_text(mapping: Mapping[int, int]) -> str:
    """``L4 → L5, L5 → S1``; discs and endplates follow their vertebra, and are left out."""
    bodies = sorted((old, new) for old, new in mapping.items() if old in NAMES)
    return ", ".join(f"{structure_name(old)} → {structure_name(new)}" for old, new in bodies)


def whole_series(store: Store, engine: str, scan: Scan) -> NDArray[np.float32]:
    """(level, x, y, z) heatmaps of a scan as acquired, from the store."""
    at = {"subject": scan.subject, "timepoint": scan.timepoint, "shift": NO_SHIFT}
    block = store.read(f"engines/{engine}/heatmap", **at)
    return np.asarray(block[0, 0, 0], np.float32)


def _read_mask(path: Path, found: Labelled, grid: Grid, subject: str) -> NDArray[Any]:
    """Labels (x, y, z) of a mask that belongs to these centroids and this series."""
    header = read_header(path, subject)
    mask = read_volume(path, header, subject)
    where = f"{subject}: {path.name}"
    if mask.dtype.kind == "f":
        if (mask % 1).any():
            raise VoxelError(f"{where} is no mask of labels", got="values between whole numbers")
        mask = mask.astype(np.int32)
    _refuse_other_grid(header.grid, grid, where)
    here = np.linalg.inv(header.grid.matrix) @ grid.matrix
    known = [k for k in found.voxels if k in NAMES and k != SACRUM]
    at = [np.round((here @ [*found.voxels[k], 1.0])[:3]).astype(int) for k in known]
    last = np.array(mask.shape) - 1
    hits = [int(mask[tuple(np.clip(p, 0, last))]) == k for p, k in zip(at, known, strict=True)]
    if known and 2 * sum(hits) < len(known):
        raise GridError(
            f"{where} does not belong to its centroids",
            got=f"{sum(hits)} of {len(known)} vertebrae have their label at their centroid",
            expected="at least half of them",
            remedy="give mask and centroids of one run of the tool; look at `direction`",
        )
    return mask


def _refuse_other_grid(theirs: Grid, ours: Grid, where: str) -> None:
    """The same voxels, in any order and direction of the axes; corners within half a voxel."""
    same = turned(ours, nib.aff2axcodes(theirs.matrix))  # type: ignore[no-untyped-call]
    corners = np.array([[*c, 1.0] for c in np.ndindex(2, 2, 2)])
    corners[:, :3] *= np.array(same.shape) - 1
    apart = np.linalg.norm((corners @ (same.matrix - theirs.matrix).T)[:, :3], axis=1).max()
    if theirs.shape != same.shape or apart > min(ours.spacing_mm) / 2:
        raise GridError(
            f"{where} lies on another grid than the series of the study",
            got=f"shape {theirs.shape}, corners up to {apart:.1f} mm away",
            expected=f"shape {same.shape}",
            remedy="give the mask in the space of the series that was segmented",
        )


def _write(
    tool: Tool,
    scan: Scan,
    path: Path,
    found: Labelled,
    mask_path: Path | None,
    mask: NDArray[Any] | None,
    mapping: Mapping[int, int],
) -> dict[str, str]:
    """Both files below ``out``, at the place they have below the tool's folders."""
    target = tool.out / "centroids" / path.relative_to(tool.centroids.folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    if mapping:
        write_centroids(target, relabelled_centroids(found.centroids, mapping))
    else:  # byte for byte, with all parts of a vertebra that are not read here
        shutil.copyfile(path, target)
    written = {"centroids": str(target.relative_to(tool.out))}
    if mask_path is None or mask is None or tool.masks is None:
        return written
    target = tool.out / "masks" / mask_path.relative_to(tool.masks.folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    if mapping:
        grid = read_header(mask_path, scan.subject).grid
        write_volume(target, relabelled_mask(mask, mapping), grid, mask_path)
    else:
        shutil.copyfile(mask_path, target)
    return {**written, "mask": str(target.relative_to(tool.out))}
