"""Do landmarks, sizes and numbers of the model hold what its rules say?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from jobs.lumbar import KINDS, LEVELS, VERTEBRAE, Kind, LumbarSpec, draw_spec
from jobs.lumbar.chain import place_chain
from jobs.lumbar.spec import CASTELLVI_WIDTH_MM
from lamstore.errors import ConfigError

_SEEDS = range(60)
_TRANSITIONAL: tuple[Kind, ...] = ("sacralized", "lumbarized", "four_lumbar", "six_lumbar")


def owner(kind: Kind) -> str:
    """The transitional vertebra of a kind."""
    return "L5" if kind in ("sacralized", "four_lumbar") else "S1"


def depth_ratio(spec: LumbarSpec, name: str) -> float:
    """Inferior over superior depth of a body: squaring."""
    return spec.vertebra(name).taper


@pytest.mark.parametrize("kind", KINDS)
def test_the_chain_is_whole_and_its_levels_lie_between_their_bodies(kind: Kind) -> None:
    for seed in _SEEDS:
        spec = draw_spec(seed, kind)
        chain = place_chain(spec)
        assert tuple(chain.vertebrae) == VERTEBRAE
        assert len(chain.discs) == len(VERTEBRAE) - 1
        for level in LEVELS:
            upper, lower = (n.upper() for n in level.split("_"))
            a, b = chain.vertebrae[upper].centre, chain.vertebrae[lower].centre
            way = np.dot(chain.discs[level].centre - a, b - a) / np.dot(b - a, b - a)
            aside = chain.discs[level].centre - (a + way * (b - a))
            assert 0.3 < way < 0.7
            assert np.linalg.norm(aside) < 5


def test_neighbouring_levels_of_normals_are_25_to_45_mm_apart() -> None:
    for seed in range(200):
        discs = place_chain(draw_spec(seed)).discs
        apart = [
            float(np.linalg.norm(discs[a].centre - discs[b].centre)) for a, b in pairwise(LEVELS)
        ]
        assert min(apart) >= 25 and max(apart) <= 45


def test_a_straight_stack_has_the_length_of_its_parts() -> None:
    spec = draw_spec(4)
    chain = place_chain(spec)
    # Neighbouring centres: half of each body and the disc, however tilted, and flush backs.
    for above, below in pairwise(("L1", "L2", "L3", "L4")):
        parts = spec.vertebra(above).height_mm / 2 + spec.vertebra(below).height_mm / 2
        parts += spec.disc(f"{above}_{below}".lower()).height_mm
        apart = np.linalg.norm(chain.vertebrae[above].centre - chain.vertebrae[below].centre)
        assert apart == pytest.approx(parts, abs=0.8)


def test_the_axes_of_every_vertebra_are_a_rotation() -> None:
    for place in place_chain(draw_spec(5)).vertebrae.values():
        np.testing.assert_allclose(place.axes @ place.axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(place.axes) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("kind", "bodies"),
    [("normal", 5), ("sacralized", 5), ("lumbarized", 5), ("four_lumbar", 4), ("six_lumbar", 6)],
)
def test_number_of_lumbar_type_bodies(kind: Kind, bodies: int) -> None:
    # Lumbar-type: below it lies a disc over nearly the whole depth, and no process is fused.
    for seed in _SEEDS:
        spec = draw_spec(seed, kind)
        assert spec.lumbar_bodies == bodies
        if kind in ("normal", "four_lumbar", "six_lumbar"):
            names = [n for n in VERTEBRAE if n >= "L" and n < "T"]
            free = [
                n
                for n in names[:-1]
                if spec.discs[VERTEBRAE.index(n)].depth_ratio > 0.85
                and "fused" not in (spec.vertebra(n).left.union, spec.vertebra(n).right.union)
            ]
            assert len(free) == bodies


@pytest.mark.parametrize("kind", _TRANSITIONAL)
def test_castellvi_rules(kind: Kind) -> None:
    for seed in _SEEDS:
        spec = draw_spec(seed, kind)
        vertebra = spec.vertebra(owner(kind))
        sides = (vertebra.left, vertebra.right)
        wide = [s for s in sides if s.width_mm >= CASTELLVI_WIDTH_MM]
        number = spec.castellvi.rstrip("ab")
        assert len(wide) == (1 if spec.castellvi.endswith("a") else 2)
        expected = {"I": ["free"], "II": ["joint"], "III": ["fused"], "IV": ["fused", "joint"]}
        assert sorted({s.union for s in wide}) == expected[number]
        assert 0 < spec.severity <= 1 and spec.lstv


def test_normals_are_no_castellvi_case() -> None:
    for seed in range(200):
        spec = draw_spec(seed)
        assert spec.castellvi == "0" and not spec.lstv and spec.severity == 0
        for vertebra in spec.vertebrae:
            assert max(vertebra.left.width_mm, vertebra.right.width_mm) < CASTELLVI_WIDTH_MM
            assert vertebra.left.union == vertebra.right.union == "free"


def test_a_sacralized_l5_has_a_rudimentary_disc_and_lies_like_the_sacrum() -> None:
    for seed in _SEEDS:
        normal, changed = draw_spec(seed), draw_spec(seed, "four_lumbar")
        assert changed.disc("l5_s1").height_mm < 3 < normal.disc("l5_s1").height_mm
        assert changed.disc("l5_s1").depth_ratio < 0.6
        angles = [s.vertebra("S1").tilt_deg - s.vertebra("L5").tilt_deg for s in (normal, changed)]
        assert angles[1] < angles[0]
        assert depth_ratio(changed, "S1") > depth_ratio(normal, "S1")


def test_a_lumbarized_s1_is_square_and_upright_above_a_real_disc() -> None:
    for seed in _SEEDS:
        normal, changed = draw_spec(seed), draw_spec(seed, "six_lumbar")
        assert normal.disc("s1_s2").height_mm < 4
        assert changed.disc("s1_s2").height_mm > 5
        assert depth_ratio(changed, "S1") > 0.9 > depth_ratio(normal, "S1")
        assert changed.vertebra("S1").tilt_deg < normal.vertebra("S1").tilt_deg - 10


def test_a_severer_sacralization_has_a_lower_disc() -> None:
    specs = sorted((draw_spec(s, "sacralized") for s in range(200)), key=lambda s: s.severity)
    heights = [s.disc("l5_s1").height_mm / s.patient.size for s in specs]
    assert np.mean(heights[-50:]) < 0.75 * np.mean(heights[:50])


def test_the_kind_changes_the_junction_only() -> None:
    normal, changed = draw_spec(8), draw_spec(8, "sacralized")
    assert normal.patient == changed.patient and normal.scanner == changed.scanner
    assert normal.vertebrae[: VERTEBRAE.index("L4")] == changed.vertebrae[: VERTEBRAE.index("L4")]


def test_disc_signal_spans_bright_and_dark_and_falls_downwards() -> None:
    specs = [draw_spec(s) for s in range(200)]
    signal = np.array([[s.disc(level).signal for level in LEVELS] for s in specs])
    assert signal.min() >= 0.05 and signal.max() <= 0.85
    assert signal.std() > 0.1
    assert signal[:, -1].mean() < signal[:, 0].mean()


@pytest.mark.parametrize(("seed", "kind"), [(-1, "normal"), (0, "cervical")])
def test_what_cannot_be_drawn_is_refused(seed: int, kind: Kind) -> None:
    with pytest.raises(ConfigError, match="cannot be drawn"):
        draw_spec(seed, kind)
