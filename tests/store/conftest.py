"""Fixtures of the store's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.building import fill, grow, layout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store will be."""
    return tmp_path / "store.zarr"


@pytest.fixture
def filled(path: Path) -> Path:
    """A whole store of three subjects."""
    grow(path, layout())
    fill(path)
    return path
