"""Phantom subjects that the tests share, generated once."""

from __future__ import annotations

import pytest

from jobs.phantom import PhantomSubject, default_cohort, generate_subject


@pytest.fixture(scope="session")
def cohort() -> list[PhantomSubject]:
    """The six default subjects on coarse grids (about 2.2 x 2.2 x 5.5 mm)."""
    return [generate_subject(spec) for spec in default_cohort(scale=0.55)]
