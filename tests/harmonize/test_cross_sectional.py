"""A subject without a baseline: relative harmonizations are impossible, Nyúl is not."""

import pytest

from jobs.phantom import default_cohort, generate_subject, write_bids
from jobs.workbench import Workbench, audited_engines, configured_variant
from lamstore.errors import ConfigError, MissingArrayError
from lamstore.study import Study
from tests.running import lam, status_of, write_study


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    write_bids([generate_subject(default_cohort(1, scale=0.3)[0])], folder / "bids")
    for session in sorted((folder / "bids").glob("sub-*/ses-*"))[1:]:
        for path in sorted(session.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        session.rmdir()
    dataset = {"adapter": "bids", "root": str(folder / "bids")}
    write_study(folder / "study", folder, dataset=dataset, harmonizations=["histogram", "nyul"])
    lam("run", folder / "study", "--workers", 2, status=1)
    return folder


def test_matching_fails_as_a_unit_and_says_what_to_do(home):
    failures = status_of(Study.at(home / "study"))["failures"]
    assert failures
    assert all("flair-zscore+histogram" in f["unit"] for f in failures)
    assert all("needs a baseline flair" in f["message"] for f in failures)
    assert all("nyul" in f["message"] for f in failures)


def test_nyul_needs_no_baseline(home):
    study = Study.at(home / "study")
    done = {r.unit.engine for r in study.ledger.records("infer", "done")}
    assert done == {"flair-zscore", "flair-zscore+nyul"}
    bench = Workbench(study)
    subject = bench.store.labels("subject")[0]
    with pytest.raises(MissingArrayError, match="needs a baseline"):
        bench.prepared("flair-zscore+histogram", subject, "t0", "none", {"flair"})


def test_an_engine_that_reads_no_image_stands_alone(tmp_path):
    engines = [{"engine": "precomputed", "options": {"root": str(tmp_path)}}]
    study = write_study(tmp_path / "s", tmp_path, engines=engines, harmonizations=["nyul"])
    assert list(audited_engines(study)) == ["precomputed"]
    with pytest.raises(ConfigError, match="configures no engine"):
        configured_variant(study, "precomputed+median")
