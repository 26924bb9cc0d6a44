"""Does the index say what is in the arrays, from memory or the store, and never of old ones?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hpc.run import make_plan, prepare_store
from jobs.ingest import ingest
from jobs.patches import index_file as module
from jobs.patches.index import LESION_SAMPLES, find_lesions, sample_brain
from jobs.patches.index_file import index_from_store, index_path, read_index, subject_indexes
from jobs.unet.normalize import brain_scale
from jobs.workbench import Workbench
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.errors import MissingArrayError
from lamstore.ledger import LedgerFile, done
from lamstore.store import Store
from lamstore.study import create_study
from lamstore.units import Unit
from tests.patches.conftest import build, known
from tests.running import write_cohort


def same(one, other):
    assert (one.made_from, one.grid, one.scales, one.contents, one.brain_voxels) == (
        other.made_from,
        other.grid,
        other.scales,
        other.contents,
        other.brain_voxels,
    )
    assert np.array_equal(one.brain_box, other.brain_box)
    assert np.array_equal(one.brain_samples, other.brain_samples)
    assert one.lesions.keys() == other.lesions.keys()
    for timepoint, found in one.lesions.items():
        for name, values in vars(found).items():
            assert np.array_equal(values, vars(other.lesions[timepoint])[name])


def test_known_subject(study):
    index = subject_indexes(study)["big"]
    one = known("big")
    found = index.lesions["t0"]
    assert sorted(found.voxels.tolist()) == [1, 2, 700]
    assert index.lesion_mm3() == pytest.approx(703 * 2)
    boxes = {tuple(map(tuple, box)) for box in found.boxes.tolist()}
    assert ((10, 20), (10, 20), (5, 12)) in boxes and ((30, 31), (30, 31), (15, 16)) in boxes
    assert index.brain_box.tolist() == [[3, 37], [3, 33], [2, 18]]
    assert index.brain_voxels == one.brain.sum()
    assert index.scales["t0", "t1w"] == brain_scale(one.images["t1w"].astype(np.float32), one.brain)
    assert ("t0", "t1w") not in subject_indexes(study, ["small"])["small"].scales


def test_from_memory_and_from_the_store_alike(tmp_path):
    at_ingest = build(tmp_path / "a", index=True)
    later = build(tmp_path / "b")
    for subject, index in subject_indexes(later).items():
        same(index, read_index(at_ingest.path, subject))
        same(index, read_index(later.path, subject))


def test_kept_index_is_used_and_a_stale_or_broken_one_is_not(tmp_path, monkeypatch):
    study = build(tmp_path / "study", index=True)

    def unwanted(*_):
        raise AssertionError("the kept index should have been used")

    with monkeypatch.context() as patched:
        patched.setattr(module, "index_from_store", unwanted)
        assert set(subject_indexes(study)) == {"big", "small"}
    store = Store(study.store_path, writable=True)
    truth = np.zeros(known("big").grid.shape, np.uint8)
    truth[5, 5, 5] = 1
    arrays = subject_indexes(study)["big"].made_from
    written = store.write("lesion_truth", truth, subject="big", timepoint="t0")
    with LedgerFile(study.ledger.folder, "again", {}) as ledger:
        unit = Unit("ingest", subject="big", fingerprint="g")
        ledger.append(done(unit, {}, {**arrays, "lesion_truth@t0": written}, 0.0))
    assert subject_indexes(study)["big"].lesions["t0"].samples.tolist() == [[5, 5, 5]]
    for damage in (b"", b"no zip", index_path(study.path, "big").read_bytes()[:-100]):
        index_path(study.path, "big").write_bytes(damage)
        assert len(subject_indexes(study)["big"].lesions["t0"]) == 1


def test_a_subject_that_is_not_ingested(study):
    with pytest.raises(MissingArrayError, match="nobody"):
        subject_indexes(study, ["nobody"])


def test_empty_masks():
    lesions = find_lesions(np.zeros((4, 5, 6), bool), np.random.default_rng(0))
    assert len(lesions) == 0 and lesions.offsets.tolist() == [0]
    _, count, samples = sample_brain(np.zeros((4, 5, 6), bool), np.random.default_rng(0))
    assert count == 0 and samples.shape == (0, 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5))
def test_lesions_against_scipy(seed, density):
    random = np.random.default_rng(seed)
    truth = random.random((14, 13, 12)) < density
    found = find_lesions(truth, np.random.default_rng(1))
    labels, count = ndimage.label(truth, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    assert len(found) == count and sorted(found.voxels) == sorted(sizes)
    for lesion in range(count):
        points = found.samples[found.offsets[lesion] : found.offsets[lesion + 1]]
        assert len(np.unique(points, axis=0)) == min(found.voxels[lesion], LESION_SAMPLES)
        (number,) = set(labels[tuple(points.T)].tolist())
        assert number and sizes[number - 1] == found.voxels[lesion]
        box = ndimage.find_objects((labels == number).astype(int))[0]
        assert [[s.start, s.stop] for s in box] == found.boxes[lesion].tolist()


def test_ingest_leaves_the_index(tmp_path):
    root = write_cohort(tmp_path / "cohort", 1, scale=0.2)
    dataset = DatasetConfig(adapter="open-ms", root=root)
    study = create_study(tmp_path / "study", render_config(StudyConfig(dataset=dataset)))
    plan = make_plan(study)
    prepare_store(plan)
    bench, (unit,) = Workbench(study), plan.wanted.ingest
    outcome = ingest(bench, unit)
    index = read_index(study.path, unit.subject)
    assert set(index.lesions) == {"t0", "t1"} and index.made_from == outcome.arrays
    same(index, index_from_store(Store(study.store_path), unit.subject, outcome.arrays))
