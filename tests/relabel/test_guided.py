"""Around a centroid, does the localizer see the level that is there, and nothing beyond?"""

import shutil

import numpy as np
import pytest
import torch

from jobs.engines import EngineInput
from jobs.engines.vertebra_heatmap import VertebraHeatmap
from jobs.heatmap_measures import peaks
from jobs.heatmaps import LEVELS
from jobs.heatmaps.guided import REACH_MM, find_around
from jobs.heatmaps.inference import Machine, Member
from jobs.heatmaps.network import PUBLIC, HeatmapNet
from jobs.heatmaps.weights import PUBLIC_PREPARATION
from lamstore.config import HeatmapConfig
from lamstore.grid import Grid
from tests.relabel.conftest import spine


@pytest.fixture(scope="module")
def seen():
    """Spine, engine, its input, and the voxel of each landmark."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = spine(4)
    image = made.volume.astype(np.float32)
    grid = Grid.of(image.shape, made.affine)
    inputs = EngineInput("s1", "t0", "none", {"t2w": image}, np.ones(image.shape, bool), grid)
    engine = VertebraHeatmap.parse({"device": "cpu", "precision": "float32"})
    engine.load()
    yield made, engine, inputs, {level: made.voxel(level) for level in LEVELS}
    torch.set_num_threads(threads)


def world(grid, shape):
    voxels = np.indices(shape).reshape(3, -1).T
    return (voxels @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]).reshape(*shape, 3)


def test_every_level_is_found_where_it_is(seen):
    made, engine, inputs, centres = seen
    found = engine.around(inputs, centres)
    grid = found.grid or inputs.grid
    for i, level in enumerate(LEVELS):
        top = peaks(found.heatmap[:, i].mean(axis=0), grid, HeatmapConfig())[0]
        assert np.linalg.norm(top.position_mm - made.landmarks[level]) < 8, level
        assert top.height > 0.4


def test_nothing_counts_beyond_the_reach(seen):
    made, engine, inputs, centres = seen
    found = engine.around(inputs, {"l5_s1": centres["l5_s1"]})
    grid = found.grid or inputs.grid
    assert not found.heatmap[:, :4].any()
    assert not found.planes[:, :4].any()
    away = np.linalg.norm(world(grid, found.heatmap.shape[-3:]) - made.landmarks["l5_s1"], axis=-1)
    assert found.heatmap[:, 4].any()
    assert away[found.heatmap[:, 4].any(axis=0)].max() <= REACH_MM + 5  # half a slice beside it


def test_a_level_that_is_not_there_is_faint(seen):
    """Asked for L5/S1 where L2/3 is, two levels too high."""
    _, engine, inputs, centres = seen
    right, wrong = (
        engine.around(inputs, {"l5_s1": centres[level]}).planes[:, 4].mean(axis=0).max()
        for level in ("l5_s1", "l2_l3")
    )
    assert wrong < right / 4


def test_without_a_place_there_is_no_heat(seen):
    _, engine, inputs, _ = seen
    found = engine.around(inputs, {})
    assert not found.heatmap.any()
    assert not found.planes.any()


def test_the_public_network_sees_a_patch_with_the_place_in_its_middle():
    """Told by a network that answers brightness: a bright pixel comes out where it went in."""
    shown = []

    class Spy(torch.nn.Module):
        layout = PUBLIC

        def forward(self, slices):
            shown.append(slices)
            return torch.cat([torch.zeros_like(slices)] + [slices * 8] * 5, dim=1)

    assert HeatmapNet  # the spy stands for one
    stack = np.zeros((3, 400, 300), np.float32)
    stack[1, 390, 20] = 1
    member = Member(Spy(), PUBLIC_PREPARATION)
    at = {"l5_s1": np.array([1.2, 390, 20])}
    found = find_around([member], stack, (0.7, 0.7), at, Machine())
    assert shown[0].shape[-2:] == (160, 160)
    assert np.unravel_index(int(found.planes[0, 4].argmax()), (160, 160)) == (80, 80)
    assert found.found.slices == (1,)
    assert np.unravel_index(int(found.found.maps[0, 0, 4].argmax()), (400, 300)) == (390, 20)


def test_changed_centroids_are_another_engine_and_moved_ones_are_not(tmp_path):
    def digest(folder):
        return VertebraHeatmap.parse({"centroids": f"{folder}/{{subject}}_ctd.json"}).digest()

    here, there = tmp_path / "a", tmp_path / "b"
    here.mkdir()
    (here / "s1_ctd.json").write_text("[]")
    first = digest(here)
    shutil.copytree(here, there)  # with the times of the files
    assert digest(there) == first
    (there / "s1_ctd.json").write_text("[{}]")
    assert digest(there) != first
    (here / "s2_ctd.json").write_text("[]")
    assert digest(here) != first
    assert VertebraHeatmap.parse({}).digest() != first
