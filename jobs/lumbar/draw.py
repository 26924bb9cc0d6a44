"""How do lumbar spines and scanners vary?

`draw_spec` draws everything from one seed. Sizes follow an average adult (bodies about 27 mm high
and 34 mm deep, discs 8 to 12 mm), the sacral slope is about 38 degrees and the lordosis follows it
(Legaye et al. 1998), discs degenerate with age and downwards (Pfirrmann et al. 2001).
"""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import numpy as np

from jobs.lumbar.spec import (
    KINDS,
    VERTEBRAE,
    Contrast,
    Coverage,
    Disc,
    Kind,
    LumbarSpec,
    Patient,
    Scanner,
    Transverse,
    Vertebra,
    disc_name,
)
from jobs.lumbar.transitional import make_transitional
from lamstore.errors import ConfigError

# By vertebra, T6 to S5.
_HEIGHT_MM = (19.5, 20, 20.5, 21, 22, 23, 25, 26.5, 27.3, 27.5, 27.3, 26, 29, 24, 19, 16, 14)
_DEPTH_MM = (26, 27, 28, 29, 30, 31, 32, 32.5, 33.5, 34.5, 35, 35, 33, 21, 15, 12, 10)
_WIDTH_MM = (27, 28, 29, 30, 32, 36, 40, 42, 44, 46, 48, 50, 50, 38, 30, 24, 18)
_TAPER = (1.03,) * 11 + (0.98, 0.66, 0.74, 0.8, 0.8, 0.7)
_WEDGE_DEG = (-3, -3, -3, -3, -3, -3, -3, -2, 0, 1, 3, 9, 0, 0, 0, 0, 0)
_PROCESS_MM = (7, 7, 7, 7, 6, 6, 6, 9, 10, 10.5, 11, 12, 10, 6, 6, 6, 6)
_DISC_MM = (4, 4, 4.5, 5, 5.5, 6, 7, 8.5, 10, 11, 11.5, 10, 2.5, 1.2, 0.8, 0.8)
_DISC_RATIO = (1.0,) * 12 + (0.6, 0.5, 0.5, 0.5)
_FLEX = (0.62, 0.72, 0.82, 0.90, 0.96, 1.0, 1.02, 1.0, 0.93, 0.79, 0.60, 0.33)
"""Tilt from S1 up to each of T6 to L5, as a share of the tilt from S1 to L1."""
_SACRAL_DEG = (0.0, 6.0, -4.0, -26.0, -48.0)
"""Tilt of S1 to S5 against the sacral slope."""


def draw_spec(seed: int, kind: Kind = "normal", coverage: Coverage = "lumbar") -> LumbarSpec:
    """Draw one patient and scanner.

    Parameters
    ----------
    seed : int
        Not negative. The same seed with another kind is the same patient with another
        lumbosacral junction.
    kind : str
        One of `KINDS`.
    coverage : {"lumbar", "thoracolumbar"}
        With ``lumbar`` the five levels are in view, with ``thoracolumbar`` the image ends above
        the sacrum.

    Returns
    -------
    LumbarSpec

    Raises
    ------
    ConfigError
        For a negative seed, an unknown kind or an unknown coverage.
    """
    if seed < 0 or kind not in KINDS or coverage not in get_args(Coverage):
        raise ConfigError(
            "this lumbar spine cannot be drawn",
            got=f"seed={seed}, kind={kind!r}, coverage={coverage!r}",
            expected=f"a seed of at least 0, one of {KINDS}, one of {get_args(Coverage)}",
        )
    streams = [np.random.default_rng([seed, stream]) for stream in range(4)]
    size = float(np.clip(streams[0].normal(1.0, 0.065), 0.86, 1.10))
    spec = LumbarSpec(
        seed,
        "normal",
        "0",
        0.0,
        _vertebrae(streams[0], size),
        _discs(streams[1], size),
        _patient(streams[2], size),
        _scanner(streams[3], size, coverage),
    )
    return make_transitional(spec, kind)


def _vertebrae(rng: np.random.Generator, size: float) -> tuple[Vertebra, ...]:
    tilts = _tilts(rng)
    stout = float(np.clip(rng.normal(1.0, 0.05), 0.9, 1.1))
    made = []
    for i, name in enumerate(VERTEBRAE):
        height, depth, width = rng.normal(1.0, (0.022, 0.025, 0.025)) * size
        process = [float(np.clip(rng.normal(_PROCESS_MM[i], 1.0), 5.0, 15.0)) for _ in range(2)]
        made.append(
            Vertebra(
                name=name,
                tilt_deg=tilts[i],
                height_mm=_HEIGHT_MM[i] * height,
                width_mm=_WIDTH_MM[i] * width * stout,
                depth_mm=_DEPTH_MM[i] * depth * stout,
                taper=_TAPER[i] * float(np.clip(rng.normal(1.0, 0.025), 0.94, 1.06)),
                wedge_deg=_WEDGE_DEG[i] + float(rng.normal(0, 1.0)),
                left=Transverse(process[0]),
                right=Transverse(process[1]),
            )
        )
    return tuple(made)


def _tilts(rng: np.random.Generator) -> list[float]:
    slope = float(np.clip(rng.normal(38, 7), 22, 56))
    lordosis = float(np.clip(slope + rng.normal(13, 5), 30, 75))
    above = [slope - lordosis * share for share in _FLEX]
    bend = rng.normal(1.0, 0.25)
    below = [slope + bend * share for share in _SACRAL_DEG]
    jitter = rng.normal(0, 1.1, len(VERTEBRAE))
    jitter[len(above)] = 0.0
    return [float(t + j) for t, j in zip([*above, *below], jitter, strict=True)]


def _discs(rng: np.random.Generator, size: float) -> tuple[Disc, ...]:
    age = rng.uniform(20, 85)
    thick = float(np.clip(rng.normal(1.0, 0.1), 0.8, 1.12))
    made = []
    for i, (above, below) in enumerate(pairwise(VERTEBRAE)):
        sacral = above.startswith("S")
        wear = 0.0 if sacral else _wear(rng, age, i)
        height = _DISC_MM[i] * size * thick * rng.normal(1.0, 0.06)
        signal = rng.uniform(0.2, 0.5) if sacral else 0.72 - 0.62 * wear + rng.normal(0, 0.04)
        made.append(
            Disc(
                name=disc_name(above, below),
                height_mm=float(height * (1 - 0.5 * wear**2)),
                depth_ratio=float(_DISC_RATIO[i] * rng.normal(1.0, 0.03)),
                signal=float(np.clip(signal, 0.05, 0.85)),
                bulge_mm=float(0.5 + 4.0 * wear**2 * rng.uniform(0, 1)),
                modic=float(rng.uniform(0, 1) * (wear > 0.6) * (rng.uniform() < 0.5)),
            )
        )
    return tuple(made)


def _wear(rng: np.random.Generator, age: float, i: int) -> float:
    """Degeneration in [0, 1]: with age, and more in the lower lumbar discs."""
    low = VERTEBRAE[i] in ("L4", "L5")
    mean = (age - 25) / 75 + (0.15 if low else -0.05)
    return float(np.clip(rng.normal(mean, 0.2), 0, 1))


def _patient(rng: np.random.Generator, size: float) -> Patient:
    scoliotic = rng.uniform() < 0.2
    return Patient(
        size=size,
        fat_mm=float(np.clip(rng.lognormal(2.5, 0.5), 4, 45)),
        belly_mm=float(np.clip(rng.normal(115, 25), 75, 190)),
        sac_mm=float(np.clip(rng.normal(7.6, 0.9), 5.5, 10)),
        conus=float(np.clip(rng.normal(0.2, 0.4), -0.8, 1.2)),
        muscle_fat=float(np.clip(rng.beta(2, 4), 0.05, 0.9)),
        curve_mm=float(rng.uniform(5, 14) if scoliotic else abs(rng.normal(0, 1.8))),
        curve_period_mm=float(rng.uniform(220, 420)),
        curve_phase=float(rng.uniform(0, 2 * np.pi)),
        lean_deg=float(rng.normal(0, 1.3)),
        turn_deg=float(rng.normal(0, 2.5)),
        bladder=float(rng.uniform(18, 42) if rng.uniform() < 0.5 else 0.0),
    )


def _scanner(rng: np.random.Generator, size: float, coverage: Coverage) -> Scanner:
    matrix, spacing = _plane(rng, size)
    field = matrix * spacing
    # Radiographers centre on L3; the five levels reach 65 mm up and 105 mm down from it.
    reach = field / 2 - 118 * size
    up = float(np.clip(rng.normal(-16, 12), -(field / 2 - 80 * size), reach))
    if coverage == "thoracolumbar":
        up = field / 2 - float(rng.uniform(15, 62)) * size
    return Scanner(
        matrix=(matrix, matrix),
        spacing_mm=spacing,
        slices=int(rng.integers(11, 20)),
        slice_mm=(thick := float(rng.choice([4.0, 4.0, 4.5, 5.0]))),
        step_mm=min(thick * float(rng.choice([1.0, 1.1, 1.2])), 5.0),
        centre_mm=(float(rng.normal(0, 2.5)), float(rng.normal(5, 14)), up),
        yaw_deg=float(rng.normal(0, 4)),
        roll_deg=float(rng.normal(0, 2)),
        pitch_deg=float(rng.normal(0, 1)),
        origin_mm=(float(rng.normal(0, 8)), float(rng.normal(-20, 15)), float(rng.normal(0, 40))),
        contrast=_contrast(rng),
        gain=float(rng.lognormal(6.4, 0.5)),
        noise=float(np.exp(rng.uniform(np.log(0.008), np.log(0.045)))),
        coil_mm=float(rng.uniform(55, 160)) if rng.uniform() < 0.75 else float("inf"),
        bias=float(rng.uniform(0.03, 0.14)),
        saturation_mm=float(rng.uniform(28, 70)),
        saturation=float(rng.uniform(0.1, 0.4)) if rng.uniform() < 0.6 else 1.0,
        resolution=float(rng.uniform(0.62, 0.95)),
    )


def _plane(rng: np.random.Generator, size: float) -> tuple[int, float]:
    """Matrix of 320 to 512 and spacing of 0.5 to 0.8 mm that give one field of view."""
    field = float(rng.uniform(max(245.0, 240 * size), 325))
    fitting = [n for n in (320, 384, 448, 512) if 0.5 <= field / n <= 0.8]
    matrix = int(rng.choice(fitting))
    return matrix, field / matrix


def _contrast(rng: np.random.Generator) -> Contrast:
    def about(mean: float, spread: float) -> float:
        return float(mean * np.exp(rng.normal(0, spread)))

    return Contrast(
        cord=about(0.42, 0.12),
        root=about(0.48, 0.12),
        fat=about(0.80, 0.22),
        marrow=about(0.36, 0.25),
        muscle=about(0.11, 0.25),
        annulus=about(0.07, 0.25),
        nucleus=about(0.95, 0.08),
        cortex=about(0.05, 0.25),
        vessel=about(0.05, 0.4),
        bowel=about(0.20, 0.3),
        skin=about(0.25, 0.3),
        joint=about(0.55, 0.2),
    )
