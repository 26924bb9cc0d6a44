"""Where are the bodies of a generated spine, in the file that SPINEPS and VerSe would write?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from jobs.lumbar.lumbar import Lumbar
from jobs.lumbar.spec import VERTEBRAE

LABELS = dict(zip(VERTEBRAE, (*range(13, 25), 26, *range(29, 33)), strict=True))
"""Numbers of the VerSe challenge (T1 is 8, L1 20, S1 26); S2 to S5 are 29 to 32 as in SPINEPS."""


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
    codes = nib.aff2axcodes(lumbar.affine)  # type: ignore[no-untyped-call]
    content: list[dict[str, Any]] = [{"direction": list(codes)}]
    for name, centroid in lumbar.centroids.items():
        x, y, z = (float(v) for v in (inverse @ [*centroid, 1.0])[:3])
        content.append({"label": LABELS[name], "X": x, "Y": y, "Z": z})
    path = folder / f"sub-{study_id}_ses-1_ctd.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
