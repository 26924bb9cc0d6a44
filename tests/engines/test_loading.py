"""Is an engine found by its name, and the right party blamed when it is not?"""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

import jobs.engines
from jobs.engines import GROUP, available_engines, load_engine
from jobs.engines.flair_zscore import FlairZscore
from lamstore.errors import ConfigError, EngineError


@pytest.fixture
def declare(monkeypatch):
    """Replace the installed engines: declare(name="module:attribute", …)."""

    def make(*pairs):
        points = EntryPoints(EntryPoint(name, value, GROUP) for name, value in pairs)
        monkeypatch.setattr(jobs.engines, "entry_points", points.select)

    return make


def test_installed_engines_are_listed():
    assert {"flair-zscore", "precomputed"} <= set(available_engines())


def test_an_engine_is_built_with_its_options():
    engine = load_engine("flair-zscore", {"thresholds": [1, 2, 3]})
    assert isinstance(engine, FlairZscore)
    assert engine.members == ("z1", "z2", "z3")


def test_an_unknown_name_lists_the_installed_ones():
    with pytest.raises(ConfigError, match="flair_zscore") as caught:
        load_engine("flair_zscore", {})
    assert "flair-zscore" in caught.value.expected
    assert caught.value.remedy


def test_no_engine_at_all_is_said_so(declare):
    declare()
    with pytest.raises(ConfigError) as caught:
        load_engine("x", {})
    assert "there is none" in caught.value.expected


def test_a_plugin_that_does_not_import_is_named(declare):
    declare(("broken", "no_such_module_of_lamstore:Engine"))
    with pytest.raises(EngineError, match="distribution") as caught:
        load_engine("broken", {})
    assert "no_such_module_of_lamstore" in caught.value.got


def test_a_plugin_that_is_no_engine_is_refused(declare):
    declare(("path", "pathlib:Path"))
    with pytest.raises(EngineError, match="not an engine"):
        load_engine("path", {})


def test_a_plugin_of_neither_kind_is_told_what_to_derive_from(declare):
    declare(("old", "jobs.engines.base:Engine"))
    with pytest.raises(EngineError, match="not an engine") as caught:
        load_engine("old", {})
    assert "Segmenter" in caught.value.expected
    assert "Localizer" in caught.value.expected


def test_two_claims_to_one_name_are_refused(declare):
    declare(("a", "jobs.engines.flair_zscore:FlairZscore"), ("a", "pathlib:Path"))
    with pytest.raises(ConfigError, match="More than one"):
        load_engine("a", {})
