"""Does an array of more tasks than the site allows really run to its end, each unit once?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from hpc.profiles import Profile
from hpc.slurm import site
from hpc.slurm_submit import submit
from tests.cluster.fixtures import unavailable
from tests.cluster.slurm import Cluster, why_not
from tests.executors.idle import idle_run, idle_study, idle_units, python_path
from tests.running import records

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

UNITS, PER_TASK, LIMIT = 1200, 75, 7


@pytest.fixture
def narrow(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A cluster whose MaxArraySize is 7; clients in this process find it."""
    reason = why_not()
    if reason is not None:
        unavailable(reason)
    with Cluster(tmp_path_factory.mktemp("narrow"), max_array_size=LIMIT) as running:
        monkeypatch.setenv("SLURM_CONF", running.env["SLURM_CONF"])
        monkeypatch.setenv("PYTHONPATH", python_path())
        yield running


def test_more_units_than_the_site_takes_in_an_array_are_all_done_once(narrow, tmp_path):
    study, units = idle_study(tmp_path), idle_units(UNITS)
    profile = Profile(partition="main", cores=1, units_per_task=PER_TASK)
    run = idle_run(study, units, profile, site().max_array_size)
    assert [array.tasks for array in run.facts.arrays.values()] == [7, 7, 2]
    jobs = submit(run)
    assert len(jobs) == 4  # three arrays, and the last job
    narrow.wait_until(
        "all done", lambda: not narrow.run("squeue", "-h", "-j", ",".join(jobs)).strip(), 240
    )
    done = Counter(r.unit.key for r in records(study) if r.state == "done" and r.unit.subject)
    lost = {unit.key for unit in units} - done.keys()
    assert (len(lost), [key for key, count in done.items() if count > 1]) == (0, [])
    assert run.ended == "finished"
