"""Which fixtures do the tests of the ground itself use? The shared ones."""

from __future__ import annotations

from tests.cluster.fixtures import accounting_cluster, apptainer, cluster, cpu_image

__all__ = ["accounting_cluster", "apptainer", "cluster", "cpu_image"]
