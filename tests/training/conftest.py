"""Fixtures of the training's tests: one small study."""

from __future__ import annotations

import pytest

from lamstore.study import Study
from tests.training.cohort import build


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three heads; not to be changed."""
    return build(tmp_path_factory.mktemp("training") / "study")
