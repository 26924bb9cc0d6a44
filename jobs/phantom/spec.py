"""Which subjects make up the demo cohort, and what decides how each one looks?

A `PhantomSpec` holds everything that decides a subject's voxels: the same spec gives the same
bytes. `default_cohort` varies head shape, voxel grid, lesion load, course of disease and scanner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamstore.errors import ConfigError

FIELD_OF_VIEW_MM = (166.0, 204.0, 147.0)
"""What a head of scale 1 needs along x, y, z, with a margin of air."""


@dataclass(frozen=True)
class Scanner:
    """How one session's scanner turns tissue into voxel values.

    Attributes
    ----------
    gain, gamma : float
        Voxel value = gain · signal ** gamma, with the signal of white matter at 1.
    bias : float
        Standard deviation of the log of the multiplicative bias field.
    noise : float
        Standard deviation of the Rician noise's two channels, as a fraction of white matter.
    blur_mm : float
        In-plane Gaussian point spread.
    """

    gain: float = 250.0
    gamma: float = 1.0
    bias: float = 0.05
    noise: float = 0.035
    blur_mm: float = 0.0


@dataclass(frozen=True)
class LesionPlan:
    """How many lesions a subject has, how large they are, and what becomes of them.

    Attributes
    ----------
    stable, grown, shrunk, new, vanished : int
        Number of lesions by what the follow-up shows of them.
    radius_mm : tuple of float
        Smallest and largest mean radius; log-uniform between, so that small lesions prevail.
    """

    stable: int = 0
    grown: int = 0
    shrunk: int = 0
    new: int = 0
    vanished: int = 0
    radius_mm: tuple[float, float] = (2.2, 5.0)

    @property
    def count(self) -> int:
        """Lesions seen at either timepoint."""
        return self.stable + self.grown + self.shrunk + self.new + self.vanished


@dataclass(frozen=True)
class PhantomSpec:
    """Everything that decides one subject's voxels.

    Attributes
    ----------
    subject : str
    shape : (3,) tuple of int
    spacing_mm : (3,) tuple of float
    seed : int
        Seeds anatomy, lesions and noise.
    lesions : LesionPlan
    scanners : tuple of Scanner
        At baseline and at follow-up.
    head_scale : (3,) tuple of float
        Width, length and height of the head relative to the template's.
    ventricle_scale, sulcal_width_mm : float
        Ventricle radii relative to the template's; half-width of the sulci (both grow with age).
    orientation : {"RAS", "LPS"}
        Towards where the array's axes run.
    tilt_deg : float
        Rotation of the slices about the left-right axis.
    """

    subject: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    seed: int
    lesions: LesionPlan = LesionPlan()
    scanners: tuple[Scanner, Scanner] = (Scanner(), Scanner())
    head_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ventricle_scale: float = 1.0
    sulcal_width_mm: float = 0.7
    orientation: str = "LPS"
    tilt_deg: float = 0.0

    def __post_init__(self) -> None:
        if min(self.shape) < 8 or min(self.spacing_mm) <= 0:
            raise ConfigError(
                f"phantom {self.subject}: the grid cannot hold a head",
                got=f"shape {self.shape}, spacing {self.spacing_mm} mm",
                expected="at least 8 voxels a side and positive spacings",
            )
        if self.orientation not in ("RAS", "LPS"):
            raise ConfigError(
                f"phantom {self.subject}: unknown orientation",
                got=self.orientation,
                expected="RAS or LPS",
            )


_STEADY = (Scanner(), Scanner(gain=258.0))
_DRIFTED = (Scanner(), Scanner(gain=390.0, gamma=0.7, bias=0.14, noise=0.055, blur_mm=0.6))

_TEMPLATES: tuple[dict[str, Any], ...] = (
    {
        "spacing_mm": (1.2, 1.2, 3.0),
        "lesions": LesionPlan(stable=9, grown=3, shrunk=2, new=4, vanished=2),
        "scanners": _STEADY,
    },
    {
        "spacing_mm": (1.1, 1.1, 3.0),
        "lesions": LesionPlan(stable=2, grown=1, new=1, radius_mm=(2.7, 3.5)),
        "scanners": _STEADY,
        "head_scale": (0.96, 0.95, 0.97),
        "sulcal_width_mm": 0.55,
        "ventricle_scale": 0.85,
    },
    {
        "spacing_mm": (1.25, 1.25, 3.3),
        "lesions": LesionPlan(
            stable=30, grown=5, shrunk=4, new=7, vanished=3, radius_mm=(2.6, 7.0)
        ),
        "scanners": _STEADY,
        "head_scale": (1.02, 1.03, 1.0),
        "sulcal_width_mm": 0.95,
        "ventricle_scale": 1.45,
    },
    {
        "spacing_mm": (1.2, 1.2, 2.6),
        "lesions": LesionPlan(stable=10),
        "scanners": _STEADY,
        "head_scale": (0.98, 1.02, 1.01),
        "orientation": "RAS",
    },
    {
        "spacing_mm": (1.2, 1.2, 3.0),
        "lesions": LesionPlan(stable=9, grown=2, shrunk=2, new=2, vanished=1),
        "scanners": _DRIFTED,
        "head_scale": (1.03, 1.0, 1.0),
        "ventricle_scale": 1.15,
    },
    {
        "spacing_mm": (1.3, 1.15, 3.5),
        "lesions": LesionPlan(stable=7, grown=5, shrunk=4, new=7, vanished=5, radius_mm=(2.4, 6.0)),
        "scanners": _STEADY,
        "head_scale": (0.94, 0.97, 0.95),
        "sulcal_width_mm": 0.8,
        "ventricle_scale": 1.2,
        "orientation": "RAS",
        "tilt_deg": 6.0,
    },
)
"""Moderate, tiny load, heavy load, unchanged, another scanner at follow-up, active and tilted."""


def default_cohort(n: int = 6, seed: int = 0, scale: float = 1.0) -> list[PhantomSpec]:
    """Specs of the demo cohort, ``patient01`` onwards.

    The fourth subject does not change; the fifth is scanned by another scanner at follow-up. More
    than six subjects repeat the six courses in other heads.

    Parameters
    ----------
    n : int
        Number of subjects, at least 1.
    seed : int
    scale : float
        Voxels along each axis relative to the full-size grid, in (0, 1]; the heads keep their
        size and the spacing grows.

    Raises
    ------
    ConfigError
        When `n` or `scale` is out of range.
    """
    if n < 1 or not 0 < scale <= 1:
        raise ConfigError(
            "this phantom cohort cannot be generated",
            got=f"n={n}, scale={scale}",
            expected="n of at least 1 and a scale in (0, 1]",
        )
    return [_member(i, seed, scale) for i in range(n)]


def _member(index: int, seed: int, scale: float) -> PhantomSpec:
    template = dict(_TEMPLATES[index % len(_TEMPLATES)])
    spacing = [s / scale for s in template.pop("spacing_mm")]
    head = template.get("head_scale", (1.0, 1.0, 1.0))
    shape = [round(f * h / s) for f, h, s in zip(FIELD_OF_VIEW_MM, head, spacing, strict=True)]
    return PhantomSpec(
        subject=f"patient{index + 1:02d}",
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        seed=1000 * seed + index,
        **template,
    )
