"""Who needs a job that does nothing? What counts and measures units: a full array, the benchmarks.

Every Python that has this folder in PYTHONPATH knows the job ``nothing``.
"""

import importlib.abc
import importlib.util
import sys


class _Registry(importlib.abc.MetaPathFinder):
    """Adds the job when `hpc.registry` is imported, so that no other Python pays for it."""

    def find_spec(self, name, path, target=None):
        if name != "hpc.registry":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            from jobs.workbench import Outcome

            execute(module)
            job = module.Job("nothing", "1", lambda bench, unit: Outcome(), "doing nothing")
            module.JOBS[job.name] = job

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Registry())
