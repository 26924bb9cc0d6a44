"""stub"""
from __future__ import annotations
from pathlib import Path
def write_page(study, facts, found, warnings, out: Path) -> Path:
    return out / "report.html"
