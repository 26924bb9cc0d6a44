"""Does the demo of the shipped localizer come to its end, from DICOM files to the report?"""

from __future__ import annotations

import pandas as pd
import pytest
from rich.console import Console

from hpc import demo_spine
from tests.running import lam


@pytest.mark.slow
def test_the_demo_of_spines_ends_with_a_report_against_its_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_spine, "NORMAL", 3)
    monkeypatch.setattr(demo_spine, "TRANSITIONAL", 2)
    study = demo_spine.make_demo(tmp_path, Console(quiet=True))
    lam("run", study.path, "--workers", 1)
    assert study.report_path.exists()
    areas = pd.read_csv(study.path / "tables" / "auroc.csv")
    assert {"entropy", "confidence", "surprise"} <= set(areas["kind"])
    assert set(areas["n_lstv"] + areas["n_normal"]) == {5}
