"""Write docs/analysis.ipynb from docs/analysis.py: no outputs, so that diffs stay small."""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent


def cells(text: str) -> list[tuple[str, str]]:
    """Kind (``markdown`` or ``code``) and source of each cell of a script in percent format."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        if kind == "markdown":
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append((kind, body.strip()))
    return found


def notebook(text: str) -> str:
    """The notebook of a script, as JSON (nbformat 4.5)."""
    made = []
    for i, (kind, source) in enumerate(cells(text)):
        cell = {"cell_type": kind, "id": f"cell-{i:02d}", "metadata": {}}
        code = {"execution_count": None, "outputs": []} if kind == "code" else {}
        made.append(cell | code | {"source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    body = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    script = (HERE / "analysis.py").read_text(encoding="utf-8")
    (HERE / "analysis.ipynb").write_text(notebook(script), encoding="utf-8")
