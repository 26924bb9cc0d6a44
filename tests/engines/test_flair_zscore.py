"""Does flair-zscore find what is bright, on painted brains and on real ones?"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
from conformance import (
    EngineConformance,
    ball,
    components,
    grid_of,
    synthetic_input,
    synthetic_lesions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engines import EngineInput, load_engine
from jobs.engines.flair_zscore import FlairZscore, FlairZscoreOptions, decide, keep_components
from jobs.engines.tissue import robust_center_scale, smooth_within, white_matter
from jobs.metrics.longitudinal import PROXIES, change_proxies
from lamstore.errors import ConfigError, EngineError
from lamstore.grid import Grid

DATA = Path(__file__).resolve().parents[2] / "../shared/data/open_ms_data"


def dice(a, b):
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


class TestFlairZscore(EngineConformance):
    other_options: ClassVar = {"thresholds": [1, 2, 3]}

    @pytest.fixture
    def engine(self):
        return load_engine("flair-zscore", {})


@pytest.mark.parametrize("with_t1w", [True, False])
def test_painted_lesions_are_found_and_nothing_else(with_t1w):
    inputs = synthetic_input()
    if not with_t1w:
        inputs = replace(inputs, images={"flair": inputs.images["flair"]})
    found = FlairZscore.parse({}).segment(inputs)
    assert dice(found.mask, synthetic_lesions()) > 0.85
    assert components(found.mask) == 2


def test_a_healthy_brain_has_no_lesion():
    assert not FlairZscore.parse({}).segment(synthetic_input(lesions=False)).mask.any()


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(0.01, 100), offset=st.floats(-500, 500))
def test_positive_affine_rescaling_changes_nothing(scale, offset):
    inputs = synthetic_input()
    images = {k: (scale * v + offset).astype(np.float32) for k, v in inputs.images.items()}
    engine = FlairZscore.parse({})
    expected, got = engine.segment(inputs), engine.segment(replace(inputs, images=images))
    # Rounding to float32 moves z by up to 3e-3; hysteresis can pass that on to a voxel or two.
    assert (np.abs(got.probability - expected.probability) > 0.02).mean() < 1e-4
    assert (got.mask ^ expected.mask).sum() <= 2


def test_a_constant_brain_is_empty_not_an_error():
    inputs = synthetic_input()
    flat = {k: np.full_like(v, 7) for k, v in inputs.images.items()}
    out = FlairZscore.parse({}).segment(replace(inputs, images=flat))
    assert not out.mask.any()
    assert not out.probability.any()


def test_an_image_of_which_half_is_one_value_has_no_scale():
    inputs = synthetic_input()
    flair = np.where(synthetic_lesions(), 2, 1).astype(np.float32)
    with pytest.raises(EngineError, match="flair of s1 t0 has no scale"):
        FlairZscore.parse({}).segment(replace(inputs, images={"flair": flair}))


def test_t1w_without_contrast_is_an_error_not_a_silent_fallback():
    inputs = synthetic_input()
    images = {**inputs.images, "t1w": np.ones_like(inputs.images["t1w"])}
    with pytest.raises(EngineError, match="t1w"):
        FlairZscore.parse({}).segment(replace(inputs, images=images))
    without = FlairZscore.parse({"use_t1w": False}).segment(replace(inputs, images=images))
    assert without.mask.any()


def test_a_tiny_brain_is_all_rim():
    shape = (7, 7, 4)
    brain = np.zeros(shape, bool)
    brain[3:5, 3:5, 1:3] = True
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    tiny = EngineInput("s1", "t0", "none", {"flair": image}, brain, grid_of(shape))
    assert not FlairZscore.parse({}).segment(tiny).mask.any()


def test_tissue_classes_need_voxels():
    with pytest.raises(EngineError, match="too small"):
        white_matter(np.arange(27, dtype=np.float32).reshape(3, 3, 3), np.ones((3, 3, 3), bool))


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((56, 60, 72), (1.0, 1.0, 1.0)), ((56, 60, 24), (1.0, 1.0, 3.0)), ((28, 60, 72), (2, 1, 1))],
)
def test_lesions_are_found_whatever_the_spacing(shape, spacing_mm):
    mask = FlairZscore.parse({}).segment(synthetic_input(shape, spacing_mm)).mask
    assert dice(mask, synthetic_lesions(shape, spacing_mm)) > 0.8
    assert components(mask) == 2


def test_nothing_within_the_rim_of_the_brain():
    inputs = synthetic_input(lesions=False)
    inputs.images["flair"][ball((28.0, 55.0, 36.0), 2.5)] = 400
    for edge_mm, seen in ((4.0, False), (0.0, True)):
        out = FlairZscore.parse({"edge_mm": edge_mm, "csf_penalty": 0, "use_t1w": False}).segment(
            inputs
        )
        assert out.mask.any() == seen


def test_t1w_rejects_what_lies_in_grey_matter():
    inputs = synthetic_input(lesions=False)
    cortical = ball((28.0, 10.0, 36.0), 2.0)
    inputs.images["flair"][cortical] = 200
    found = {
        use: FlairZscore.parse({"use_t1w": use, "white_matter_penalty": 20}).segment(inputs).mask
        for use in (True, False)
    }
    assert (found[False] & cortical).any()
    assert not (found[True] & cortical).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_mask_is_mean_probability_at_one_half_less_small_components(seed):
    """`decide` on random evidence: hysteresis lives in the probabilities, not beside them."""
    rng = np.random.default_rng(seed)
    score = smooth_within(
        rng.normal(0, 8, (20, 18, 9)).astype(np.float32), np.ones((20, 18, 9), bool), 1.2, (1, 1, 2)
    )
    options = FlairZscoreOptions()
    probability, mask = decide(score, (1.0, 1.0, 2.0), options)
    above = probability.mean(axis=0) >= 0.5
    np.testing.assert_array_equal(mask, keep_components(above, above, (1.0, 1.0, 2.0), 10.0))
    assert (np.diff(probability, axis=0) <= 0).all()


def test_a_component_needs_a_seed_and_a_size():
    candidates = np.zeros((12, 4, 4), bool)
    candidates[0:3] = candidates[5, 0, 0] = candidates[8:11] = True
    seeds = np.zeros_like(candidates)
    seeds[1, 1, 1] = seeds[5, 0, 0] = True
    expected = np.zeros_like(candidates)
    expected[0:3] = True
    np.testing.assert_array_equal(
        keep_components(candidates, seeds, (1.0, 1.0, 1.0), 48.0), expected
    )
    assert not keep_components(candidates, seeds, (1.0, 1.0, 1.0), 48.5).any()
    assert not keep_components(candidates, np.zeros_like(seeds), (1.0, 1.0, 1.0), 0.0).any()


def test_scale_ignores_csf_and_lesions():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(100, 10, 8000), np.zeros(1200), np.full(800, 300.0)])
    center, scale = robust_center_scale(values.astype(np.float32))
    assert center == pytest.approx(100, abs=0.5)
    assert scale == pytest.approx(10, rel=0.03)


def test_smoothing_within_a_mask_keeps_a_constant():
    mask = ball((28.0, 30.0, 36.0), 20.0)
    got = smooth_within(np.where(mask, np.float32(5), np.float32(99)), mask, 3.0, (1.0, 1.0, 3.0))
    np.testing.assert_allclose(got[mask], 5, rtol=1e-5)
    assert got[0, 0, 0] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"thresholds": [1, 2]},
        {"thresholds": [2, 1, 3]},
        {"slope": 0},
        {"min_component_mm3": -1},
        {"white_matter_fraction": 1.5},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        FlairZscore.parse(options)


def real(path):
    if not DATA.is_dir():
        pytest.skip("../shared/data is absent")
    image = nib.load(path)
    return np.asarray(image.dataobj, dtype=np.float32), image.affine


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("patient", ["patient01", "patient12"])
def test_change_between_real_scans_is_found_better_than_chance(patient):
    """Chance: a random mask of the same volume in the brain has Dice 2ab/(a+b)/n on average."""
    folder = DATA / "longitudinal/coregistered" / patient
    brain, affine = real(folder / "brainmask.nii.gz")
    truth = real(folder / "gt.nii.gz")[0] > 0
    grid, engine = Grid.of(brain.shape, affine), FlairZscore.parse({})
    masks = []
    for study in ("study1", "study2"):
        images = {
            key: real(folder / f"{study}_{name}.nii.gz")[0]
            for key, name in (("flair", "FLAIR"), ("t1w", "T1W"))
        }
        masks.append(
            engine.segment(EngineInput(patient, "t0", "none", images, brain > 0, grid)).mask
        )
    proxies = change_proxies(*masks, grid.spacing_mm)
    for name in PROXIES:
        a, b = float(proxies[name].sum()), float(truth.sum())
        chance = 2 * a * b / (a + b) / float((brain > 0).sum())
        assert dice(proxies[name], truth) > 10 * chance, name
    assert dice(proxies["chg_sym_raw"], truth) > 0.3
    assert dice(proxies["chg_tight"], truth) > 0.25


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(("patient", "least"), [("patient07", 0.25), ("patient19", 0.6)])
def test_lesions_of_real_scans_are_found(patient, least):
    folder = DATA / "cross_sectional/MNI" / patient
    tail = "N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
    flair, affine = real(folder / f"FLAIR_{tail}")
    t1w = real(folder / f"T1_{tail}")[0]
    truth = real(next(folder.glob("GOLD_STANDARD*")))[0] > 0
    inputs = EngineInput(
        patient,
        "t0",
        "none",
        {"flair": flair, "t1w": t1w},
        flair != 0,
        Grid.of(flair.shape, affine),
    )
    assert dice(FlairZscore.parse({}).segment(inputs).mask, truth) > least
