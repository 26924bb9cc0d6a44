"""What if the cortex were brighter on FLAIR, as on other scanners and in other people?

A model that was trained on one patient takes the brighter cortex of the next for lesion. T1W tells
where grey matter is; there FLAIR is raised or lowered against white matter. Lesions, fluid and
white matter stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from jobs.metrics.components import Mask, bounding_box, grow_box
from jobs.training.look import FLUID, LesionLook

Image = NDArray[np.float32]

MOST = 1.2
"""Of the distance from white to grey matter on T1W: darker voxels count as grey, no more."""
FADE = 0.7
"""Normalized units of FLAIR over which fluid fades in."""
GUARD = 5
"""Voxels of the box over which the edge of a lesion fades."""


def tissue_contrast(
    images: Image,
    label: Mask,
    look: LesionLook,
    channels: tuple[str, ...],
    by: float,
) -> Image:
    """The images with grey matter on FLAIR changed; unchanged where FLAIR or T1W is absent.

    Parameters
    ----------
    images : (c, x, y, z) float32 ndarray
        Normalized.
    label : (x, y, z) bool ndarray
    look : LesionLook
    channels : tuple of str
    by : float
        Multiple of the typical contrast of lesions on FLAIR; negative dims.

    Returns
    -------
    (c, x, y, z) float32 ndarray
    """
    if not {"flair", "t1w"} <= set(channels):
        return images
    flair, t1w = channels.index("flair"), channels.index("t1w")
    span = float(look.tissue[t1w] - look.grey[t1w])
    contrast = look.typical(flair)
    absent = not (np.ptp(images[flair]) > 0 and np.ptp(images[t1w]) > 0)
    if absent or not (np.isfinite(contrast) and span > 0):
        return images
    grey = (look.tissue[t1w] - images[t1w]) * np.float32(1 / span)
    np.clip(grey, 0, MOST, out=grey)
    dry = (images[flair] - (look.tissue[flair] - FLUID)) * np.float32(1 / FADE)
    grey *= np.clip(dry, 0, 1, out=dry)
    box = bounding_box(label)
    if box is not None:
        box = grow_box(box, (GUARD, GUARD, GUARD), label.shape)
        near = uniform_filter(label[box].astype(np.float32), GUARD)
        grey[box] *= np.clip(1 - 2 * near, 0, 1)
        grey[box][label[box]] = 0
    out = images.copy()
    out[flair] += np.float32(by * contrast) * grey
    return out
