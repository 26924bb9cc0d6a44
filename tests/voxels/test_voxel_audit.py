"""The cohort's histograms are those of all its voxels put together."""

import json

import numpy as np
import pandas as pd
import pytest

import lamstore
from analysis import calibration as cal
from analysis.tally import MINIMUM_PROBABILITY
from analysis.voxel_tables import calibration_summary, write_voxel_audit
from analysis.voxels import tally_graphs, voxel_audit
from benchmarks.cohort_voxels import GROUP, NAME, generate
from lamstore.store import Store
from lamstore.tables import consolidate, unconsolidate


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("voxels") / "study", 3)


@pytest.fixture(scope="module")
def audit(study):
    return voxel_audit(study)


def flat(study, name):
    """One vector of the brain's voxels of every scan, read without the audit's code."""
    store = Store(study.store_path)
    parts = []
    for subject in store.labels("subject"):
        brain = store.read("brainmask", subject=subject)[0] > 0
        for timepoint in ("t0", "t1"):
            at = {"subject": subject, "timepoint": timepoint}
            shift = {"shift": "none"} if name.startswith("engines") else {}
            values = store.read(name, **at, **shift)
            parts.append(values.reshape(-1, *brain.shape)[:, brain])
    return np.concatenate(parts, axis=1)


def test_reliability_is_that_of_all_voxels_together(study, audit):
    (found,) = audit.found
    assert (found.engine, found.harmonization, found.truth) == (NAME, "none", "lesion")
    assert (found.tally.scans, found.tally.unreadable) == (6, 0)
    mean = flat(study, f"{GROUP}/probability").mean(axis=0, dtype=np.float32)
    truth = flat(study, "lesion_truth")[0]
    whole = cal.reliability(mean, truth, minimum_probability=MINIMUM_PROBABILITY)
    np.testing.assert_array_equal(found.tally.reliability.count, whole.count)
    assert found.tally.reliability.dropped_truth == whole.dropped_truth
    assert found.tally.reliability.ece == pytest.approx(whole.ece)
    assert 0 < whole.ece < 0.5


def test_retention_is_that_of_all_voxels_together(study, audit):
    curve = audit.found[0].curves()["ens_var"]
    wrong = flat(study, f"{GROUP}/mask")[0] != flat(study, "lesion_truth")[0]
    assert curve.error[-1] == pytest.approx(wrong.mean())
    certain = np.argsort(flat(study, f"{GROUP}/uncertainty")[0], kind="stable")
    exact = np.concatenate([[0], np.cumsum(wrong[certain])]) / wrong.size
    area = np.trapezoid(exact, np.linspace(0, 1, exact.size))
    assert curve.area == pytest.approx(area, rel=0.02)
    assert curve.gain > 0.3


def test_a_subject_without_metrics_is_left_out(tmp_path):
    """An array of zeros may be a scan that was never done: the metrics tell."""
    study = generate(tmp_path / "study", 2)
    unconsolidate(study.store_path)
    Store(study.store_path, writable=True).array(f"{GROUP}/metrics/volume_truth_mm3")[1] = np.nan
    consolidate(study.store_path)
    assert voxel_audit(study).found[0].tally.scans == 2


def test_a_torn_scan_is_counted_and_takes_nothing_with_it(tmp_path):
    study = generate(tmp_path / "study", 2)
    at = {"subject": "s00001", "timepoint": "t1", "shift": "none"}
    (shard,) = Store(study.store_path).shard_paths(f"{GROUP}/probability", **at)
    shard.write_bytes(shard.read_bytes()[:-200])
    tally = voxel_audit(study).found[0].tally
    assert (tally.scans, tally.unreadable) == (3, 1)


def test_change_truth_where_there_is_no_lesion_truth(finished):
    """The same subjects with their lesion truths taken away are judged by change."""
    with_lesions = voxel_audit(finished)
    assert [found.truth for found in with_lesions.found] == ["lesion"]
    unconsolidate(finished.store_path)
    metrics = "engines/flair-zscore/metrics"
    del Store(finished.store_path, writable=True).root[f"{metrics}/volume_truth_mm3"]
    consolidate(finished.store_path)
    (found,) = voxel_audit(finished).found
    store = Store(finished.store_path)
    wrong, voxels = 0, 0
    for subject in store.labels("subject"):
        brain = store.read("brainmask", subject=subject)[0] > 0
        masks = [
            store.read("engines/flair-zscore/mask", subject=subject, timepoint=t, shift="none")
            for t in ("t0", "t1")
        ]
        changed = (masks[0] != masks[1])[0, 0, 0]
        truth = store.read("change_truth", subject=subject)[0] > 0
        wrong += int((changed != truth)[brain].sum())
        voxels += int(brain.sum())
    assert (found.truth, found.tally.scans) == ("change", 2)
    assert found.curves()["ens_var"].error[-1] == pytest.approx(wrong / voxels)


def test_the_graph_reads_nothing_before_it_is_computed(study, monkeypatch):
    def refuse(*_):
        raise AssertionError("voxels were read")

    monkeypatch.setattr("lamstore.blocks.BlockReader.read", refuse)
    graphs = tally_graphs(lamstore.open(study.path, engine=NAME))
    assert set(graphs) == {"lesion"}


def test_files_say_what_was_binned_and_dropped(audit, tmp_path):
    names = [path.name for path in write_voxel_audit(audit, tmp_path)]
    assert names == ["reliability.csv", "retention.csv", "calibration.json"]
    table = pd.read_csv(tmp_path / "reliability.csv")
    reliability = audit.found[0].tally.reliability
    assert table["voxels"].sum() == reliability.n
    body = json.loads((tmp_path / "calibration.json").read_text())
    (facts,) = body["found"]
    assert facts["bins"] == len(table) == 15
    assert facts["minimum_probability"] == MINIMUM_PROBABILITY
    assert facts["dropped_voxels"] == reliability.dropped > 0
    assert facts == json.loads(json.dumps(calibration_summary(audit)[0]))
    curve = pd.read_csv(tmp_path / "retention.csv")
    assert curve["fraction_kept"].is_monotonic_increasing
    assert np.trapezoid(curve["error"], curve["fraction_kept"]) == pytest.approx(
        facts["retention"]["ens_var"]["area"], rel=1e-6
    )


def test_report_shows_calibration_and_retention(finished):
    page = finished.report_path.read_text()
    assert "Does a probability mean what it says?" in page
    assert "Are the uncertain voxels the wrong ones?" in page
    assert (finished.figures / "reliability_lesion.png").stat().st_size > 1000
