"""The engine keeps the contract of localizers, with the weights that come with lamstore."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
import torch
from conformance import LocalizerConformance

from jobs.engines import EngineInput, load_engine
from jobs.engines.vertebra_heatmap import DEFAULT, VertebraHeatmap
from jobs.heatmaps import LEVELS
from jobs.heatmaps.centroids import Centroids, write_centroids
from jobs.locate import heatmap_measures
from lamstore.config import HeatmapConfig
from lamstore.errors import ConfigError, GridError, MissingInputError, MissingWeightsError
from lamstore.grid import Grid


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def series(spine):
    image = spine.volume.astype(np.float32)
    grid = Grid.of(image.shape, spine.affine)
    return EngineInput("s1", "t0", "none", {"t2w": image}, np.ones(image.shape, bool), grid)


class TestConformance(LocalizerConformance):
    other_options: ClassVar = {"views": ["plain", "larger"]}

    @pytest.fixture
    def engine(self):
        return VertebraHeatmap.parse({"device": "cpu", "precision": "float32"})

    @pytest.fixture
    def inputs(self, series):
        return series

    def test_padding_outside_of_the_brain_changes_nothing(self):
        pytest.skip("percentiles are of the whole field of view: a localizer has no brain mask")


def test_every_level_lies_near_its_landmark(spine, series):
    engine = VertebraHeatmap.parse({"device": "cpu"})
    engine.load()
    found = heatmap_measures(engine, engine.locate(series), series.grid, HeatmapConfig())
    for level in LEVELS:
        peak = [found[f"{level}_peak_{axis}_mm"] for axis in "xyz"]
        assert np.linalg.norm(peak - spine.landmarks[level]) < 8, level


def test_the_orientation_of_the_array_does_not_matter(series):
    engine = VertebraHeatmap.parse({"device": "cpu", "precision": "float32"})
    engine.load()
    image, grid = series.images["t2w"], series.grid
    turned = image.transpose(2, 1, 0)[:, ::-1]
    back = np.eye(4)[[2, 1, 0, 3]]
    back[1, [1, 3]] = -1, image.shape[1] - 1
    other = replace(series, images={"t2w": turned}, grid=Grid.of(turned.shape, grid.matrix @ back))
    here, there = engine.locate(series).heatmap, engine.locate(other).heatmap
    restored = there[..., ::-1, :].transpose(0, 1, 4, 3, 2)
    np.testing.assert_allclose(restored, here, atol=1e-4)


def test_middle_answers_on_one_slice(series):
    engine = VertebraHeatmap.parse({"device": "cpu", "slices": "middle"})
    engine.load()
    found = engine.locate(series)
    assert found.planes is not None
    assert found.planes.shape[2:] == (160, 160)
    assert np.flatnonzero(found.heatmap.any(axis=(0, 1, 2, 3))).tolist() == [
        series.grid.shape[2] // 2
    ]


def test_guided_by_centroids(spine, series, tmp_path):
    voxels = {24: spine.centroids["L5"], 26: spine.centroids["S1"]}
    inverse = np.linalg.inv(spine.affine)
    points = {k: tuple((inverse @ [*p, 1])[:3]) for k, p in voxels.items()}
    axes = nib.aff2axcodes(spine.affine)
    write_centroids(tmp_path / "s1_ctd.json", Centroids(axes, points))
    engine = VertebraHeatmap.parse({"centroids": f"{tmp_path}/{{subject}}_ctd.json"})
    engine.load()
    found = engine.locate(series)
    assert not found.heatmap[:, :4].any()
    at = np.unravel_index(int(found.heatmap[0, 4].argmax()), found.grid.shape)
    there = (found.grid.matrix @ [*at, 1])[:3]
    assert np.linalg.norm(there - spine.landmarks["l5_s1"]) < 15
    with pytest.raises(MissingInputError, match="s2"):
        engine.locate(replace(series, subject="s2"))


def test_members_are_named_by_files_and_views():
    names = [path.stem for path in sorted(DEFAULT.glob("*.safetensors"))]
    assert names
    assert load_engine("vertebra-heatmap", {}).members == tuple(names)
    two = load_engine("vertebra-heatmap", {"views": ["plain", "darker"]}).members
    assert two == tuple(f"{n}/{v}" for n in names for v in ("plain", "darker"))


def test_moved_weights_are_the_same_weights_and_others_are_not(tmp_path):
    files = sorted(DEFAULT.glob("*.safetensors"))[:2]
    (tmp_path / "x").mkdir()
    copy = tmp_path / "x" / files[0].name
    copy.write_bytes(files[0].read_bytes())
    digests = [VertebraHeatmap.parse({"weights": [p]}).digest() for p in (files[0], copy)]
    assert digests[0] == digests[1]
    assert VertebraHeatmap.parse({"weights": files}).digest() not in digests
    quick = VertebraHeatmap.parse({"weights": [copy], "batch": 3, "device": "cpu"})
    assert quick.digest() == digests[0]


def test_missing_weights_are_never_replaced(tmp_path, monkeypatch):
    engine = VertebraHeatmap.parse({"weights": [tmp_path / "none.safetensors"]})
    with pytest.raises(MissingWeightsError):
        engine.digest()
    with pytest.raises(MissingWeightsError):
        engine.load()
    monkeypatch.setattr("jobs.engines.vertebra_heatmap.DEFAULT", tmp_path)
    with pytest.raises(MissingWeightsError, match="no weights") as caught:
        VertebraHeatmap.parse({}).digest()
    assert caught.value.remedy


@pytest.mark.parametrize(
    "options",
    [
        {"views": []},
        {"views": ["plain", "plain"]},
        {"views": ["mirrored"]},
        {"centroids": "ctd.json"},
        {"centroids": "{subject}", "slices": "middle"},
        {"centroids": "{subject}", "views": ["larger"]},
        {"device": "abacus"},
        {"batch": 0},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError, match="vertebra-heatmap"):
        VertebraHeatmap.parse(options)


def test_an_axial_series_is_refused_by_name(series):
    engine = VertebraHeatmap.parse({"device": "cpu"})
    engine.load()
    axial = Grid.of(series.grid.shape, np.diag([0.5, 0.5, 4.0, 1.0]))
    with pytest.raises(GridError, match="s1 t0 t2w: this is not a sagittal series"):
        engine.locate(replace(series, grid=axial))


@pytest.mark.real_data
def test_a_real_spine_without_its_sacrum_leaves_l5_s1_unsure():
    path = Path(__file__).resolve().parents[2] / "../shared/data/spine" / "t2_lumbar.nii.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    image = nib.load(path)
    voxels = np.asarray(image.dataobj, dtype=np.float32)[::4]
    affine = image.affine @ np.diag([4.0, 1, 1, 1])
    grid = Grid.of(voxels.shape, affine)
    engine = VertebraHeatmap.parse({"device": "cpu"})
    engine.load()
    everywhere = np.ones(voxels.shape, bool)
    found = engine.locate(EngineInput("real", "t0", "none", {"t2w": voxels}, everywhere, grid))
    measures = heatmap_measures(engine, found, grid, HeatmapConfig())
    assert measures["l5_s1_confidence"] < 0.5
