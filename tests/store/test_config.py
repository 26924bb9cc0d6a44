"""Does study.yaml decide results, and nothing else; do grids and errors behave?"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamstore import errors
from lamstore.config import EngineConfig, StudyConfig, digest, read_config, render_config
from lamstore.errors import ConfigError, LamstoreError, StudyLockedError
from lamstore.grid import Grid
from lamstore.study import Study, create_study, study_lock

PLAIN = "dataset: {adapter: open-ms, root: data}\n"


def parsed(tmp_path: Path, text: str) -> StudyConfig:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    return read_config(tmp_path / "study.yaml")


def test_a_root_is_relative_to_the_study(tmp_path: Path):
    assert parsed(tmp_path, PLAIN).dataset.root == tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (PLAIN + "shift: {}\n", "shift: Extra inputs"),
        (PLAIN + "metrics: {connectivity: 7}\n", "metrics.connectivity"),
        (PLAIN + "metrics: {min_component_mm3: -1}\n", "min_component_mm3"),
        (PLAIN + "engines: [{engine: a}, {engine: a}]\n", "distinct labels"),
        (PLAIN + "engines: [{engine: a, label: 'a/b'}]\n", "engines.0.label"),
        (PLAIN + "shifts: {names: [warp]}\n", "shifts.names"),
        ("dataset: {adapter: open-ms}\n", "dataset.root"),
        ("just text\n", "file"),
        ("", "file"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, named: str):
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, text)
    assert named in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_text_that_is_no_yaml(tmp_path: Path):
    with pytest.raises(ConfigError, match="not valid YAML"):
        parsed(tmp_path, "a: [1\n")
    (tmp_path / "study.yaml").write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config(tmp_path / "study.yaml")


def test_no_study_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ConfigError, match="no study") as caught:
        Study.at(tmp_path)
    assert "lam new" in str(caught.value)


def test_a_study_is_not_made_twice(tmp_path: Path):
    made = create_study(tmp_path / "ä b", PLAIN)
    assert made.config.dataset.adapter == "open-ms"
    with pytest.raises(ConfigError, match="a study already"):
        create_study(tmp_path / "ä b", PLAIN)


def test_an_engine_needs_no_label(tmp_path: Path):
    config = parsed(tmp_path, PLAIN + "engines: [{engine: a}, {engine: a, label: b}]\n")
    assert [engine.name for engine in config.engines] == ["a", "b"]
    assert EngineConfig(engine="a").name == "a"


def test_a_rendered_study_reads_back(tmp_path: Path):
    config = parsed(tmp_path, PLAIN + "qc: {failure_dice: 0.2}\n")
    again = parsed(tmp_path, render_config(config))
    assert again == config
    assert digest(again) == digest(config)


def test_digests_tell_values_and_not_spelling():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest(["a", "bc"]) != digest(["ab", "c"])
    # On every machine and for ever: ledgers are compared across them.
    assert digest({"a": [1, "x", None]}) == "ba2c6d96b0367f59796f79eb5213084b"


def test_a_second_lock_is_refused_and_says_whose_the_first_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lamstore.study.PATIENCE_S", 0.1)
    study = create_study(tmp_path / "s", PLAIN)
    with (
        study_lock(study),
        pytest.raises(StudyLockedError, match="another run") as caught,
        study_lock(study),
    ):
        pytest.fail("two runs hold the lock")
    assert caught.value.got.startswith("pid ")
    with study_lock(study):
        pass


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", [k for k in KINDS if issubclass(k, LamstoreError)])
def test_errors_cross_processes(kind: type[LamstoreError]):
    error = kind("what", got="g", expected="e", remedy="r")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "what\n  got: g\n  expected: e\n  try: r"
    assert str(kind("only this")) == "only this"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "x"), True),
        (OSError(122, "x"), True),
        (RuntimeError("codec: No space left on device (os error 28)"), True),
        (OSError(13, "denied"), False),
        (ValueError("no room for doubt"), False),
    ],
)
def test_a_full_disk_is_known_whoever_says_it(error: Exception, full: bool):
    assert errors.means_no_space(error) is full


sizes = st.floats(0.2, 8.0)


@given(sizes, sizes, sizes, st.floats(-3, 3), st.floats(-3, 3))
def test_spacing_and_volume_of_a_turned_grid(x: float, y: float, z: float, a: float, b: float):
    def turn(angle: float, axis: int) -> np.ndarray:
        rest = [i for i in range(3) if i != axis]
        matrix = np.eye(3)
        matrix[np.ix_(rest, rest)] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
        return matrix

    affine = np.eye(4)
    affine[:3, :3] = turn(a, 0) @ turn(b, 2) @ np.diag([-x, y, z])
    grid = Grid.of((4, 5, 6), affine)
    np.testing.assert_allclose(grid.spacing_mm, (x, y, z), rtol=1e-9)
    assert grid.voxel_volume_mm3 == pytest.approx(x * y * z, rel=1e-9)
    assert grid.mismatch(Grid.of((4, 5, 6), affine + 9e-4)) is None
    assert "affines differ" in str(grid.mismatch(Grid.of((4, 5, 6), affine + 2e-3)))
    assert "shape" in str(grid.mismatch(Grid.of((4, 5, 7), affine)))


def test_volume_of_a_sheared_grid_is_that_of_its_parallelepiped():
    affine = np.eye(4)
    affine[0, 1] = 0.5  # sheared: the product of the spacings would be too much
    assert Grid.of((2, 2, 2), affine).voxel_volume_mm3 == pytest.approx(1.0)


def test_a_cohort_may_be_taken_in_without_an_engine(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("dataset: {adapter: open-ms, root: data}\nengines: []\n")
    config = read_config(path)
    assert config.engines == () and config.variants == ()
