"""Does the conformance suite of localizers hold, and can one break it?"""

from typing import ClassVar

import numpy as np
import pytest

from jobs.engines.base import EngineInput, Localization
from jobs.locate import check_localization, heatmap_measures, stored_heatmap
from lamstore.config import HeatmapConfig
from lamstore.errors import EngineError
from lamstore.grid import Grid
from tests.engines.conformance import LocalizerConformance
from tests.spine.balls import HEIGHTS_MM, spine_grid, spine_of_balls
from tests.spine.spots import Spots


def spine_input(image):
    grid = spine_grid()
    return EngineInput("s1", "t0", "none", {"t2w": image}, np.ones(grid.shape, bool), grid)


class TestSpots(LocalizerConformance):
    other_options: ClassVar = {"widths": [30]}

    @pytest.fixture
    def engine(self):
        return Spots({})

    @pytest.fixture
    def inputs(self):
        return spine_input(spine_of_balls(HEIGHTS_MM["normal"]))


class TestContract:
    engine = Spots({})
    shape = (2, 5, *spine_grid().shape)

    def refused(self, heatmap, planes=None):
        with pytest.raises(EngineError, match="spots returned") as caught:
            check_localization(self.engine, Localization(heatmap, planes), spine_grid(), "a unit")
        assert "a unit" in str(caught.value)
        return caught.value

    def test_a_sound_output_passes(self):
        sound = Localization(np.ones(self.shape, np.float32), np.zeros((2, 5, 7, 9), np.float32))
        check_localization(self.engine, sound, spine_grid(), "a unit")

    def test_another_number_of_levels_is_refused(self):
        assert "(2, 4," in self.refused(np.zeros((2, 4, *self.shape[2:]), np.float32)).got

    @pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
    def test_values_outside_of_0_to_1_are_refused(self, value):
        bad = np.zeros(self.shape, np.float32)
        bad[1, 3, 0, 0, 0] = value
        self.refused(bad)

    def test_planes_of_another_ensemble_are_refused(self):
        self.refused(np.zeros(self.shape, np.float32), np.zeros((1, 5, 7, 9), np.float32))


def test_measures_of_planes_are_those_of_the_network_not_of_the_heatmap():
    planes = np.zeros((1, 5, 160, 160), np.float32)
    planes[0, :, 40, 50] = 0.25
    engine = Spots({"widths": [30]})
    found = Localization(np.full((1, 5, *spine_grid().shape), 0.5, np.float32), planes)
    measures = heatmap_measures(engine, found, spine_grid(), HeatmapConfig())
    assert measures["l5_s1_confidence"] == 0.25
    assert measures["l5_s1_entropy"] == pytest.approx(0, abs=1e-6)


def test_the_columns_of_the_prior_come_first_and_one_member_has_no_disagreement():
    image = spine_of_balls(HEIGHTS_MM["normal"])
    for options, several in (({}, True), ({"widths": [30]}, False)):
        engine = Spots(options)
        found = engine.locate(spine_input(image))
        names = list(heatmap_measures(engine, found, spine_grid(), HeatmapConfig()))
        assert names[:4] == [
            "l1_l2_confidence", "l1_l2_entropy", "l1_l2_spatial_entropy", "l2_l3_confidence",
        ]  # fmt: skip
        assert names[14] == "l5_s1_spatial_entropy"
        assert ("l5_s1_mutual_information" in names) == several
        assert ("l5_s1_peak_spread_mm" in names) == several


GRID = Grid.of((4, 5, 6), np.eye(4))


def test_what_is_stored_is_the_mean_in_steps_of_1_2048():
    maps = np.random.default_rng(0).random((3, 2, 4, 5, 6), np.float32)
    stored = stored_heatmap(Localization(maps), GRID)
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, maps.mean(axis=0), atol=1 / 4096 + 1e-6)
    assert not stored_heatmap(Localization(np.full_like(maps, 2e-4)), GRID).any()
