"""Fixtures: a small generated spine; the conformance suite of engines on the path."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.lumbar.draw import draw_spec
from jobs.lumbar.lumbar import generate_lumbar

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
pytest.register_assert_rewrite("conformance")


@pytest.fixture(scope="session")
def spine():
    """A generated normal spine on a coarse grid: quick, and its levels are known."""
    spec = draw_spec(4, "normal")
    field_mm = spec.scanner.matrix[0] * spec.scanner.spacing_mm
    scanner = replace(spec.scanner, matrix=(160, 160), spacing_mm=field_mm / 160, slices=7)
    return generate_lumbar(replace(spec, scanner=scanner))
