"""Uncertainty: known members, inequalities that must hold, the published column names."""

from math import isnan, log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jobs import structural
from jobs import uncertainty as u
from lamstore.errors import ConfigError, GridError

TABLES = Path(__file__).resolve().parents[2] / "../shared/data/mslam_tables"
PROBABILITIES = st.integers(2, 4).flatmap(
    lambda m: arrays(np.float32, (m, 3, 4, 2), elements=st.floats(0, 1, width=32))
)


def kl(p, q):
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def naive(p):
    """Every measure from its definition, in float64, pair by pair."""
    mean = p.astype(np.float64).mean(0)
    p = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    bounded = np.clip(mean, 1e-6, 1 - 1e-6)
    centre = p.mean(0)
    return {
        "ens_var": np.var(p, axis=0),
        "prob_entropy": -(bounded * np.log(bounded) + (1 - bounded) * np.log(1 - bounded)),
        "prob_p1mp": mean * (1 - mean),
        "mutual_information": np.mean([kl(m, centre) for m in p], axis=0),
        "expected_pairwise_kl": np.mean([kl(m, n) for m in p for n in p], axis=0),
        "reverse_mutual_information": np.mean([kl(centre, m) for m in p], axis=0),
    }


@settings(max_examples=60, deadline=None)
@given(PROBABILITIES)
def test_maps_equal_their_definitions(p):
    maps = u.uncertainty_maps(p)
    assert maps.dtype == np.float32
    for name, ours in zip(u.MEASURES, maps, strict=True):
        assert np.allclose(ours, naive(p)[name], rtol=1e-3, atol=5e-6), name


@settings(max_examples=40, deadline=None)
@given(PROBABILITIES, st.data())
def test_what_must_hold_for_any_members(p, data):
    maps = dict(zip(u.MEASURES, u.uncertainty_maps(p), strict=True))
    assert all((values >= 0).all() for values in maps.values())
    assert (maps["ens_var"] <= 0.25).all()
    assert (maps["prob_entropy"] <= log(2) + 1e-6).all()
    total = maps["mutual_information"] + maps["reverse_mutual_information"]
    assert np.allclose(total, maps["expected_pairwise_kl"], rtol=1e-3, atol=1e-5)
    order = data.draw(st.permutations(range(len(p))))
    assert np.allclose(u.uncertainty_maps(p[order]), list(maps.values()), rtol=1e-4, atol=2e-6)
    turned = u.uncertainty_maps(np.flip(p, (1, 3)).transpose(0, 2, 1, 3))
    expected = np.flip(list(maps.values()), (1, 3)).transpose(0, 2, 1, 3)
    assert np.allclose(turned, expected, rtol=1e-5, atol=1e-6)


def test_two_opposed_members_and_two_that_agree():
    p = np.array([0.2, 0.8], np.float32).reshape(2, 1, 1, 1) * np.ones((2, 1, 1, 2), np.float32)
    p[:, 0, 0, 1] = 0.3
    maps = {name: m.ravel() for name, m in zip(u.MEASURES, u.uncertainty_maps(p), strict=True)}
    assert maps["ens_var"] == pytest.approx([0.09, 0], abs=1e-7)
    assert maps["prob_entropy"][0] == pytest.approx(log(2))
    assert maps["prob_p1mp"] == pytest.approx([0.25, 0.21])
    entropy = -(0.2 * log(0.2) + 0.8 * log(0.8))
    assert maps["mutual_information"] == pytest.approx([log(2) - entropy, 0], abs=1e-6)
    # KL(0.2 ‖ 0.8) = 0.6 log 4, and two of the four pairs are of a member with itself.
    assert maps["expected_pairwise_kl"] == pytest.approx([0.3 * log(4), 0], abs=1e-6)


def test_outside_the_brain_is_zero_and_inside_the_same():
    rng = np.random.default_rng(0)
    p = rng.random((3, 40, 41, 30)).astype(np.float16)
    brain = rng.random(p.shape[1:]) < 0.5
    whole, masked = u.uncertainty_maps(p), u.uncertainty_maps(p, u.MEASURES, brain)
    assert np.array_equal(masked[:, brain], whole[:, brain])
    assert not masked[:, ~brain].any()


def test_one_member_has_an_entropy_but_no_disagreement():
    p = np.full((1, 2, 2, 2), 0.5, np.float32)
    assert u.uncertainty_maps(p, u.OF_THE_MEAN).shape == (2, 2, 2, 2)
    with pytest.raises(ConfigError, match="two members"):
        u.uncertainty_maps(p, ["ens_var"])
    with pytest.raises(ConfigError, match="unknown"):
        u.uncertainty_maps(p, ["entropy"])
    with pytest.raises(GridError):
        u.uncertainty_maps(p[0], u.OF_THE_MEAN)
    with pytest.raises(GridError):
        u.uncertainty_maps(p[:0], u.OF_THE_MEAN)


def scene():
    """Lesion of 3³ voxels of which one plane lies outside the brain; map = index along x."""
    brain, mask = np.zeros((2, 12, 9, 9), bool)
    brain[:5] = True
    mask[3:6, 3:6, 3:6] = True
    values = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], mask.shape)
    return values, mask, brain


def test_summaries_of_known_regions():
    values, mask, brain = scene()
    found = u.summaries({"ens_var": values}, mask, brain, (1.0, 1.0, 1.0))
    assert found["ens_var_mean_brain"] == 2.0
    assert found["ens_var_p95_brain"] == np.percentile(values[brain], 95)
    assert found["ens_var_mean_lesion"] == 3.5
    # One plane of 9 at x = 2, rings of 12 at x = 3 and 4.
    assert found["ens_var_mean_boundary"] == pytest.approx((9 * 2 + 12 * 3 + 12 * 4) / 33)
    counts = [found[k] for k in ("lesion_voxels", "boundary_voxels", "brain_voxels")]
    assert counts == [27, 33, 5 * 81]


def test_empty_regions_are_nan():
    values, mask, brain = scene()
    found = u.summaries({"ens_var": values}, np.zeros_like(mask), brain, (1.0, 1.0, 1.0))
    assert isnan(found["ens_var_mean_lesion"])
    assert isnan(found["ens_var_mean_boundary"])
    assert found["lesion_voxels"] == 0
    nowhere = u.summaries({"ens_var": values}, mask, np.zeros_like(mask), (1.0, 1.0, 1.0))
    assert isnan(nowhere["ens_var_mean_brain"])
    assert isnan(nowhere["ens_var_p95_brain"])


@pytest.mark.real_data
def test_columns_are_the_published_ones():
    path = TABLES / "phase4_uncertainty_metrics.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    values, mask, brain = scene()
    maps = {"ens_var": values, "prob_entropy": values}
    summary = u.summaries(maps, mask, brain, (1.0, 1.0, 1.0))
    ours = [*u.table_columns(summary, "t0"), *u.table_columns(summary, "t1")]
    published = pd.read_csv(path, nrows=1).loc[:, "unc_ens_var_mean_brain_t0":]
    assert ours == list(published.columns)


def cubes():
    mask = np.zeros((12, 6, 6), bool)
    mask[0:4, 0:4, 0:4] = mask[7:11, 0:4, 0:4] = True
    return mask


def test_structural_uncertainty_of_known_members():
    mask = cubes()
    agree, half, miss = np.zeros((3, *mask.shape), np.float32)
    agree[mask] = 0.9
    half[0:2, 0:4, 0:4] = half[7:11, 0:4, 0:4] = 0.5
    miss[7:11, 0:4, 0:4] = 0.7
    members = np.stack([agree, half, miss])
    expected = [1 - (1 + 0.5 + 0) / 3, 0]
    assert sorted(structural.lesion_structural_uncertainty(mask, members)) == pytest.approx(
        expected[::-1]
    )
    assert structural.patient_structural_uncertainty(mask, members) == pytest.approx(
        1 - (1 + 96 / 128 + 64 / 128) / 3
    )


def test_structural_uncertainty_without_lesions():
    none = np.zeros((4, 4, 4), bool)
    quiet, loud = np.zeros((2, 4, 4, 4), np.float32), np.ones((2, 4, 4, 4), np.float32)
    assert structural.lesion_structural_uncertainty(none, quiet).size == 0
    assert structural.lesion_structural_uncertainty(none, loud).size == 0
    assert structural.lesion_structural_uncertainty(~none, quiet).tolist() == [1]
    assert structural.patient_structural_uncertainty(none, quiet) == 0
    assert structural.patient_structural_uncertainty(none, loud) == 1


def test_lesions_keep_the_order_of_their_labels(blobs):
    from jobs.metrics.components import label

    mask = blobs(3)
    members = np.stack([blobs(3) ^ blobs(k, share=0.02) for k in (4, 5)]).astype(np.float32)
    ours = structural.lesion_structural_uncertainty(mask, members)
    labels, count = label(mask)
    assert ours.size == count
    for lesion in range(1, count + 1):
        here = labels == lesion
        scores = []
        for member in members:
            twins, n = label(member >= 0.5)
            overlaps = [
                (here & (twins == k)).sum() / (here | (twins == k)).sum() for k in range(1, n + 1)
            ]
            scores.append(max(overlaps))
        assert ours[lesion - 1] == pytest.approx(1 - np.mean(scores))


def test_structural_summary_of_a_corner_is_that_of_the_whole():
    mask = np.zeros((30, 20, 20), bool)
    mask[9:21, 7:13, 7:13] = cubes()
    members = np.stack([mask, np.roll(mask, 1, axis=0)]).astype(np.float32)
    found = structural.structural_summary(mask, members)
    lesions = structural.lesion_structural_uncertainty(mask, members)
    assert found == {
        "structural_patient": structural.patient_structural_uncertainty(mask, members),
        "structural_lesion_mean": pytest.approx(lesions.mean()),
        "structural_lesion_max": lesions.max(),
    }
    assert 0 < found["structural_patient"] < 1


def test_structural_summary_without_lesions():
    none, quiet = np.zeros((4, 4, 4), bool), np.zeros((2, 4, 4, 4), np.float32)
    found = structural.structural_summary(none, quiet)
    assert found["structural_patient"] == 0
    assert np.isnan([found["structural_lesion_mean"], found["structural_lesion_max"]]).all()
    assert structural.structural_summary(none, quiet + 1)["structural_patient"] == 1
