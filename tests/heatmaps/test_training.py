"""Landmarks move with the image, targets are probabilities, and training trains."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.heatmaps import LEVELS
from jobs.heatmaps.augment import Augmentation, Marks, augmented, targets
from jobs.heatmaps.evaluate import Judged, localization, screening
from jobs.heatmaps.network import Layout
from jobs.heatmaps.training import Recipe, Spine, coarsened, draw_batch, heatmap_loss, train
from jobs.heatmaps.weights import Preparation

TINY = Layout(1, 2, (2, 2, 3, 3), (1, 1, 1, 1), 2, (4, 4, 3, 3, 2))
RECIPE = replace(
    Recipe(), layout=TINY, preparation=Preparation(3.0, 64, (0.0, 100.0)), batch=3, steps=12
)
STILL = Augmentation(gamma=0, gain=0, bias=0, noise=0, blur_mm=0)


def dotted(seed=0):
    """A spine of bright dots in the dark, at their marks."""
    rng = np.random.default_rng(seed)
    marks = np.stack([np.linspace(20, 100, 5), rng.uniform(40, 60, 5)], axis=1)
    rows, columns = np.indices((120, 100))
    slices = np.zeros((3, 120, 100))
    for row, column in marks:
        slices[1] += 250 * np.exp(-0.5 * ((rows - row) ** 2 + (columns - column) ** 2) / 9)
    return Spine(slices.astype(np.uint8), marks.astype(np.float32), np.ones(5, np.float32), 4.0)


def centroid(image):
    weights = np.asarray(image, float)
    return np.average(np.indices(weights.shape).reshape(2, -1), axis=1, weights=weights.ravel())


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_landmarks_move_with_the_image(seed):
    """One dot a slice: wherever the slice goes, its mark lies on it."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(20, 60, (1, 1, 2)).astype(np.float32)
    rows, columns = np.indices((80, 80))
    dot = np.exp(-0.5 * ((rows - place[0, 0, 0]) ** 2 + (columns - place[0, 0, 1]) ** 2) / 9)
    how = replace(STILL, cut=0)
    image, where, seen = augmented(
        torch.from_numpy(dot[None].astype(np.float32)),
        torch.from_numpy(np.repeat(place, 5, axis=1)),
        torch.ones(1, 5, dtype=torch.bool),
        3.0, (96, 96), how, rng,
    )  # fmt: skip
    np.testing.assert_allclose(centroid(image[0, 0]), where[0, 0], atol=0.3)
    assert seen.all()


def test_a_cut_blackens_rows_and_unmarks_levels():
    spine = dotted()
    how = replace(STILL, cut=1.0, cut_mm=(-50.0, -50.0), rotation_deg=0, zoom=0, shift_mm=0)
    marks = torch.from_numpy(spine.marks_px)[None].repeat(40, 1, 1)
    slices = torch.full((40, 120, 100), 0.5)
    lost = set()
    image, where, seen = augmented(
        slices, marks, torch.ones(40, 5, dtype=torch.bool), 3.0, (160, 160), how,
        np.random.default_rng(0),
    )  # fmt: skip
    for n in range(40):
        rows = image[n, 0].amax(1)
        for k in range(5):
            row = round(float(where[n, k, 0]))
            assert bool(seen[n, k]) == bool(rows[row] > 0)
            if not seen[n, k]:
                lost.add(k)
    # 50 mm are 17 rows and the dots stand 20 rows apart: one level goes, at either end.
    assert lost == {0, 4}


def test_targets_are_probabilities_that_peak_at_the_marks():
    marks = torch.tensor([[[10.0, 20.0], [30.0, 20.0], [50.0, 20.0], [70.0, 21.0], [90.0, 22.0]]])
    across = torch.tensor([[0.0, 0.0, 9.0, 0.0, 0.0]])
    seen = torch.tensor([[True, True, True, True, False]])
    found = targets(marks, across, seen, 3.0, (100, 40), Marks())
    torch.testing.assert_close(found.sum(1), torch.ones(1, 100, 40))
    assert (found >= 0).all()
    tops = found[0, 1:].amax((1, 2))
    torch.testing.assert_close(tops, torch.tensor([0.9, 0.9, 0.9 * float(np.exp(-0.5)), 0.9, 0.0]))
    assert np.unravel_index(int(found[0, 4].argmax()), (100, 40)) == (70, 21)


def test_the_loss_is_least_where_the_answer_is_the_target():
    wanted = torch.softmax(torch.randn(2, 6, 8, 8), 1)
    best = heatmap_loss(wanted.log(), wanted, 40.0)
    for _ in range(5):
        assert heatmap_loss(wanted.log() + 0.3 * torch.randn_like(wanted), wanted, 40.0) > best


def test_spines_on_a_coarser_grid_keep_their_marks():
    spine = dotted()
    coarse = coarsened(spine, RECIPE)
    assert coarse.slices.shape == (3, 60, 50)
    for row, column in np.round(coarse.marks_px).astype(int):
        near = coarse.slices[1, row - 3 : row + 4, column - 3 : column + 4]
        at = np.unravel_index(int(near.argmax()), near.shape)
        assert max(abs(at[0] - 3), abs(at[1] - 3)) <= 1


def test_batches_repeat_with_their_generator():
    spines = [coarsened(dotted(seed), RECIPE) for seed in range(2)]
    one, two = (draw_batch(spines, RECIPE, np.random.default_rng(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert one[0].shape == (3, 1, 64, 64)
    assert one[1].shape == (3, 6, 64, 64)


def test_training_learns_and_repeats():
    losses = []
    nets = [train([dotted()], RECIPE, 3, lambda step, loss: losses.append(loss)) for _ in range(2)]
    assert losses[:12] == losses[12:]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.mean(losses[9:12]) < losses[0]


def judged(kind, error_mm, confidence):
    measures = {f"{level}_confidence": confidence for level in LEVELS} | {"l1_l2_entropy": 1.0}
    return Judged(0, kind, dict.fromkeys(LEVELS, error_mm), measures)


def test_what_is_said_of_a_localizer():
    found = [judged("normal", mm, 0.9 - mm / 100) for mm in (1.0, 2.0, 30.0)]
    found += [judged("lumbarized", 99.0, 0.3), judged("sacralized", 99.0, 0.85)]
    assert localization(found)["l5_s1"] == pytest.approx(
        {"median_mm": 2.0, "p95_mm": 27.2, "within_10_mm": 2 / 3, "n": 3}
    )
    # Low confidence is suspect: lumbarized below all three normals, sacralized below two.
    assert screening(found)["l5_s1_confidence"] == pytest.approx(5 / 6)
    assert screening(found, ("lumbarized",))["l5_s1_confidence"] == 1.0
    assert screening(found)["l1_l2_entropy"] == 0.5
