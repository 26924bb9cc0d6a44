"""Centroids of other tools: where they are, what they call it, and what would fit better."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.heatmaps import LEVELS
from jobs.heatmaps.centroids import (
    Centroids,
    Frame,
    centroid_file,
    read_centroids,
    structure_name,
    write_centroids,
)
from jobs.heatmaps.places import gaps, labelled, level_centres, to_voxels, turned
from jobs.heatmaps.relabel import (
    evidence,
    relabelled_centroids,
    relabelled_mask,
    relabelling,
    suggest,
)
from lamstore.errors import GridError, MissingInputError, UnreadableInputError
from lamstore.grid import Grid

GRID = Grid.of((20, 60, 220), np.diag([3.0, 1.0, 1.0, 1.0]))
"""RAS."""


def column(labels, step=35, top=200):
    """Vertebrae at equal distances from the top down, as voxels of GRID."""
    return {label: np.array([10.0, 30.0, top - step * i]) for i, label in enumerate(labels)}


def heat(found, level_of_gap):
    """Heatmaps that claim gap i for level level_of_gap[i]."""
    heatmap = np.zeros((5, *GRID.shape), np.float32)
    for gap, level in zip(found, level_of_gap, strict=True):
        if 0 <= level < 5:
            x, y, z = np.round(gap.centre).astype(int)
            heatmap[level, x, y, z] = 0.9
    return heatmap


def test_files_of_verse_are_read_and_nan_is_left_out(tmp_path):
    path = tmp_path / "sub-1_ctd.json"
    path.write_text(
        '[{"direction": ["P", "I", "R"]}, {"label": 20, "X": 1.5, "Y": 2, "Z": 3},'
        ' {"label": 21, "X": NaN, "Y": 2, "Z": 3}]'
    )
    found = read_centroids(path)
    assert found == Centroids(("P", "I", "R"), {20: (1.5, 2.0, 3.0)})


SPINEPS = {"direction": ["P", "I", "R"], "format": "POI", "level_one_info": "Vertebra_Instance"}


@pytest.mark.parametrize(
    "parts",
    [
        {"20": {"50": [1, 2, 3], "100": [4, 5, 6], "42": [7, 8, 9]}, "120": {"50": [4, 5, 6]}},
        {"L1": {"Vertebra_Corpus": [1, 2, 3], "Vertebra_Disc": [4, 5, 6], "Endplate": [0, 0, 0]}},
        {"L1": {"50": [1, 2, 3]}, "120": {"50": [4, 5, 6]}},
    ],
)
def test_files_of_spineps_by_vertebra_and_part(tmp_path, parts):
    path = tmp_path / "a_ctd.json"
    path.write_text(json.dumps([SPINEPS, parts]))
    assert read_centroids(path).points == {20: (1, 2, 3), 120: (4, 5, 6)}


def test_labels_that_number_parts(tmp_path):
    """256 times the part, and the vertebra: 50 is its body, 100 the disc below."""
    path = tmp_path / "a_ctd.json"
    places = [(50 * 256 + 24, 1), (100 * 256 + 24, 2), (42 * 256 + 24, 3), (26, 4)]
    entries = [{"label": label, "X": x, "Y": 0, "Z": 0} for label, x in places]
    path.write_text(json.dumps([SPINEPS | {"format": "docker"}, *entries]))
    assert read_centroids(path).points == {24: (1, 0, 0), 124: (2, 0, 0), 26: (4, 0, 0)}


def test_the_image_that_a_file_counts_on_is_kept(tmp_path):
    path, copy = tmp_path / "a_ctd.json", tmp_path / "b_ctd.json"
    where = {"shape": [9, 8, 7], "zoom": [1, 1, 3], "origin": [5, 6, 7]}
    turn = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    path.write_text(json.dumps([SPINEPS | where | {"rotation": turn}, {"L1": {"50": [1, 2, 3]}}]))
    found = read_centroids(path)
    affine = ((0, 0, 3, 5), (-1, 0, 0, 6), (0, -1, 0, 7), (0, 0, 0, 1))
    assert found.frame == Frame((9, 8, 7), (1, 1, 3), affine)
    write_centroids(copy, found)
    assert read_centroids(copy) == found


def test_a_direction_that_its_rotation_contradicts(tmp_path):
    path = tmp_path / "a_ctd.json"
    header = SPINEPS | {"zoom": [1, 1, 1], "origin": [0, 0, 0], "rotation": np.eye(3).tolist()}
    path.write_text(json.dumps([header, {"L1": {"50": [1, 2, 3]}}]))
    with pytest.raises(UnreadableInputError, match="not a file"):
        read_centroids(path)


@given(st.dictionaries(st.integers(1, 228), st.tuples(*[st.floats(-1e3, 1e3)] * 3)))
@settings(max_examples=25, deadline=None)
def test_written_files_are_read_alike(tmp_path_factory, points):
    path = tmp_path_factory.mktemp("ctd") / "a_ctd.json"
    write_centroids(path, Centroids(("L", "A", "S"), points))
    assert read_centroids(path) == Centroids(("L", "A", "S"), points)


@pytest.mark.parametrize(
    "content",
    [
        "", "{}", "[]", '[{"label": 20, "X": 1, "Y": 2, "Z": 3}]', '[{"direction": ["P", "I"]}]',
        '[{"direction": ["P", "I", "X"]}]', '[{"direction": ["P", "I", "R"]}, {"label": 20}]',
        "[1, 2]", "\x00", '[{"direction": ["P", "A", "R"]}, {"label": 20, "X": 1, "Y": 2, "Z": 3}]',
        '[{"direction": ["P", "I", "R"]}, {"Lumbar": {"50": [1, 2, 3]}}]',
        '[{"direction": ["P", "I", "R"]}, {"L1": {"50": [1, 2]}}]',
    ],
)  # fmt: skip
def test_files_that_are_no_centroids(tmp_path, content):
    path = tmp_path / "a_ctd.json"
    path.write_text(content)
    with pytest.raises(UnreadableInputError) as caught:
        read_centroids(path)
    assert str(path) in str(caught.value)


def test_one_file_a_subject(tmp_path):
    pattern = f"{tmp_path}/sub-{{subject}}/*_ctd.json"
    with pytest.raises(MissingInputError, match="s1"):
        centroid_file(pattern, "s1")
    (tmp_path / "sub-s1").mkdir()
    (tmp_path / "sub-s1" / "a_ctd.json").write_text("[]")
    assert centroid_file(pattern, "s1").name == "a_ctd.json"
    (tmp_path / "sub-s1" / "b_ctd.json").write_text("[]")
    with pytest.raises(MissingInputError, match="2 files"):
        centroid_file(pattern, "s1")


def test_directions_are_those_of_the_turned_image():
    ras = to_voxels(Centroids(("R", "A", "S"), {20: (4, 5, 6)}), GRID)
    np.testing.assert_allclose(ras[20], (4, 5, 6))
    # P counts from the front: voxel 30 of 60 along A is 29 along P; I is 220 − 1 − z.
    pir = to_voxels(Centroids(("P", "I", "R"), {20: (29, 219, 7)}), GRID)
    np.testing.assert_allclose(pir[20], (7, 30, 0))


@given(st.permutations("RAS"), st.tuples(*[st.booleans()] * 3))
@settings(max_examples=20, deadline=None)
def test_a_place_is_the_same_in_every_direction(order, flips):
    """The same point, counted on the image turned any way, lies at the same voxel."""
    opposite = {"R": "L", "A": "P", "S": "I"}
    codes = tuple(opposite[c] if flip else c for c, flip in zip(order, flips, strict=True))
    other, world = turned(GRID, codes), GRID.matrix @ [4, 5, 6, 1]
    point = (np.linalg.inv(other.matrix) @ world)[:3]
    assert sorted(other.shape) == sorted(GRID.shape)
    found = to_voxels(Centroids(codes, {20: tuple(point)}), GRID)
    np.testing.assert_allclose(found[20], (4, 5, 6), atol=1e-9)


def test_another_image_is_refused_unless_it_says_where_it_lies():
    points = {20: (4.0, 5.0, 6.0)}
    for frame in (Frame(shape=(20, 60, 200)), Frame(spacing_mm=(1.0, 1.0, 1.0))):
        with pytest.raises(GridError, match="another image"):
            to_voxels(Centroids(("R", "A", "S"), points, frame), GRID)
    same = Frame(shape=GRID.shape, spacing_mm=GRID.spacing_mm)
    assert to_voxels(Centroids(("R", "A", "S"), points, same), GRID).keys() == {20}
    iso = ((1.0, 0, 0, 10), (0, 1, 0, 20), (0, 0, 1, 30), (0, 0, 0, 1))
    elsewhere = Frame((60, 60, 220), (1.0, 1.0, 1.0), iso)
    found = to_voxels(Centroids(("R", "A", "S"), {**points, 8: (4, 5, 900)}, elsewhere), GRID)
    assert found.keys() == {20}  # what its larger image has beyond ours is left out
    np.testing.assert_allclose(found[20], (14 / 3, 25, 36))
    with pytest.raises(GridError, match="outside"):
        to_voxels(Centroids(("R", "A", "S"), {8: (4, 5, 900)}, elsewhere), GRID)


def test_places_outside_of_the_image_are_refused():
    with pytest.raises(GridError, match="outside of the image") as caught:
        to_voxels(Centroids(("R", "A", "S"), {20: (1, 1, 1), 24: (1, 60, 1)}), GRID)
    assert "L5 at voxel [1, 60, 1]" in str(caught.value)


def test_labels_that_count_upwards_are_refused(tmp_path):
    down = {k: tuple(map(float, p)) for k, p in column([19, 20, 21, 22]).items()}
    to_voxels(Centroids(("R", "A", "S"), down), GRID)
    with pytest.raises(GridError, match="from below upwards"):
        to_voxels(Centroids(("R", "A", "I"), down), GRID)
    path = tmp_path / "s1_ctd.json"
    write_centroids(path, Centroids(("R", "A", "I"), down))
    with pytest.raises(GridError, match=r"s1: s1_ctd.json: the labels"):
        labelled(path, GRID, "s1")


def test_a_file_without_a_lumbar_level_is_refused(tmp_path):
    path = tmp_path / "s1_ctd.json"
    points = {k: tuple(map(float, p)) for k, p in column([17, 18, 19]).items()}
    write_centroids(path, Centroids(("R", "A", "S"), points))
    with pytest.raises(MissingInputError, match="no lumbar level") as caught:
        labelled(path, GRID, "s1")
    assert "T10, T11, T12" in str(caught.value)


def test_structures_have_names():
    assert [structure_name(k) for k in (8, 28, 24, 26, 124, 224, 41)] == [
        "T1", "T13", "L5", "S1", "disc L5", "endplate L5", "41",
    ]  # fmt: skip


def test_a_disc_of_its_own_is_taken_before_the_middle_of_its_neighbours():
    points = column([20, 21, 22]) | {121: np.array([1.0, 2.0, 3.0])}
    first, second = gaps(points)
    np.testing.assert_allclose(first.centre, (10, 30, 182.5))
    np.testing.assert_allclose(second.centre, (1, 2, 3))
    assert set(level_centres([first, second])) == {"l1_l2", "l2_l3"}


def test_the_last_gap_ends_at_the_sacrum():
    assert list(level_centres(gaps(column([20, 21, 22, 23, 24, 26])))) == list(LEVELS)


def test_labels_that_agree_stay():
    found = gaps(column([20, 21, 22, 23, 24, 26], step=30))
    claims = evidence(heat(found, range(5)), found, GRID)
    np.testing.assert_allclose(claims, 0.9 * np.eye(5), atol=1e-6)
    assert suggest(claims, found).shift == 0


def test_a_count_that_began_one_too_high_is_moved_down():
    """The tool calls T12 L1: its L1/2 is where the heatmaps have nothing, its L2/3 is L1/2."""
    found = gaps(column([20, 21, 22, 23, 24, 25, 26], step=25))
    levels = range(-1, 5)
    suggestion = suggest(evidence(heat(found, levels), found, GRID), found)
    assert suggestion.shift == -1
    assert suggestion.log_odds > 2
    assert not suggestion.sacrum_holds_l5
    mapping = relabelling([20, 21, 22, 23, 24, 25, 26, 125], suggestion.shift)
    assert mapping == {20: 19, 21: 20, 22: 21, 23: 22, 24: 23, 25: 24, 125: 124}


def test_a_sacrum_that_holds_l5_is_said():
    found = gaps(column([20, 21, 22, 23, 24, 26], step=30))
    suggestion = suggest(evidence(heat(found, range(-1, 4)), found, GRID), found)
    assert (suggestion.shift, suggestion.sacrum_holds_l5) == (-1, True)


def test_a_count_that_began_one_too_low_is_moved_the_other_way():
    found = gaps(column([19, 20, 21, 22, 23, 26], step=30))
    assert [gap.above for gap in found] == [19, 20, 21, 22, 23]
    suggestion = suggest(evidence(heat(found, range(5)), found, GRID), found)
    assert suggestion.shift == 1
    mapping = relabelling([18, 19, 20, 21, 22, 23, 24, 26, 119, 124], 1)
    assert mapping == {18: 19, 19: 20, 20: 21, 21: 22, 22: 23, 23: 24, 24: 26, 119: 120, 124: 126}


def test_t13_is_put_back_into_the_count():
    assert relabelling([18, 19, 28, 20, 21], 1) == {28: 20, 20: 21, 21: 22}
    assert relabelling([18, 19, 28, 20, 21], 0) == {}


def test_flat_heatmaps_move_nothing():
    found = gaps(column([20, 21, 22, 23, 24, 26], step=30))
    assert suggest(np.full((5, 5), 0.2), found).shift == 0
    assert suggest(np.zeros((5, 5)), found).shift == 0


def test_evidence_reaches_as_far_as_its_radius():
    found = gaps(column([22, 23], step=20))
    heatmap = np.zeros((5, *GRID.shape), np.float32)
    x, y, z = np.round(found[0].centre).astype(int)
    heatmap[0, x + 4, y, z] = 0.5  # 12 mm
    heatmap[1, x + 5, y, z] = 0.5  # 15 mm
    np.testing.assert_allclose(evidence(heatmap, found, GRID)[0, :2], (0.5, 0))


def test_a_gap_outside_of_the_grid_has_no_evidence():
    found = gaps(column([22, 23], top=900))
    assert not evidence(np.ones((5, *GRID.shape), np.float32), found, GRID).any()


def test_masks_and_centroids_are_relabelled_in_copies():
    mask = np.array([0, 20, 21, 26], np.uint8)
    mapping = {20: 21, 21: 22}
    np.testing.assert_array_equal(relabelled_mask(mask, mapping), [0, 21, 22, 26])
    np.testing.assert_array_equal(mask, [0, 20, 21, 26])
    old = Centroids(("R", "A", "S"), {24: (1, 1, 1), 26: (2, 2, 2)})
    new = relabelled_centroids(old, {24: 26})
    assert new.points == {26: (2, 2, 2)}


def test_centroids_survive_json_of_integers(tmp_path):
    path = tmp_path / "a_ctd.json"
    path.write_text(json.dumps([{"direction": list("RAS")}, {"label": 20, "X": 1, "Y": 2, "Z": 3}]))
    assert read_centroids(path).points == {20: (1.0, 2.0, 3.0)}
