"""Where does each vertebra and disc of a spec lie?

Vertebrae are stacked endplate on endplate in the sagittal plane, down and up from L3, then bent
sideways by scoliosis. Positions are millimetres right, anterior and superior of the centre of L3
("patient space"); `jobs.lumbar.lumbar` carries them into the scanner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.lumbar.spec import VERTEBRAE, Disc, LumbarSpec, Patient, Vertebra

Vector = NDArray[np.float64]
_ANCHOR = VERTEBRAE.index("L3")


@dataclass(frozen=True)
class Placed:
    """A vertebra or disc at its place.

    Attributes
    ----------
    centre : (3,) float64 ndarray
        Patient space, mm.
    axes : (3, 3) float64 ndarray
        Rows are its own right, anterior and superior directions.
    opening_deg : float
        Angle between the endplates, positive when the front is taller.
    """

    centre: Vector
    axes: Vector
    opening_deg: float

    def at(self, right: float, anterior: float, superior: float) -> Vector:
        """Patient-space position (3,) of a point given in its own directions."""
        return self.centre + np.array([right, anterior, superior]) @ self.axes


@dataclass(frozen=True)
class Chain:
    """The spine of one spec.

    Attributes
    ----------
    vertebrae, discs : mapping of name to Placed
        From the top.
    """

    vertebrae: Mapping[str, Placed]
    discs: Mapping[str, Placed]


def place_chain(spec: LumbarSpec) -> Chain:
    """Stack the vertebrae and discs of a spec."""
    bodies, discs = _stack(spec)
    anchor = bodies[_ANCHOR].copy()
    placed = [
        _place(b - anchor, v.tilt_deg, v.wedge_deg, spec.patient)
        for b, v in zip(bodies, spec.vertebrae, strict=True)
    ]
    between = []
    for i, centre in enumerate(discs):
        upper, lower = spec.vertebrae[i], spec.vertebrae[i + 1]
        between.append(
            _place(centre - anchor, *_disc_angles(upper, lower), spec.patient),
        )
    return Chain(
        dict(zip((v.name for v in spec.vertebrae), placed, strict=True)),
        dict(zip((d.name for d in spec.discs), between, strict=True)),
    )


def _stack(spec: LumbarSpec) -> tuple[list[Vector], list[Vector]]:
    """Centres (2,) of bodies and discs in the sagittal plane, from the top downwards."""
    point = np.zeros(2)
    bodies: list[Vector] = []
    discs: list[Vector] = []
    for i, vertebra in enumerate(spec.vertebrae):
        half = 0.5 * vertebra.height_mm * _up(vertebra.tilt_deg)
        bodies.append(point - half)
        point = point - 2 * half
        if i < len(spec.discs):
            tilt, _ = _disc_angles(vertebra, spec.vertebrae[i + 1])
            half = 0.5 * spec.discs[i].height_mm * _up(tilt)
            discs.append(point - half)
            point = point - 2 * half
            point = point + _step_back(vertebra, spec.discs[i], spec.vertebrae[i + 1])
    return bodies, discs


def _step_back(upper: Vertebra, disc: Disc, lower: Vertebra) -> Vector:
    """Posterior walls are flush: a smaller endplate below is set back by half the difference."""
    difference = lower.depth_mm - upper.depth_mm * upper.taper
    tilt, _ = _disc_angles(upper, lower)
    angle = np.deg2rad(tilt)
    return 0.5 * difference * np.array([np.cos(angle), -np.sin(angle)])


def _disc_angles(upper: Vertebra, lower: Vertebra) -> tuple[float, float]:
    """Tilt of a disc, and the angle by which it opens to the front (degrees)."""
    above = upper.tilt_deg + upper.wedge_deg / 2
    below = lower.tilt_deg - lower.wedge_deg / 2
    return (above + below) / 2, below - above


def _up(tilt_deg: float) -> Vector:
    angle = np.deg2rad(tilt_deg)
    return np.array([np.sin(angle), np.cos(angle)])


def _place(point: Vector, tilt_deg: float, opening_deg: float, patient: Patient) -> Placed:
    """Lift a point of the sagittal plane into space: scoliosis, lean and axial rotation."""
    aside, slope = sideways(point[1], patient)
    turn = np.deg2rad(patient.turn_deg) + 0.35 * (aside / 30.0)
    lean = np.arctan(slope)
    tilt = np.deg2rad(tilt_deg)
    flex = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    tip = np.array([[np.cos(lean), 0, -np.sin(lean)], [0, 1, 0], [np.sin(lean), 0, np.cos(lean)]])
    spin = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    centre = np.array([aside, point[0], point[1]])
    return Placed(centre, flex @ spin @ tip, opening_deg)


def sideways(height_mm: float, patient: Patient) -> tuple[float, float]:
    """Deviation to the right (mm) of the chain at a height, and its slope; 0 at L3."""
    wave = 2 * np.pi / patient.curve_period_mm
    lean = np.tan(np.deg2rad(patient.lean_deg))
    phase = wave * height_mm + patient.curve_phase
    aside = patient.curve_mm * (np.sin(phase) - np.sin(patient.curve_phase)) + lean * height_mm
    return float(aside), float(patient.curve_mm * wave * np.cos(phase) + lean)
