"""What lies in the spinal canal and the foramina?

The dural sac follows the chain down to S2. In it the cord ends as the conus near L1; below, the
roots of the cauda equina run as fine strands that sink from the back of the sac to its front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.lumbar.canvas import Canvas, paint_shape, paint_tube
from jobs.lumbar.chain import Chain, Placed, Vector
from jobs.lumbar.spec import Contrast, LumbarSpec
from jobs.phantom.noise import spline_noise
from jobs.phantom.shapes import Field, Frame, ellipsoid, fraction


@dataclass(frozen=True)
class Canal:
    """The dural sac by height.

    Attributes
    ----------
    z, x, y, radius : (n,) float64 ndarray
        Height, centre and anteroposterior radius (mm) across its own course; z increases.
    """

    z: Vector
    x: Vector
    y: Vector
    radius: Vector

    def at(self, z: Field) -> tuple[Field, Field, Field]:
        """Centre right, centre anterior and anteroposterior half-extent at heights `z`."""
        slope = np.gradient(self.y, self.z)
        stretched = self.radius * np.sqrt(1 + slope**2)
        x, y, r = (np.interp(z, self.z, c).astype(np.float32) for c in (self.x, self.y, stretched))
        return x, y, r


def place_canal(spec: LumbarSpec, chain: Chain) -> Canal:
    """Centre line and radius of the dural sac of a spec."""
    rows = []
    for i, vertebra in enumerate(spec.vertebrae[:-1]):
        radius, gap = _sac(vertebra.name, spec.patient.sac_mm)
        place = chain.vertebrae[vertebra.name]
        rows.append((place.at(0, -vertebra.mean_depth_mm / 2 - radius - gap, 0), radius))
        following = spec.vertebrae[i + 1]
        if following.name < "S2" or following.name[0] != "S":
            r, g = _sac(following.name, spec.patient.sac_mm)
            depth = (vertebra.depth_mm * vertebra.taper + following.depth_mm) / 4
            back = -depth - (radius + r) / 2 - (gap + g) / 2
            rows.append((chain.discs[spec.discs[i].name].at(0, back, 0), 0.96 * (radius + r) / 2))
    points = np.array([[*p, r] for p, r in rows])[::-1]
    x, y, z, radius_mm = points.T
    fine = np.arange(z.min(), z.max(), 2.0)
    kernel = np.hanning(15)[1:-1]
    smooth = [_smoothed(np.interp(fine, z, c), kernel) for c in (x, y, radius_mm)]
    return Canal(fine, *smooth)


def _smoothed(values: Vector, kernel: Vector) -> Vector:
    padded = np.pad(values, len(kernel) // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _sac(name: str, lumbar_mm: float) -> tuple[float, float]:
    """Radius of the sac at a vertebra, and its distance from the posterior wall (mm)."""
    share = {"S1": 0.72, "S2": 0.42, "S3": 0.0, "S4": 0.0, "S5": 0.0, "L5": 0.92}
    gap = {"S1": 3.0, "S2": 3.0, "S3": 4.0, "S4": 4.0, "S5": 4.0, "L5": 0.6}
    return share.get(name, 1.0) * lumbar_mm, gap.get(name, -0.3)


def paint_canal(canvas: Canvas, spec: LumbarSpec, chain: Chain, canal: Canal) -> None:
    """Paint epidural fat, the sac with CSF, cord and roots."""
    contrast = spec.scanner.contrast
    _paint_epidural(canvas, spec, chain)
    wide = 1.22
    low = np.array([canal.x.min() - 14, canal.y.min() - 14, canal.z[0]])
    high = np.array([canal.x.max() + 14, canal.y.max() + 14, canal.z[-1]])
    box = canvas.around(low, high)
    if box is None:
        return
    x, y, z = canvas.coordinates(box)
    cx, cy, half = canal.at(z)
    half = half + np.float32(1e-3)
    across, along = (x - cx) / (wide * half), (y - cy) / half
    norm = np.sqrt(across**2 + along**2)
    sac = (norm - 1) * half
    present = np.clip(half / 2 - 0.5, 0, 1)
    rim = np.asarray(fraction(sac - np.float32(0.8), canvas.edge_mm) * present, np.float32)
    share = np.asarray(fraction(sac, canvas.edge_mm) * present, np.float32)
    canvas.paint(box, rim, 0.5 * contrast.fat)
    value = _contents(canvas, spec, chain, (across, along, norm, z), contrast)
    canvas.paint(box, share, value)


def _contents(
    canvas: Canvas,
    spec: LumbarSpec,
    chain: Chain,
    at: tuple[Field, Field, Field, Field],
    contrast: Contrast,
) -> Field:
    """Signal inside the sac: pulsating CSF, strands of the cauda equina, the cord."""
    across, along, norm, z = at
    rng = np.random.default_rng([spec.seed, 11])
    # Strands: features fine across the sac and long along it.
    shape = (48, 48, 96)
    lattice = spline_noise(rng, shape, (1.0, 1.0, 1.0), 5.0)
    top, end = chain.vertebrae["L1"].centre[2], chain.vertebrae["S1"].centre[2]
    way = np.clip((top - z) / np.float32(top - end), 0, 1)
    i = np.clip((across * 16 + 24), 0, 47).astype(np.int32)
    j = np.clip((along * 16 + 24), 0, 47).astype(np.int32)
    k = np.clip((z - np.float32(end)) / 4 + 20, 0, 95).astype(np.int32)
    strand = np.clip(lattice[i, j, k] + np.float32(0.3), 0, 1.6) / np.float32(1.6)
    behind = np.clip((-along - (np.float32(0.45) - np.float32(1.1) * way)) / np.float32(0.5), 0, 1)
    near = np.clip((np.float32(1.05) - norm) * 4, 0, 1)
    roots = np.float32(0.75) * strand * behind * near
    flow = 1 - np.float32(0.05) * (1 + lattice[j, i, k])
    signal = np.float32(contrast.csf) * flow
    signal = signal + roots * (np.float32(contrast.root) - signal)
    return _with_cord(signal, spec, chain, at, canvas)


def _with_cord(
    signal: Field,
    spec: LumbarSpec,
    chain: Chain,
    at: tuple[Field, Field, Field, Field],
    canvas: Canvas,
) -> Field:
    across, along, _, z = at
    sac = np.float32(spec.patient.sac_mm)
    span = chain.vertebrae["L1"].centre[2] - chain.vertebrae["L2"].centre[2]
    tip = np.float32(chain.vertebrae["L1"].centre[2] - spec.patient.conus * span)
    above = np.clip((z - tip) / np.float32(32), 0, 1)
    radius = np.float32(4.6 * spec.patient.size) * np.sqrt(above)
    behind = np.float32(0.30) * (1 - above) + np.float32(0.08)
    mm = np.sqrt((across * sac * np.float32(1.05)) ** 2 + ((along + behind) * sac) ** 2)
    share = fraction(mm - radius, canvas.edge_mm) * (above > 0)
    return np.asarray(signal + share * (np.float32(spec.scanner.contrast.cord) - signal))


def _paint_epidural(canvas: Canvas, spec: LumbarSpec, chain: Chain) -> None:
    """Fat triangles behind the sac between the laminae, and all around it in the sacrum."""
    contrast = spec.scanner.contrast
    size = spec.patient.size
    for i, disc in enumerate(spec.discs):
        upper, lower = spec.vertebrae[i], spec.vertebrae[i + 1]
        place = chain.discs[disc.name]
        back = -(upper.depth_mm * upper.taper + lower.depth_mm) / 4
        if lower.name[0] == "S" and lower.name != "S1":
            canal = [(0.0, back - 7, 12.0, 6.5), (0.0, back - 6, -12.0, 5.0)]
            paint_tube(canvas, place, canal, [(0.0, contrast.fat)])
            continue
        centre = back - 2 * spec.patient.sac_mm - 3.0
        _paint_pad(canvas, place, centre, size, contrast)


def _paint_pad(
    canvas: Canvas, place: Placed, centre: float, size: float, contrast: Contrast
) -> None:
    def pad(at: Frame) -> Field:
        return ellipsoid(at, (0, centre, -3), (6 * size, 3.6 * size, 9 * size))

    paint_shape(canvas, place, [(0, centre, -3, 11 * size)], pad, [(0.0, contrast.fat)])


def paint_foramina(canvas: Canvas, spec: LumbarSpec, chain: Chain) -> None:
    """Fat in the intervertebral foramina, and in it the ganglion, below each pedicle."""
    contrast = spec.scanner.contrast
    for i, disc in enumerate(spec.discs):
        upper, lower = spec.vertebrae[i], spec.vertebrae[i + 1]
        if lower.name[0] == "S" and lower.name != "S1":
            continue
        place = chain.discs[disc.name]
        back = -(upper.depth_mm * upper.taper + lower.depth_mm) / 4
        for side in (-1.0, 1.0):
            x = side * 0.24 * (upper.width_mm + lower.width_mm) / 2
            fat = [
                (x * 0.9, back - 6, 8.0, 5.0),
                (x * 1.6, back - 5, 7.0, 6.0),
                (x * 1.0, back - 4, -5.0, 3.0),
            ]
            paint_tube(canvas, place, fat, [(0.0, 0.92 * contrast.fat)])
            root = [(x * 0.9, back - 5, 8.5, 2.2), (x * 1.7, back - 3, 4.5, 2.6)]
            paint_tube(canvas, place, root, [(0.0, 0.62 * contrast.root)])
