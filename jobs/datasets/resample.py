"""How does an image come onto another grid, through transforms that were estimated elsewhere?

Everything is done in voxel indices: the map from a voxel of the target to a voxel of the source
is one chain (target's affine, transforms, inverse of the source's affine), so sheared affines,
which ITK's image geometry cannot express, are no special case. ITK counts millimetres in LPS and
NIfTI in RAS; the affines carry the change of sign.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from jobs.nifti import shown
from lamstore.errors import MissingInputError, UnreadableInputError
from lamstore.grid import Grid

sitk: Any = SimpleITK

_RAS_TO_LPS: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
_IN_FLOAT32 = ("u1", "i1", "u2", "i2", "f4")
_PIXELS = {"f4": sitk.sitkFloat32, "f8": sitk.sitkFloat64}
_INTERPOLATORS = {
    "nearest": sitk.sitkNearestNeighbor,
    "linear": sitk.sitkLinear,
    "bspline": sitk.sitkBSpline,
}

Interpolation = Literal["nearest", "linear", "bspline"]


def resampled_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Type of an interpolated image: float32 unless its values need float64."""
    return np.dtype("f4" if stored in _IN_FLOAT32 else "f8")


def read_transforms(paths: tuple[Path, ...], subject: str) -> list[Any]:
    """ITK transforms of three dimensions, in the order of `paths`.

    Raises
    ------
    MissingInputError, UnreadableInputError
    """
    return [_read_transform(path, subject) for path in paths]


def _read_transform(path: Path, subject: str) -> Any:
    if not path.is_file():
        raise MissingInputError(
            f"{subject}: transform {shown(path)} is missing",
            expected="an ITK transform file",
            remedy="restore it, or take the subject out of the dataset",
        )
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        transform, reason = None, str(error).strip().splitlines()[-1]
    else:
        reason = f"{transform.GetDimension()} dimensions"
    if transform is None or transform.GetDimension() != 3:
        raise UnreadableInputError(
            f"{subject}: {shown(path)} is no transform that can be used",
            got=reason,
            expected="an ITK transform of three dimensions",
            remedy="write it again with the registration tool (ANTs, elastix, SimpleITK)",
        )
    return transform


def resample(
    volume: NDArray[Any],
    source: Grid,
    target: Grid,
    transforms: list[Any],
    interpolation: Interpolation,
) -> NDArray[Any]:
    """Volume on another grid.

    Parameters
    ----------
    volume : (x, y, z) ndarray
        Fortran order costs no copy beyond ITK's own.
    source, target : Grid
    transforms : list of SimpleITK.Transform
        Map points of the target to points of the source (LPS, mm), applied first to last.
    interpolation : {"nearest", "linear", "bspline"}
        ``nearest`` for masks. ``bspline`` is cubic, clamped to the range of the source: ten times
        as slow as ``linear`` (1 s a volume), and it does not blur.

    Returns
    -------
    (x, y, z) ndarray on `target`, Fortran order
        0 outside the source. The same type for ``nearest``, else `resampled_dtype`.
    """
    to_source = np.linalg.inv(_RAS_TO_LPS @ source.matrix)
    steps = [_affine(_RAS_TO_LPS @ target.matrix), *transforms, _affine(to_source)]
    image = sitk.GetImageFromArray(volume.T)
    dtype = volume.dtype if interpolation == "nearest" else resampled_dtype(volume.dtype)
    moved = sitk.Resample(
        image,
        target.shape,
        sitk.CompositeTransform(steps[::-1]),  # ITK applies the last one first
        _INTERPOLATORS[interpolation],
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        tuple(np.eye(3).ravel()),
        0.0,
        image.GetPixelID() if interpolation == "nearest" else _PIXELS[dtype.str[1:]],
    )
    on_target: NDArray[Any] = sitk.GetArrayFromImage(moved).T
    if interpolation == "bspline":  # cubic splines overshoot at edges
        np.clip(on_target, volume.min(), volume.max(), out=on_target)
    return on_target


def _affine(matrix: NDArray[np.floating]) -> Any:
    step = sitk.AffineTransform(3)
    step.SetMatrix(matrix[:3, :3].ravel().tolist())
    step.SetTranslation(matrix[:3, 3].tolist())
    return step
