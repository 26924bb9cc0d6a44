"""In which order do slices lie, and where is each voxel?

Slices are ordered by their position along the normal (row direction × column direction), whatever
their files are called and however they are numbered. DICOM counts mm in LPS, affines here are RAS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamstore.errors import GridError

Floats = NDArray[np.float64]

FEWEST_SLICES = 3
"""With two slices there is one gap, and nothing to tell that it is the real one."""
SPACING_TOLERANCE = 0.02
"""Largest part by which a gap between slices may differ from the median gap."""
ROUNDING_MM = 0.02
"""Differences of positions that are put down to their decimals."""
TILT_TOLERANCE_DEG = 0.5
"""Largest angle between the line on which slices stack and their normal."""
DIRECTION_TOLERANCE = 1e-3
"""Largest difference of direction cosines within a series, and from unit length and right angle."""
_SAME_PLACE_MM = 0.01
_LPS_TO_RAS: Floats = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """Slices in order.

    Attributes
    ----------
    order : (n,) ndarray of int
        Indices of the slices, in order along the normal.
    affine : (4, 4) float64 ndarray
        (column, row, slice) indices to RAS mm.
    """

    order: NDArray[np.intp]
    affine: Floats


def normal_of(orientation: tuple[float, ...] | Floats) -> Floats:
    """(3,) unit normal (LPS) of a slice with ImageOrientationPatient (6)."""
    cosines = np.asarray(orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0 else normal


def along_normal(positions_mm: Floats, orientation: Floats) -> Floats:
    """(n,) mm of each position (n, 3) along the normal."""
    distance: Floats = positions_mm @ normal_of(orientation)
    return distance


def stack_slices(
    positions_mm: Floats, orientations: Floats, spacings_mm: Floats, where: str
) -> Stack:
    """Order and affine of parallel, evenly spaced slices.

    Parameters
    ----------
    positions_mm : (n, 3) float64 ndarray
        ImagePositionPatient: centre of the first voxel, LPS.
    orientations : (n, 6) float64 ndarray
        ImageOrientationPatient: direction of a row (columns increase), then of a column.
    spacings_mm : (n, 2) float64 ndarray
        PixelSpacing: distance of rows, then of columns.
    where : str
        Names the series in errors.

    Returns
    -------
    Stack
        The slice axis is the mean step between neighbours, so their real distance, not the
        nominal slice thickness.

    Raises
    ------
    GridError
        Slices of several orientations or pixel spacings, fewer than three, several at one place,
        missing ones, uneven spacing, a gantry tilt.
    """
    _refuse_differing(positions_mm, orientations, spacings_mm, where)
    if len(positions_mm) < FEWEST_SLICES:
        raise _error(
            f"{where} has too few slices for a volume",
            f"{len(positions_mm)} slice{'s' * (len(positions_mm) != 1)}",
            f"at least {FEWEST_SLICES}: the distance between slices must be seen more than once",
            "export the whole series",
        )
    distance = along_normal(positions_mm, orientations[0])
    order = np.argsort(distance, kind="stable")
    _refuse_gaps(distance[order], where)
    ordered = positions_mm[order]
    step = (ordered[-1] - ordered[0]) / (len(ordered) - 1)
    _refuse_tilt(step, ordered, normal_of(orientations[0]), where)
    row, column = orientations[0, :3], orientations[0, 3:]
    lps = np.column_stack([row * spacings_mm[0, 1], column * spacings_mm[0, 0], step])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = _LPS_TO_RAS @ lps, _LPS_TO_RAS @ ordered[0]
    return Stack(order, affine)


def _refuse_differing(positions: Floats, cosines: Floats, spacings: Floats, where: str) -> None:
    if not all(np.isfinite(a).all() for a in (positions, cosines, spacings)):
        raise _error(
            f"{where} has positions that are no numbers",
            "NaN or infinity",
            "finite positions, directions and spacings",
            "export the series again",
        )
    row, column = cosines[:, :3], cosines[:, 3:]
    skew = max(
        float(np.abs(np.linalg.norm(row, axis=1) - 1).max()),
        float(np.abs(np.linalg.norm(column, axis=1) - 1).max()),
        float(np.abs((row * column).sum(axis=1)).max()),
    )
    if skew > DIRECTION_TOLERANCE or spacings.min() <= 0:
        raise _error(
            f"{where} has rows and columns that span no grid",
            f"directions off by {skew:.3g}, smallest pixel spacing {spacings.min():.3g} mm",
            "two unit vectors at a right angle, and spacings above 0",
            "export the series again",
        )
    if (apart := float(np.abs(cosines - cosines[0]).max())) > DIRECTION_TOLERANCE:
        kinds = len(np.unique(np.round(cosines, 2), axis=0))
        raise _error(
            f"{where} holds slices of several orientations",
            f"about {kinds} orientations, direction cosines differing by up to {apart:.3g}",
            f"parallel slices (within {DIRECTION_TOLERANCE:g})",
            "it is a localizer or several stacks: split it by orientation into series of their own",
        )
    if np.abs(spacings / spacings[0] - 1).max() > DIRECTION_TOLERANCE:
        raise _error(
            f"{where} holds slices of several pixel spacings",
            f"from {spacings.min():.4g} to {spacings.max():.4g} mm",
            "one pixel spacing",
            "split it into series of one spacing each",
        )


def _refuse_gaps(distance: Floats, where: str) -> None:
    gaps = np.diff(distance)
    usual = float(np.median(gaps))
    twice = int((gaps < _SAME_PLACE_MM).sum())
    if twice:
        raise _error(
            f"{where} has duplicate slices",
            f"{twice} of {len(distance)} slices lie where another does",
            "one slice at each position",
            "remove files that were copied twice; split a series of several acquisitions",
        )
    off = np.abs(gaps - usual)
    allowed = max(SPACING_TOLERANCE * usual, ROUNDING_MM)
    if off.max() <= allowed:
        return
    multiples = np.rint(gaps / usual)
    missing = int((multiples - 1).clip(0).sum())
    if missing and (np.abs(gaps - multiples * usual) <= np.maximum(allowed * multiples, 0)).all():
        after = int(np.argmax(gaps)) + 1
        raise _error(
            f"{where} misses slices",
            f"{missing} missing, the first {'after slice ' + str(after)} of {len(distance)}"
            f" (a gap of {gaps.max():.4g} mm where others are {usual:.4g} mm)",
            "every slice of the series",
            "export the whole series",
        )
    raise _error(
        f"{where} has unevenly spaced slices",
        f"gaps from {gaps.min():.4g} to {gaps.max():.4g} mm",
        f"within {SPACING_TOLERANCE:.0%} of their median, {usual:.4g} mm",
        "split it where the spacing changes, or resample it before",
    )


def _refuse_tilt(step: Floats, ordered: Floats, normal: Floats, where: str) -> None:
    upright = step @ normal
    lateral = step - upright * normal
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(lateral), abs(upright))))
    drift = float(np.linalg.norm(lateral)) * (len(ordered) - 1)
    if degrees > TILT_TOLERANCE_DEG and drift > ROUNDING_MM:
        raise _error(
            f"{where} was scanned with a tilted gantry",
            f"slices stack {degrees:.1f}° off their normal",
            f"at most {TILT_TOLERANCE_DEG:g}°",
            "resample it onto an upright grid before",
        )
    places = ordered[0] + np.arange(len(ordered))[:, None] * step
    offset = float(np.linalg.norm(ordered - places, axis=1).max())
    allowed = max(SPACING_TOLERANCE * abs(float(upright)), ROUNDING_MM)
    if offset > allowed:
        raise _error(
            f"{where} has slices that do not stack on a line",
            f"{offset:.3g} mm off the regular grid",
            f"at most {allowed:.3g} mm",
            "split it where the stack moves, or resample it before",
        )


def _error(what: str, got: str, expected: str, remedy: str) -> GridError:
    return GridError(what, got=got, expected=expected, remedy=remedy)
