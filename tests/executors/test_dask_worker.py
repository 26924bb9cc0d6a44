"""What does a dask worker do with a batch?"""

from __future__ import annotations

import dask
import dask.threaded
from distributed import Client

from hpc.dask_worker import do_batch
from hpc.profiles import Profile
from hpc.registry import JOBS, Job
from hpc.run import new_run_id
from hpc.run_folder import RunFolder
from hpc.slurm_submit import new_facts
from jobs.workbench import Outcome
from lamstore.units import Unit
from tests.executors.idle import idle_study


def test_what_a_unit_computes_with_dask_stays_on_its_worker(tmp_path, monkeypatch):
    schedulers = []

    def look(bench, unit):
        schedulers.append(dask.base.get_scheduler())
        return Outcome()

    monkeypatch.setitem(JOBS, "look", Job("look", "1", look, "looking"))
    run = RunFolder(idle_study(tmp_path), new_run_id())
    run.begin(new_facts(run, Profile(), "dask"))
    asked = [(Unit("look", fingerprint="f").key, "f", False, 0.0)]
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as here:
        [answer] = here.submit(do_batch, str(run.study.path), run.id, "batch", asked).result()
    assert answer["state"] == "done", answer
    assert schedulers == [dask.threaded.get]
