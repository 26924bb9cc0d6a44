"""Does the image show what the truth says, at the place it says?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.lumbar import LEVELS, Kind, Lumbar, LumbarSpec, draw_spec, generate_lumbar
from jobs.lumbar.canal import place_canal
from jobs.lumbar.chain import place_chain
from jobs.lumbar.lumbar import grid_affine, scanner_affine
from tests.lumbar.conftest import coarse


def quiet(seed: int) -> Lumbar:
    """A spine without noise, bias, coil or saturation, with bright discs."""
    spec = coarse(draw_spec(seed), 160)
    scanner = replace(spec.scanner, noise=0.0, bias=0.0, coil_mm=np.inf, saturation=1.0, gain=1000)
    discs = tuple(replace(d, signal=0.7, height_mm=max(d.height_mm, 7.5)) for d in spec.discs)
    return generate_lumbar(replace(spec, scanner=scanner, discs=discs))


def value(lumbar: Lumbar, point_mm: np.ndarray) -> float:
    """Voxel nearest to a point (RAS mm)."""
    i, j, k = np.rint((np.linalg.inv(lumbar.affine) @ [*point_mm, 1])[:3]).astype(int)
    return float(lumbar.volume[i, j, k])


def level_rows(spec: LumbarSpec) -> dict[str, float]:
    """Where each level lies between the top (0) and the bottom (1) of the image."""
    inverse = np.linalg.inv(grid_affine(spec))
    discs = place_chain(spec).discs
    rows = spec.scanner.matrix[1]
    return {n: float((inverse @ [*discs[n].centre, 1])[1]) / rows for n in LEVELS}


def test_the_same_spec_gives_the_same_bytes_and_another_seed_others() -> None:
    spec = coarse(draw_spec(6), 64)
    first, second = generate_lumbar(spec), generate_lumbar(spec)
    np.testing.assert_array_equal(first.volume, second.volume)
    assert draw_spec(6) == draw_spec(6) and draw_spec(6) != draw_spec(7)
    other = generate_lumbar(replace(spec, seed=7))
    assert not np.array_equal(first.volume, other.volume)


def test_shape_type_and_affine(by_kind: dict[Kind, Lumbar]) -> None:
    for lumbar in by_kind.values():
        scanner = lumbar.spec.scanner
        assert lumbar.volume.shape == (*scanner.matrix, scanner.slices)
        assert lumbar.volume.dtype == np.int16 and lumbar.volume.min() >= 0
        spacing = np.linalg.norm(lumbar.affine[:3, :3], axis=0)
        expected = [scanner.spacing_mm, scanner.spacing_mm, scanner.step_mm]
        np.testing.assert_allclose(spacing, expected)
        assert np.linalg.det(lumbar.affine[:3, :3]) > 0
        assert all(lumbar.in_view(level) for level in LEVELS)


def test_signals_at_known_places() -> None:
    lumbar = quiet(12)
    spec = lumbar.spec
    discs = [value(lumbar, lumbar.landmarks[level]) for level in LEVELS[:4]]
    marrow = [value(lumbar, lumbar.centroids[n]) for n in ("L2", "L3", "L4")]
    # A nucleus of 0.7 (less its cleft) shines against marrow of about 0.4.
    assert min(discs) > max(marrow)
    assert np.mean(marrow) == pytest.approx(1000 * spec.scanner.contrast.marrow, rel=0.25)
    chain = place_chain(spec)
    canal = place_canal(spec, chain)
    z = np.float32(chain.discs["l4_l5"].centre[2])
    x, y, half = canal.at(np.array([z], np.float32))
    front = np.array([x[0], y[0] + 0.3 * half[0], z])
    csf = (scanner_affine(spec) @ [*front, 1])[:3]
    assert value(lumbar, csf) > 1.2 * max(marrow)


def test_thoracolumbar_coverage_ends_above_the_sacrum() -> None:
    for seed in range(60):
        rows = level_rows(draw_spec(seed, coverage="thoracolumbar"))
        assert rows["l1_l2"] > 0 and rows["l5_s1"] > 1


def test_lumbar_coverage_holds_every_level() -> None:
    for seed in range(60):
        scanner = draw_spec(seed).scanner
        assert 0.5 <= scanner.spacing_mm <= 0.8 and 320 <= scanner.matrix[0] <= 512
        assert 11 <= scanner.slices <= 19 and 4 <= scanner.step_mm <= 5
        assert all(0 < row < 1 for row in level_rows(draw_spec(seed)).values())


def test_noise_is_rician_in_air() -> None:
    spec = coarse(draw_spec(6), 96)
    scanner = replace(spec.scanner, noise=0.03, gain=10_000.0, resolution=2.0)
    lumbar = generate_lumbar(replace(spec, scanner=scanner))
    silent = generate_lumbar(replace(spec, scanner=replace(scanner, noise=0.0)))
    air = lumbar.volume[silent.volume == 0].astype(float)
    assert air.size > 1000
    # Rayleigh: mean sigma * sqrt(pi / 2).
    assert air.mean() == pytest.approx(300 * np.sqrt(np.pi / 2), rel=0.05)


def test_lateral_slices_differ_from_the_middle(by_kind: dict[Kind, Lumbar]) -> None:
    lumbar = by_kind["normal"]
    middle = round(lumbar.voxel("l3_l4")[2])
    a, b = (lumbar.volume[:, :, k].astype(float).ravel() for k in (0, middle))
    assert np.corrcoef(a, b)[0, 1] < 0.9
