"""Do one machine, SLURM arrays and dask do a study alike?"""

from __future__ import annotations

import pytest

from tests.executors.conformance import ExecutorConformance


class TestLocal(ExecutorConformance):
    options = ("--workers", 2)


@pytest.mark.slurm
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("site")
class TestSlurm(ExecutorConformance):
    options = ("--on", "slurm", "--wait", "--units-per-task", 4)


@pytest.mark.slurm
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("site")
class TestDask(ExecutorConformance):
    options = ("--on", "dask", "--workers", 2)


@pytest.mark.slurm
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("site")
class TestDaskAdaptive(ExecutorConformance):
    options = ("--on", "dask", "--adapt", "0:2")
