"""The segmentation table's row: known cubes, empty masks, where nDSC is counted."""

from math import isnan

import numpy as np
import pytest

from jobs.metrics.lesionwise import DetectionRule
from jobs.metrics.segmentation import SegmentationParams, segmentation_metrics
from lamstore.errors import ConfigError, GridError, MissingInputError
from lamstore.grid import Grid

GRID = Grid.of((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
COLUMNS = [
    "dice", "iou", "sensitivity", "precision", "ndsc", "lesion_f1", "lesion_recall",
    "lesion_precision", "n_lesions_truth", "n_lesions_predicted", "hd95_mm", "assd_mm",
    "volume_error_mm3", "volume_truth_mm3", "volume_predicted_mm3",
]  # fmt: skip


def cubes():
    """Truth of two cubes of 4³; the mask has the first, shifted by one voxel along z."""
    truth, mask = np.zeros((2, *GRID.shape), bool)
    truth[2:6, 2:6, 2:6] = truth[12:16, 12:16, 12:16] = True
    mask[2:6, 2:6, 3:7] = True
    return mask, truth


def test_shifted_cube_and_a_missed_one():
    found = segmentation_metrics(*cubes(), GRID)
    assert list(found) == COLUMNS
    assert found["dice"] == pytest.approx(2 * 48 / (64 + 128))
    assert found["sensitivity"] == 48 / 128
    assert found["precision"] == 48 / 64
    assert found["lesion_f1"] == pytest.approx(2 / 3)
    assert (found["lesion_recall"], found["lesion_precision"]) == (0.5, 1)
    assert (found["n_lesions_truth"], found["n_lesions_predicted"]) == (2, 1)
    assert found["volume_truth_mm3"] == 256
    assert found["volume_predicted_mm3"] == 128
    assert found["volume_error_mm3"] == -128


def test_distances_of_a_shifted_cube():
    mask, truth = cubes()
    truth[12:, 12:, 12:] = False
    found = segmentation_metrics(mask, truth, GRID)
    assert found["hd95_mm"] == 2.0
    assert 0 < found["assd_mm"] < 2


def test_empty_masks():
    none, lesion = np.zeros(GRID.shape, bool), cubes()[1]
    both = segmentation_metrics(none, none, GRID)
    assert [both[k] for k in ("dice", "iou", "ndsc", "lesion_f1")] == [1, 1, 1, 1]
    assert [both[k] for k in ("hd95_mm", "assd_mm", "volume_error_mm3")] == [0, 0, 0]
    missed = segmentation_metrics(none, lesion, GRID)
    assert [missed[k] for k in ("dice", "ndsc", "lesion_f1", "sensitivity")] == [0, 0, 0, 0]
    assert all(isnan(missed[k]) for k in ("precision", "lesion_precision", "hd95_mm", "assd_mm"))


def test_ndsc_in_the_brain_does_not_depend_on_the_field_of_view():
    mask, truth = cubes()
    brain = np.ones(GRID.shape, bool)
    padded = [np.pad(side, 10) for side in (mask, truth)]
    wide = Grid.of((40, 40, 40), GRID.matrix)
    inside = SegmentationParams(ndsc_domain="brain")
    small = segmentation_metrics(mask, truth, GRID, brain, inside)
    large = segmentation_metrics(*padded, wide, np.pad(brain, 10), inside)
    assert small == pytest.approx(large)
    on_grid = segmentation_metrics(*padded, wide)
    assert on_grid["ndsc"] > small["ndsc"]
    assert on_grid["dice"] == small["dice"]
    with pytest.raises(MissingInputError):
        segmentation_metrics(mask, truth, GRID, None, inside)
    with pytest.raises(ConfigError):
        SegmentationParams(ndsc_domain="head")


def test_the_detection_rule_is_a_parameter():
    mask, truth = cubes()
    strict = SegmentationParams(detection=DetectionRule(iou_threshold=0.7))
    assert segmentation_metrics(mask, truth, GRID, params=strict)["lesion_f1"] == 0


def test_shapes_must_be_the_grids():
    mask, truth = cubes()
    with pytest.raises(GridError, match="grid"):
        segmentation_metrics(mask[:-1], truth[:-1], GRID)
