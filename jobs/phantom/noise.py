"""What random fields shape a phantom: smooth ones for texture and warps, labyrinths for folds?

All are seeded by the generator that is handed in and are cheap: a spline field costs three sparse
matrix products, a labyrinth one small Fourier transform.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.sparse import csr_array

_SPLINE_DEVIATION = (151.0 / 315.0) ** 1.5
"""Standard deviation of a 3-D uniform cubic spline with unit normal coefficients."""


def spline_noise(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    wavelength_mm: float,
) -> NDArray[np.float32]:
    """Smooth noise of mean 0 and variance 1 with features of about `wavelength_mm`.

    A uniform cubic B-spline whose random coefficients lie half a wavelength apart.

    Returns
    -------
    (x, y, z) float32 ndarray
    """
    bases = [_basis(n, s, wavelength_mm / 2) for n, s in zip(shape, spacing_mm, strict=True)]
    a, b, c = (basis.shape[1] for basis in bases)
    knots = rng.standard_normal((c, a * b), dtype=np.float32) / _SPLINE_DEVIATION
    along_z = (bases[2] @ knots).reshape(-1, a, b)
    along_y = bases[1] @ along_z.transpose(2, 1, 0).reshape(b, -1)
    field = bases[0] @ along_y.reshape(-1, a, shape[2]).transpose(1, 0, 2).reshape(a, -1)
    return np.asarray(field.reshape(shape), np.float32)


def _basis(n: int, spacing_mm: float, knot_mm: float) -> csr_array:
    """(n, coefficients) values of the cubic B-splines at `n` equidistant points, four a row."""
    position = np.arange(n) * (spacing_mm / knot_mm)
    knots = np.arange(-3, ceil(position[-1]) + 5)
    matrix = BSpline.design_matrix(position, knots.astype(np.float64), 3)
    return csr_array(matrix, dtype=np.float32)


def labyrinth(
    rng: np.random.Generator, nodes: int, node_mm: float, wavelength_mm: float
) -> NDArray[np.float32]:
    """Band-passed noise whose zero level sets are evenly spaced, winding sheets.

    Returns
    -------
    (nodes, nodes, nodes) float32 ndarray
        Periodic; mean 0, standard deviation 1; sheets about half a wavelength apart.
    """
    white = rng.standard_normal((nodes, nodes, nodes))
    f = np.fft.fftfreq(nodes, node_mm)
    half = np.fft.rfftfreq(nodes, node_mm)
    radius = np.sqrt(f[:, None, None] ** 2 + f[None, :, None] ** 2 + half[None, None, :] ** 2)
    band = np.exp(-0.5 * ((radius * wavelength_mm - 1.0) / 0.22) ** 2)
    field = np.fft.irfftn(np.fft.rfftn(white) * band, s=white.shape, axes=(0, 1, 2))
    return np.asarray(field / field.std(), np.float32)
