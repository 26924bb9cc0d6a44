"""The notebook runs from its first cell to its last, and is the script that people read."""

import importlib.util
import json
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_notebook", DOCS / "make_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_notebook_is_the_script_and_holds_no_outputs(maker):
    stored = (DOCS / "analysis.ipynb").read_text(encoding="utf-8")
    assert stored == maker.notebook((DOCS / "analysis.py").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in json.loads(stored)["cells"])


def test_every_cell_runs_and_the_walk_ends_in_a_figure(maker, finished, monkeypatch, capsys):
    mpl.use("Agg")
    monkeypatch.setenv("LAM_STUDY", str(finished.path))
    stored = json.loads((DOCS / "analysis.ipynb").read_text(encoding="utf-8"))
    space = {"__name__": "__main__"}
    for cell in stored["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
    assert isinstance(space["figure"], Figure)
    assert "What the audit found" in capsys.readouterr().out
    assert space["voxels"].found
