"""What do arches, processes, sacral alae and ribs look like?

Tubes in each vertebra's own directions: pedicle, pars, articular processes, lamina, spinous and
transverse process; the sacrum has a lateral mass instead, with foramina. Slices away from the
middle thus show what they should: pedicles and foramina, then facets, then processes and ala.
"""

from __future__ import annotations

import numpy as np

from jobs.lumbar.canvas import Canvas, Node, paint_shape, paint_tube
from jobs.lumbar.chain import Chain, Placed
from jobs.lumbar.spec import Contrast, LumbarSpec, Transverse, Vertebra
from jobs.phantom.shapes import Field, Frame, ellipsoid, tube, union

_SHELL_MM = 0.9


def paint_posterior(canvas: Canvas, spec: LumbarSpec, chain: Chain) -> None:
    """Paint the posterior elements of every vertebra in view, the alae first."""
    paint_ala(canvas, spec, chain)
    bone = _bone(spec.scanner.contrast)
    for vertebra in spec.vertebrae:
        place = chain.vertebrae[vertebra.name]
        region = vertebra.name[0]
        if region == "S" and not _arched(vertebra, spec):
            _paint_crest(canvas, place, vertebra, bone)
            continue
        _paint_arch(canvas, place, vertebra, spec.patient.size, spec.scanner.contrast)
        if region == "T":
            _paint_ribs(canvas, place, vertebra, bone)


def paint_transverse(canvas: Canvas, spec: LumbarSpec, chain: Chain) -> None:
    """Paint the transverse processes, and their union with the ala."""
    for vertebra in spec.vertebrae:
        if vertebra.name[0] == "L" or (vertebra.name == "S1" and _arched(vertebra, spec)):
            place = chain.vertebrae[vertebra.name]
            for side, process in ((-1.0, vertebra.left), (1.0, vertebra.right)):
                _paint_process(canvas, place, vertebra, process, side, spec)


def _arched(vertebra: Vertebra, spec: LumbarSpec) -> bool:
    """Whether a sacral vertebra has the arch of a lumbar one."""
    return vertebra.name == "S1" and spec.kind in ("lumbarized", "six_lumbar")


def _bone(contrast: Contrast) -> list[tuple[float, float]]:
    return [(-0.1, contrast.cortex), (_SHELL_MM, contrast.marrow)]


def _paint_arch(
    canvas: Canvas, place: Placed, vertebra: Vertebra, size: float, contrast: Contrast
) -> None:
    bone = _bone(contrast)
    back = -vertebra.mean_depth_mm / 2
    h = vertebra.height_mm / 2
    apart = 0.29 * vertebra.width_mm
    s = size
    for side in (-1.0, 1.0):
        x = side * apart
        pedicle = [(x, back + 4, 0.30 * h, 5.8 * s), (x, back - 10 * s, 0.22 * h, 5.8 * s)]
        superior = [
            (x * 1.1, back - 12 * s, 0.2 * h, 5.2 * s),
            (x * 1.3, back - 14 * s, 1.12 * h, 4.6 * s),
        ]
        inferior = [
            (x * 1.1, back - 14 * s, 0.1 * h, 5.4 * s),
            (x * 1.0, back - 20 * s, -0.7 * h, 5.0 * s),
            (x * 1.1, back - 22 * s, -1.45 * h, 4.8 * s),
        ]
        for nodes in (pedicle, superior, inferior):
            paint_tube(canvas, place, nodes, bone)
        joint = [
            (x * 1.3, back - 17.5 * s, -1.2 * h, 0.9),
            (x * 1.3, back - 17.5 * s, -1.75 * h, 0.9),
        ]
        paint_tube(canvas, place, joint, [(0.0, contrast.joint)])
        lamina = [(x, back - 15 * s, -0.2 * h, 3.6 * s), (0.0, back - 24 * s, -0.55 * h, 3.6 * s)]
        paint_tube(canvas, place, lamina, bone)
    _paint_spinous(canvas, place, vertebra, size, bone)


def _paint_spinous(
    canvas: Canvas,
    place: Placed,
    vertebra: Vertebra,
    size: float,
    bone: list[tuple[float, float]],
) -> None:
    """A plate that slopes down and ends in a blunt tip; short and pointed on L5 and S1."""
    back = -vertebra.mean_depth_mm / 2 - 23 * size
    short = {"L5": 0.72, "S1": 0.5}.get(vertebra.name, 1.0)
    long, high = 29.0 * size * short, 8.5 * size * (0.6 + 0.4 * short)
    slope = {"T": 0.75, "L": 0.28, "S": 0.35}[vertebra.name[0]]
    top = -0.55 * vertebra.height_mm / 2

    def plate(at: Frame) -> Field:
        along = at.y - np.float32(back - long / 2)
        down = at.z - np.float32(top - slope * long / 2) - np.float32(slope) * along
        height = np.float32(high) * (1 - np.float32(0.25) * along / np.float32(long / 2))
        box = np.maximum(np.abs(along) - np.float32(long / 2 - 4), 0)
        ends = np.maximum(np.abs(down) - (height - 4), 0)
        wide = np.maximum(np.abs(at.x) - np.float32(1.0), 0)
        return np.asarray(np.sqrt(box**2 + ends**2 + wide**2) - 4, np.float32)

    middle = (0.0, back - long / 2, top - slope * long / 2, long / 2 + high)
    paint_shape(canvas, place, [middle], plate, bone)


def _paint_crest(
    canvas: Canvas, place: Placed, vertebra: Vertebra, bone: list[tuple[float, float]]
) -> None:
    """Posterior wall of the sacral canal with the median crest."""
    back = -vertebra.mean_depth_mm / 2
    gap = {"S1": 17.0, "S2": 14.0, "S3": 10.0}.get(vertebra.name, 7.0)
    h = 0.42 * vertebra.height_mm
    wall = [(0.0, back - gap, h, 3.0), (0.0, back - gap + 1, -h, 3.0)]
    paint_tube(canvas, place, wall, bone)
    crest = [(0.0, back - gap - 3, 0.3 * h, 3.2), (0.0, back - gap - 6, -0.5 * h, 3.2)]
    paint_tube(canvas, place, crest, bone)


def _paint_ribs(
    canvas: Canvas, place: Placed, vertebra: Vertebra, bone: list[tuple[float, float]]
) -> None:
    back = -vertebra.mean_depth_mm / 2
    for side in (-1.0, 1.0):
        start = side * (0.5 * vertebra.width_mm + 2)
        nodes: list[Node] = [
            (start, back + 3, 2.0, 4.5),
            (start + side * 14, back - 12, -3.0, 4.0),
            (start + side * 45, back - 16, -25.0, 4.0),
        ]
        paint_tube(canvas, place, nodes, bone)


def _paint_process(
    canvas: Canvas,
    place: Placed,
    vertebra: Vertebra,
    process: Transverse,
    side: float,
    spec: LumbarSpec,
) -> None:
    """A flattened tube; a wide one reaches down towards the ala and may join it."""
    contrast = spec.scanner.contrast
    back = -vertebra.mean_depth_mm / 2
    start, tip = side * 0.30 * vertebra.width_mm, side * (0.5 * vertebra.width_mm + 19)
    radius = process.width_mm / 2
    flat = radius / 4.2
    drop = 0.45 * (radius - 5.5)
    z = 0.3 * vertebra.height_mm / 2
    nodes = ((start, back - 7, z / flat, 4.2), (tip, back - 9, (z - drop) / flat, 4.2))

    def distance(at: Frame) -> Field:
        return tube(Frame(at.x, at.y, at.z / flat, at.voxel_mm), nodes)

    balls = [(start, back - 7, z, radius), (tip, back - 9, z - drop, radius)]
    paint_shape(canvas, place, balls, distance, _bone(contrast))
    if process.union != "free":
        _paint_union(canvas, place, vertebra, process, side, contrast)


def _paint_union(
    canvas: Canvas,
    place: Placed,
    vertebra: Vertebra,
    process: Transverse,
    side: float,
    contrast: Contrast,
) -> None:
    """Bone down to the ala; in a joint an irregular dark line crosses it."""
    back = -vertebra.mean_depth_mm / 2
    x = side * (0.5 * vertebra.width_mm + 7)
    low = -vertebra.height_mm / 2 - 9
    nodes = [(x, back - 4, 0.0, 9.0), (x, back + 1, low, 11.0)]
    paint_tube(canvas, place, nodes, [(1.0, contrast.marrow)])
    if process.union == "joint":
        seam = -vertebra.height_mm / 2 + 1.0

        def gap(at: Frame) -> Field:
            wavy = at.z - np.float32(seam) - np.float32(0.8) * np.sin(at.y * np.float32(0.5))
            return ellipsoid(
                Frame(at.x, at.y, wavy, at.voxel_mm), (x, back - 2, 0), (12.0, 12.0, 2.2)
            )

        layers = [(0.0, contrast.cortex), (1.5, 0.4 * contrast.joint)]
        paint_shape(canvas, place, [(x, back - 2, seam, 12.0)], gap, layers)


def paint_ala(canvas: Canvas, spec: LumbarSpec, chain: Chain) -> None:
    """The lateral masses of the sacrum, with foramina that hold fat and a root.

    They begin at S1; of a lumbarized S1 the further down the more complete the transition is.
    """
    contrast = spec.scanner.contrast
    first = spec.vertebra("S1")
    step = chain.vertebrae["S2"].centre - chain.vertebrae["S1"].centre
    drop = spec.severity if spec.kind in ("lumbarized", "six_lumbar") else 0.0
    base = chain.vertebrae["S1"]
    place = Placed(base.centre + 0.85 * drop * step, base.axes, 0.0)
    back = -first.mean_depth_mm / 2
    size = spec.patient.size
    for side in (-1.0, 1.0):
        nodes: list[Node] = [
            (side * 22 * size, back + 9, 1.0, 14.0 * size),
            (side * 40 * size, back + 2, 0.0, 14.0 * size),
            (side * 38 * size, back - 9, -26.0 * size, 12.0 * size),
            (side * 24 * size, back - 14, -52.0 * size, 7.5 * size),
            (side * 13 * size, back - 10, -76.0 * size, 4.0 * size),
        ]
        column: list[Node] = [
            (side * 23 * size, back + 8, 0.0, 15.5 * size),
            (side * 21 * size, back - 6, -28.0 * size, 12.0 * size),
            (side * 17 * size, back - 15, -52.0 * size, 8.0 * size),
        ]
        _paint_mass(canvas, place, (tuple(nodes), tuple(column)), contrast)
    for name in ("S1", "S2", "S3"):
        _paint_foramina(canvas, chain.vertebrae[name], spec.vertebra(name), contrast)


def _paint_mass(
    canvas: Canvas, place: Placed, parts: tuple[tuple[Node, ...], ...], contrast: Contrast
) -> None:
    """Several tubes as one bone, with a single shell."""

    def distance(at: Frame) -> Field:
        return union(tube(at, parts[0]), tube(at, parts[1]), 4.0)

    paint_shape(canvas, place, [n for p in parts for n in p], distance, _bone(contrast))


def _paint_foramina(canvas: Canvas, place: Placed, vertebra: Vertebra, contrast: Contrast) -> None:
    back = -vertebra.mean_depth_mm / 2
    low = -vertebra.height_mm / 2
    for side in (-1.0, 1.0):
        x = side * 0.42 * vertebra.width_mm
        hole = [(x, back - 5, low + 1, 3.0), (x * 1.15, back + 8, low - 2, 3.6)]
        paint_tube(canvas, place, hole, [(0.0, 0.9 * contrast.fat)])
        root = [(x, back - 5, low + 1, 1.6), (x * 1.12, back + 7, low - 2, 1.9)]
        paint_tube(canvas, place, root, [(0.0, 0.7 * contrast.root)])
