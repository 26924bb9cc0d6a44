"""What makes a lumbosacral vertebra transitional, and how far?

Severity runs from 0 (normal) to 1 (complete). The transverse process is at least 19 mm wide and
free (I), meets the ala in a joint (II), is fused with it (III), or one side is II and the other
III (IV); a is one side, b both (Castellvi et al., Spine 1984). The transitional disc and the shape
of the body follow O'Driscoll et al. (Skeletal Radiol 1996): type 1 no disc, 2 a small residual
disc, 3 a well-formed disc over the whole depth, 4 the same with a squared upper sacral body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jobs.lumbar.spec import (
    CASTELLVI_WIDTH_MM,
    Kind,
    LumbarSpec,
    Transverse,
    Union,
    Vertebra,
)

_SEVERITY: dict[Kind, tuple[float, float]] = {
    "sacralized": (0.25, 0.9),
    "lumbarized": (0.25, 0.9),
    "four_lumbar": (1.0, 1.0),
    "six_lumbar": (1.0, 1.0),
}
_UNIONS: dict[str, tuple[Union, Union]] = {
    "I": ("free", "free"),
    "II": ("joint", "joint"),
    "III": ("fused", "fused"),
    "IV": ("joint", "fused"),
}


def make_transitional(spec: LumbarSpec, kind: Kind) -> LumbarSpec:
    """Give a normal spine the lumbosacral junction of a kind; ``normal`` returns it unchanged.

    The seed of the spec decides severity and Castellvi type.
    """
    if kind == "normal":
        return spec
    rng = np.random.default_rng([spec.seed, 7])
    severity = float(rng.uniform(*_SEVERITY[kind]))
    castellvi = draw_castellvi(rng, kind, severity)
    if kind in ("sacralized", "four_lumbar"):
        changed = _sacralize(spec, severity)
        owner = "L5"
    else:
        changed = _lumbarize(spec, severity)
        owner = "S1"
    changed = _widen(changed, owner, castellvi, severity, rng)
    return replace(changed, kind=kind, castellvi=castellvi, severity=severity)


def draw_castellvi(rng: np.random.Generator, kind: Kind, severity: float) -> str:
    """Type of a severity: the more sacral the vertebra, the closer its union with the ala.

    Returns
    -------
    str
        ``Ia``, ``Ib``, ``IIa``, ``IIb``, ``IIIa``, ``IIIb`` or ``IV``.
    """
    sacral = severity if kind in ("sacralized", "four_lumbar") else 1 - severity
    if kind == "four_lumbar":
        return "IIIb"
    if kind == "six_lumbar":
        return "Ib"
    grade = float(np.clip(sacral + rng.normal(0, 0.08), 0, 1))
    if grade < 0.38:
        number = "I"
    elif grade < 0.62:
        number = "II"
    else:
        number = "IV" if rng.uniform() < 0.25 else "III"
    if number == "IV":
        return number
    return number + ("b" if rng.uniform() < 0.35 + 0.5 * sacral else "a")


def _widen(
    spec: LumbarSpec, owner: str, castellvi: str, severity: float, rng: np.random.Generator
) -> LumbarSpec:
    """Wide transverse processes, joined as the Castellvi type says; type a has one such side."""
    width = CASTELLVI_WIDTH_MM + 1.0 + 9.0 * severity * rng.uniform(0.5, 1.0)
    number = castellvi.rstrip("ab")
    sides = [Transverse(width * float(rng.uniform(0.96, 1.04)), u) for u in _UNIONS[number]]
    vertebra = spec.vertebra(owner)
    if rng.uniform() < 0.5:
        sides.reverse()
    if castellvi.endswith("a"):
        # On S1 of a spine that is lumbarized on one side the other side stays ala.
        other: Union = "free" if owner == "L5" else "fused"
        sides[1] = Transverse(vertebra.right.width_mm, other)
        if rng.uniform() < 0.5:
            sides.reverse()
    return _with_vertebra(spec, owner, {"left": sides[0], "right": sides[1]})


def _sacralize(spec: LumbarSpec, s: float) -> LumbarSpec:
    """L5 aligns with the sacrum, its disc is rudimentary, the angle moves up to L4/5."""
    l4, l5, s1 = (spec.vertebra(n) for n in ("L4", "L5", "S1"))
    spec = _with_vertebra(
        spec,
        "L5",
        {
            "tilt_deg": _mix(l5.tilt_deg, s1.tilt_deg - 2, 0.85 * s),
            "taper": _mix(l5.taper, 0.80, 0.8 * s),
            "wedge_deg": _mix(l5.wedge_deg, 2.0, s),
            "width_mm": l5.width_mm * (1 + 0.06 * s),
        },
    )
    spec = _with_vertebra(spec, "L4", {"tilt_deg": _mix(l4.tilt_deg, l5.tilt_deg - 3, 0.5 * s)})
    spec = _with_vertebra(
        spec, "S1", {"taper": _mix(s1.taper, 0.85, s), "depth_mm": s1.depth_mm * (1 - 0.14 * s)}
    )
    spec = _with_vertebra(spec, "S2", {"depth_mm": spec.vertebra("S2").depth_mm * (1 + 0.06 * s)})
    last, above = spec.disc("l5_s1"), spec.disc("l4_l5")
    spec = _with_disc(
        spec,
        "l5_s1",
        {
            "height_mm": _mix(min(last.height_mm, 8.5), 2.4, s),
            "depth_ratio": _mix(last.depth_ratio, 0.52, s),
            "signal": _mix(last.signal, 0.22, s),
            "bulge_mm": last.bulge_mm * (1 - s),
            "modic": 0.0,
        },
    )
    # Motion is taken up by the disc above, which wears.
    return _with_disc(spec, "l4_l5", {"signal": _mix(above.signal, 0.15, 0.5 * s)})


def _lumbarize(spec: LumbarSpec, s: float) -> LumbarSpec:
    """S1 is square and upright, S1/2 is a real disc, the angle moves down to it."""
    l5, s1, s2 = (spec.vertebra(n) for n in ("L5", "S1", "S2"))
    spec = _with_vertebra(
        spec,
        "S1",
        {
            "tilt_deg": s1.tilt_deg - 13 * s,
            "taper": _mix(s1.taper, 0.97, s),
            "height_mm": _mix(s1.height_mm, l5.height_mm, s),
            "wedge_deg": _mix(s1.wedge_deg, 7.0, s),
        },
    )
    spec = _with_vertebra(
        spec, "L5", {"tilt_deg": l5.tilt_deg - 5 * s, "wedge_deg": l5.wedge_deg - 5 * s}
    )
    deeper = {"depth_mm": _mix(s2.depth_mm, 0.93 * s1.depth_mm, s), "taper": s2.taper * 0.95}
    spec = _with_vertebra(spec, "S2", deeper)
    last, fresh = spec.disc("s1_s2"), spec.disc("l5_s1")
    return _with_disc(
        spec,
        "s1_s2",
        {
            "height_mm": _mix(last.height_mm, 0.85 * max(fresh.height_mm, 8.0), s),
            "depth_ratio": _mix(last.depth_ratio, 1.0, min(1.0, 1.2 * s)),
            "signal": _mix(last.signal, 0.6, s),
        },
    )


def _mix(a: float, b: float, share: float) -> float:
    return a + (b - a) * share


def _with_vertebra(spec: LumbarSpec, name: str, changes: Mapping[str, Any]) -> LumbarSpec:
    def changed(v: Vertebra) -> Vertebra:
        return replace(v, **changes) if v.name == name else v

    return replace(spec, vertebrae=tuple(changed(v) for v in spec.vertebrae))


def _with_disc(spec: LumbarSpec, name: str, changes: Mapping[str, Any]) -> LumbarSpec:
    discs = tuple(replace(d, **changes) if d.name == name else d for d in spec.discs)
    return replace(spec, discs=discs)
