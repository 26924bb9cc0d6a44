"""What decides every voxel of a generated lumbar spine?

A `LumbarSpec` holds the size and tilt of each vertebra, the state of each disc, the shape of the
patient and the settings of the scanner: the same spec gives the same bytes. Vertebrae are named
by counting from the ribs, which the generator knows: T12 is the last with ribs, the next is L1,
whatever it looks like. A sacralized L5 is still L5 and a lumbarized S1 still S1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["normal", "sacralized", "lumbarized", "four_lumbar", "six_lumbar"]
"""``four_lumbar`` and ``six_lumbar`` are complete sacralization and complete lumbarization."""

Coverage = Literal["lumbar", "thoracolumbar"]
"""Whether all five levels are in view, or the field of view ends above the sacrum."""

Union = Literal["free", "joint", "fused"]
"""How a transverse process meets the sacral ala."""

KINDS: tuple[Kind, ...] = ("normal", "sacralized", "lumbarized", "four_lumbar", "six_lumbar")
VERTEBRAE = tuple(
    f"{region}{n}"
    for region, numbers in (("T", range(6, 13)), ("L", range(1, 6)), ("S", range(1, 6)))
    for n in numbers
)
"""The chain of the model, from the top."""

CASTELLVI_WIDTH_MM = 19.0
"""Smallest craniocaudal width of a transitional transverse process (Castellvi 1984)."""


@dataclass(frozen=True)
class Transverse:
    """One transverse process.

    Attributes
    ----------
    width_mm : float
        Craniocaudal, which is what Castellvi measures.
    union : {"free", "joint", "fused"}
        With the sacral ala.
    """

    width_mm: float
    union: Union = "free"


@dataclass(frozen=True)
class Vertebra:
    """One vertebra.

    Attributes
    ----------
    name : str
    tilt_deg : float
        Of its axis in the sagittal plane, from superior towards anterior. That of S1 is the
        sacral slope.
    height_mm, width_mm : float
        Of the body at its middle, and its largest width from left to right.
    depth_mm : float
        Anteroposterior, of the superior endplate.
    taper : float
        Depth of the inferior endplate over `depth_mm`: about 1 in a lumbar, 0.7 in a sacral body.
    wedge_deg : float
        Angle between the endplates, positive when the front is taller.
    left, right : Transverse
    """

    name: str
    tilt_deg: float
    height_mm: float
    width_mm: float
    depth_mm: float
    taper: float
    wedge_deg: float
    left: Transverse
    right: Transverse

    @property
    def mean_depth_mm(self) -> float:
        """Anteroposterior depth halfway between the endplates."""
        return self.depth_mm * (1 + self.taper) / 2


@dataclass(frozen=True)
class Disc:
    """The disc below one vertebra.

    Attributes
    ----------
    name : str
        ``l1_l2`` and so on.
    height_mm : float
        At its middle.
    depth_ratio : float
        Its depth over that of the endplates; below 0.9 bone bridges the rest (a rudimentary
        disc).
    signal : float
        Of the nucleus on T2, with CSF at 1.
    bulge_mm : float
        How far it stands out behind the bodies.
    modic : float
        Fatty endplate change beside it, 0 to 1.
    """

    name: str
    height_mm: float
    depth_ratio: float
    signal: float
    bulge_mm: float
    modic: float


@dataclass(frozen=True)
class Patient:
    """What surrounds the spine, and how it lies in the scanner.

    Attributes
    ----------
    size : float
        Linear scale; 1 is an average adult.
    fat_mm : float
        Subcutaneous, behind L3.
    belly_mm : float
        From the bodies' centres to the abdominal wall.
    sac_mm : float
        Anteroposterior radius of the dural sac at L3.
    conus : float
        Where the cord ends, in vertebrae below the middle of L1.
    muscle_fat : float
        Fatty infiltration of the paraspinal muscles, 0 to 1.
    curve_mm, curve_period_mm, curve_phase : float
        Scoliosis: sideways deviation of the chain along z.
    lean_deg : float
        Straight sideways tilt of the chain.
    turn_deg : float
        Axial rotation of every vertebra; scoliosis adds to it.
    bladder : float
        Radius of the filled bladder (mm); 0 for an empty one.
    """

    size: float
    fat_mm: float
    belly_mm: float
    sac_mm: float
    conus: float
    muscle_fat: float
    curve_mm: float
    curve_period_mm: float
    curve_phase: float
    lean_deg: float
    turn_deg: float
    bladder: float


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue; CSF on T2 is 1.

    `nucleus` scales `Disc.signal`, which is measured on T2, on top of `annulus`.
    """

    csf: float = 1.0
    cord: float = 0.42
    root: float = 0.45
    fat: float = 0.80
    marrow: float = 0.36
    muscle: float = 0.11
    annulus: float = 0.07
    nucleus: float = 1.0
    cortex: float = 0.05
    vessel: float = 0.05
    bowel: float = 0.20
    skin: float = 0.25
    joint: float = 0.55
    air: float = 0.0


@dataclass(frozen=True)
class Scanner:
    """Grid of one sagittal series, and what the scanner does to the tissues' signal.

    Attributes
    ----------
    matrix : tuple of int
        Columns (front to back) and rows (top to bottom).
    spacing_mm : float
        In-plane.
    slices : int
    slice_mm, step_mm : float
        Thickness, and distance of neighbouring slices' centres.
    centre_mm : tuple of float
        Middle of the slab as right, anterior, superior offsets from the centre of L3.
    yaw_deg, roll_deg, pitch_deg : float
        Orientation of the slab in the scanner.
    origin_mm : tuple of float
        Where the centre of L3 lies in the scanner, RAS.
    contrast : Contrast
    gain : float
        Voxel value of CSF at the depth of L3.
    noise : float
        Standard deviation of each of the Rician noise's channels; CSF at L3 is 1.
    coil_mm : float
        Depth over which the surface coil's sensitivity halves; infinite where the scanner
        corrects it.
    bias : float
        Standard deviation of the log of what is left of the bias field.
    saturation_mm, saturation : float
        The saturation band: where it begins in front of the bodies, and what it leaves.
    resolution : float
        Share of k-space that is acquired along the phase encoding; the rest is zero-filled.
    """

    matrix: tuple[int, int]
    spacing_mm: float
    slices: int
    slice_mm: float
    step_mm: float
    centre_mm: tuple[float, float, float]
    yaw_deg: float
    roll_deg: float
    pitch_deg: float
    origin_mm: tuple[float, float, float]
    contrast: Contrast
    gain: float
    noise: float
    coil_mm: float
    bias: float
    saturation_mm: float
    saturation: float
    resolution: float


@dataclass(frozen=True)
class LumbarSpec:
    """One patient.

    Attributes
    ----------
    seed : int
        Of the draw, and of what the renderer draws itself: noise, texture, bias.
    kind : str
        One of `KINDS`.
    castellvi : str
        ``0`` for a normal spine, else ``Ia`` … ``IV`` (Castellvi 1984).
    severity : float
        0 for a normal spine; up to 1, where the transition is complete.
    vertebrae : tuple of Vertebra
        From the top, as in `VERTEBRAE`.
    discs : tuple of Disc
        One below each vertebra but the last.
    patient : Patient
    scanner : Scanner
    """

    seed: int
    kind: Kind
    castellvi: str
    severity: float
    vertebrae: tuple[Vertebra, ...]
    discs: tuple[Disc, ...]
    patient: Patient
    scanner: Scanner

    @property
    def lstv(self) -> bool:
        """Whether the spine has a lumbosacral transitional vertebra."""
        return self.kind != "normal"

    @property
    def lumbar_bodies(self) -> int:
        """How many bodies look lumbar: 5, or 4 or 6 where the transition is complete."""
        return {"four_lumbar": 4, "six_lumbar": 6}.get(self.kind, 5)

    def vertebra(self, name: str) -> Vertebra:
        """The vertebra of a name."""
        return self.vertebrae[VERTEBRAE.index(name)]

    def disc(self, name: str) -> Disc:
        """The disc of a name; raises KeyError for one that the model lacks."""
        return {d.name: d for d in self.discs}[name]


def disc_name(above: str, below: str) -> str:
    """``L5`` and ``S1`` to ``l5_s1``."""
    return f"{above}_{below}".lower()
