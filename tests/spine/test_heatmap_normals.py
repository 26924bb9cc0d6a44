"""Surprise ranks by how few normals are as suspicious, whichever way a measure points."""

import numpy as np
import pytest

from jobs.heatmap_normals import SUSPICIOUS, collected, read_normals, surprise, write_normals
from jobs.locate import heatmap_measures
from lamstore.config import HeatmapConfig
from lamstore.errors import UnreadableInputError
from tests.spine.balls import HEIGHTS_MM, spine_of_balls
from tests.spine.spots import LEVELS, Spots
from tests.spine.test_localizer import spine_grid, spine_input

NORMALS = {
    "l5_s1_entropy": np.arange(1.0, 10.0),
    "l5_s1_confidence": np.linspace(0.1, 0.9, 9),
}


def measured(entropy, confidence):
    return {"l5_s1_entropy": entropy, "l5_s1_confidence": confidence}


@pytest.mark.parametrize(
    ("entropy", "confidence", "shares"),
    [
        (10.0, 0.05, (0.1, 0.1)),  # beyond all nine: one of ten, itself
        (0.0, 0.95, (1.0, 1.0)),
        (5.0, 0.5, (0.6, 0.6)),  # five normals of nine are at least so
        (8.5, 0.95, (0.2, 1.0)),
        (float("nan"), 0.95, (0.1, 1.0)),  # not defined: nothing is more suspicious
    ],
)
def test_surprise_is_the_mean_logarithm_of_shares(entropy, confidence, shares):
    found = surprise(measured(entropy, confidence), "l5_s1", NORMALS)
    assert found == pytest.approx(-np.log(shares).mean())


def test_what_normals_have_no_number_for_does_not_count():
    spines = [
        {f"{level}_{name}": value for level in ("l1_l2", "l5_s1") for name, value in one.items()}
        | {"l1_l2_spacing_deviation": float("nan")}
        for one in (
            dict(zip(SUSPICIOUS, (2.0, 0.1, 0.0, 0.0, 0.5), strict=True)),
            dict(zip(SUSPICIOUS, (1.0, 0.2, 0.3, 0.1, 0.7), strict=True)),
        )
    ]
    normals = collected(spines, ("l1_l2", "l5_s1"))
    assert normals["l5_s1_entropy"].tolist() == [1.0, 2.0]
    assert "l1_l2_spacing_deviation" not in normals
    # Of the two and itself: 2, 3, 3 and 2 are at least so.
    shares = np.array([2, 3, 3, 2]) / 3
    assert surprise(spines[0], "l1_l2", normals) == pytest.approx(-np.log(shares).mean())


def test_a_file_is_of_the_weights_that_it_names(tmp_path):
    path, digests = tmp_path / "normals.json", {"a": "1", "b": "2"}
    assert read_normals(path, digests) == {}
    write_normals(path, NORMALS, digests)
    found = read_normals(path, digests)
    assert found.keys() == NORMALS.keys()
    np.testing.assert_allclose(found["l5_s1_confidence"], NORMALS["l5_s1_confidence"], rtol=1e-4)
    assert read_normals(path, {"a": "1"}) == {}
    path.write_text("[]")
    with pytest.raises(UnreadableInputError, match=r"normals\.json"):
        read_normals(path, digests)


def test_columns_are_there_where_the_engine_knows_normals():
    class Knowing(Spots):
        normals = dict.fromkeys([f"{level}_confidence" for level in LEVELS], np.full(99, 2.0))

    given = spine_input(spine_of_balls(HEIGHTS_MM["normal"]))
    for engine, there in ((Spots({}), False), (Knowing({}), True)):
        found = heatmap_measures(engine, engine.locate(given), spine_grid(), HeatmapConfig())
        assert [f"{level}_surprise" in found for level in LEVELS] == [there] * 5
    assert found["l5_s1_surprise"] == pytest.approx(np.log(100))
