"""Is nobody on both sides, and does every fold have light and heavy cases?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.patches import splits as made
from jobs.patches.index_file import subject_indexes
from jobs.patches.splits import (
    Fold,
    hold_out,
    k_fold,
    leave_one_out,
    lesion_volumes,
    read_splits,
    refuse_leaks,
    write_splits,
)
from lamstore.errors import ConfigError

VOLUMES = st.dictionaries(st.text("abcdef", min_size=1), st.floats(0, 1e5), min_size=2, max_size=40)


@given(VOLUMES, st.integers(2, 10), st.integers(0, 2**32))
def test_k_fold(volumes, folds, seed):
    if folds > len(volumes):
        with pytest.raises(ConfigError, match="cannot be divided"):
            k_fold(volumes, folds, seed)
        return
    found = k_fold(volumes, folds, seed)
    assert found == k_fold(volumes, folds, seed)
    validated = [s for fold in found.folds for s in fold.validation]
    assert sorted(validated) == sorted(volumes)
    sizes = [len(fold.validation) for fold in found.folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in found.folds:
        assert sorted((*fold.train, *fold.validation)) == sorted(volumes)


def test_k_fold_is_stratified():
    volumes = {f"s{i:02d}": float(i**3) for i in range(40)}
    ranks = {s: i for i, s in enumerate(sorted(volumes, key=lambda s: volumes[s]))}
    for fold in k_fold(volumes, 4, seed=3).folds:
        # One of each group of four by volume.
        assert sorted(ranks[s] // 4 for s in fold.validation) == list(range(10))
    assert k_fold(volumes, 4, seed=3) != k_fold(volumes, 4, seed=4)


def test_leave_one_out_and_given():
    volumes = {"a": 1.0, "b": 2.0, "c": 0.0}
    assert [f.validation for f in leave_one_out(volumes).folds] == [("a",), ("b",), ("c",)]
    (fold,) = made.given(volumes, ["c", "a"]).folds
    assert fold == Fold(train=("b",), validation=("a", "c"))
    with pytest.raises(ConfigError, match="not there") as caught:
        made.given(volumes, ["z"])
    assert caught.value.got == "z"
    for wrong in (lambda: leave_one_out({"a": 1.0}), lambda: made.given(volumes, list(volumes))):
        with pytest.raises(ConfigError):
            wrong()


@given(VOLUMES, st.floats(0.01, 0.99), st.integers(0, 99))
def test_hold_out(volumes, share, seed):
    (fold,) = hold_out(volumes, share, seed).folds
    assert sorted((*fold.train, *fold.validation)) == sorted(volumes)
    wanted = np.clip(round(share * len(volumes)), 1, len(volumes) - 1)
    assert len(fold.validation) == wanted


def test_file(tmp_path):
    splits = k_fold({"a": 1.0, "b": 2.0, "José": 0.0}, 3)
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json") == splits
    with pytest.raises(ConfigError, match="absent"):
        read_splits(tmp_path / "absent.json")
    (tmp_path / "splits.json").write_text('{"kind": "kfold", "typo": 1}')
    with pytest.raises(ConfigError) as caught:
        read_splits(tmp_path / "splits.json")
    assert "typo" in caught.value.got


def test_leaks():
    contents = {
        "anna": {("t0", "flair"): "x1", ("t0", "t1w"): "x2"},
        "copy": {("t0", "flair"): "y1", ("t1", "t1w"): "x2"},
        "else": {("t0", "flair"): "z1"},
    }
    with pytest.raises(ConfigError, match="both training and validation") as caught:
        refuse_leaks(Fold(train=("anna", "else"), validation=("anna",)), contents)
    assert caught.value.got == "anna"
    with pytest.raises(ConfigError, match="same image") as caught:
        refuse_leaks(Fold(train=("anna", "else"), validation=("copy",)), contents)
    assert caught.value.got == "anna (t0 t1w) trains and copy (t1 t1w) validates"
    refuse_leaks(Fold(train=("anna", "copy"), validation=("else",)), contents)


def test_of_a_study(study):
    indexes = subject_indexes(study)
    volumes = lesion_volumes(indexes)
    assert volumes == {"big": pytest.approx(1406), "small": pytest.approx(2)}
    fold = leave_one_out(volumes).folds[0]
    refuse_leaks(fold, {s: index.contents for s, index in indexes.items()})
