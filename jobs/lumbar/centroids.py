"""Where are the bodies of a generated spine, in the file that SPINEPS and VerSe would write?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from jobs.heatmaps import centroids
from jobs.lumbar.lumbar import Lumbar

nib: Any = nibabel  # untyped


def write_centroids(lumbar: Lumbar, folder: Path, study_id: int) -> Path:
    """Write the centroids of the bodies in view, as SPINEPS and VerSe do.

    ``sub-<id>_ses-1_ctd.json`` holds ``{"direction": [...]}``, then ``{"label", "X", "Y", "Z"}``
    for each vertebra: voxel indices of the image's own axes, which `direction` names.

    Parameters
    ----------
    lumbar : Lumbar
    folder : Path
        Made if absent.
    study_id : int

    Returns
    -------
    Path
        Of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inverse = np.linalg.inv(lumbar.affine)
    points = {}
    for name, centroid in lumbar.centroids.items():
        x, y, z = (float(v) for v in (inverse @ [*centroid, 1.0])[:3])
        points[centroids.NUMBERS[name]] = (x, y, z)
    path = folder / f"sub-{study_id}_ses-1_ctd.json"
    axes = nib.aff2axcodes(lumbar.affine)
    centroids.write_centroids(path, centroids.Centroids(axes, points))
    return path
