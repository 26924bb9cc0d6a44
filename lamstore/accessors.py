"""What does every session do with a Dataset? `.lam`: crop, volumes, NIfTI, a picture.

Registered on Dataset and DataArray by `lamstore.open`. Geometry is looked up where the data came
from (attribute ``source``), so it survives selection, arithmetic and saving.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import nibabel as nib
import numpy as np
import xarray as xr

from lamstore.errors import MissingArrayError
from lamstore.grid import Grid
from lamstore.schema import SPATIAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T", xr.Dataset, xr.DataArray)


@lru_cache(maxsize=256)
def _grid(source: str, subject: str) -> Grid:
    from lamstore.view import subject_grid

    return subject_grid(source, subject)


class _Accessor(Generic[T]):
    """What Dataset and DataArray share."""

    def __init__(self, data: T) -> None:
        self._data: T = data

    @property
    def grid(self) -> Grid:
        """Grid of the one subject that is selected.

        Raises
        ------
        MissingArrayError
            When not exactly one subject is selected.
        """
        subject = self._data.coords.get("subject")
        source = self._data.attrs.get("source")
        if subject is None or subject.ndim or source is None:
            raise MissingArrayError(
                "crop, to_nifti and overlay work on one subject of an opened study",
                remedy='select one first: ds.sel(subject="patient01").lam…',
            )
        return _grid(source, str(subject.item()))

    def crop(self) -> T:
        """Take the padding off the one subject that is selected.

        Returns
        -------
        Dataset or DataArray
            With ``x``, ``y``, ``z`` coordinates in mm along the array's axes from its first
            voxel, and the attribute ``affine`` (4 × 4, voxel indices to RAS mm).
        """
        grid = self.grid
        steps = zip(SPATIAL, grid.shape, grid.spacing_mm, strict=True)
        sizes = {dim: (n, step) for dim, n, step in steps if dim in self._data.dims}
        cut: T = self._data.isel({dim: slice(0, n) for dim, (n, _) in sizes.items()})
        axes = {d: (d, np.arange(n) * step, {"units": "mm"}) for d, (n, step) in sizes.items()}
        cut = cut.assign_coords(axes)
        return cut.assign_attrs(affine=grid.matrix.tolist())


@xr.register_dataset_accessor("lam")  # type: ignore[no-untyped-call]
class DatasetAccessor(_Accessor[xr.Dataset]):
    """``ds.lam``."""

    def volume_mm3(self, name: str = "mask") -> xr.DataArray:
        """Volume of a mask for everything that is in the Dataset, lazily.

        Parameters
        ----------
        name : str
            ``mask``, ``lesion_truth``, ``change_truth`` or ``brainmask``.

        Returns
        -------
        DataArray
            mm³ over the mask's other dims; 0 for an empty mask.
        """
        if name not in self._data:
            stored = [str(n) for n, one in self._data.items() if one.dtype == np.uint8]
            raise MissingArrayError(
                f"there is no mask {name!r}", expected=", ".join(stored) or None
            )
        volume: xr.DataArray = self._data[name].lam.volume_mm3()
        return volume

    def to_nifti(self, name: str, path: str | os.PathLike[str] | None = None) -> nib.Nifti1Image:
        """One variable of the selected subject, see `ArrayAccessor.to_nifti`."""
        image: nib.Nifti1Image = self._data[name].lam.to_nifti(path)
        return image

    def overlay(self, **options: Any) -> Figure:
        """Picture of one subject: images, mask and truth contours on the fullest slices, or a
        localizer's heatmaps.

        Options as of `lamstore.overlay.overlay`.
        """
        from lamstore.overlay import overlay

        return overlay(self.crop(), **options)


@xr.register_dataarray_accessor("lam")  # type: ignore[no-untyped-call]
class ArrayAccessor(_Accessor[xr.DataArray]):
    """``ds.mask.lam``."""

    def volume_mm3(self) -> xr.DataArray:
        """Volume of a mask in mm³ over its other dims, lazily; 0 for an empty mask."""
        voxels = self._data.sum(list(SPATIAL), dtype=np.int64)
        volume: xr.DataArray = voxels * self._data.coords["voxel_volume_mm3"]
        volume = volume.rename(f"{self._data.name}_volume_mm3")
        return volume.assign_attrs(units="mm3")

    def to_nifti(self, path: str | os.PathLike[str] | None = None) -> nib.Nifti1Image:
        """The selected volume with the subject's affine, padding taken off.

        Parameters
        ----------
        path : path-like, optional
            Also save there (``.nii`` or ``.nii.gz``).

        Returns
        -------
        Nifti1Image
            3D; float16 comes out as float32, which NIfTI knows.

        Raises
        ------
        MissingArrayError
            When other dims than x, y, z are left, or not one subject is selected.
        """
        cut = self.crop()
        if cut.dims != SPATIAL:
            left = tuple(str(dim) for dim in cut.dims if dim not in SPATIAL)
            raise MissingArrayError(
                "to_nifti takes one 3D volume",
                got=f"also dims {', '.join(left)}",
                remedy="select a label of each: .sel(timepoint=…, modality=…)",
            )
        values = np.asarray(cut.values)
        image = nib.Nifti1Image(  # type: ignore[no-untyped-call]
            values.astype(np.float32) if values.dtype == np.float16 else values, self.grid.matrix
        )
        image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
        if path is not None:
            nib.save(image, Path(path))
        return image
