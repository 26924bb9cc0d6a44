"""A report of a finished study, read as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from analysis.report import write_report
from analysis.report.facts import gather
from lamstore.study import Study


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("style", "script")

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        if not self._raw:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.tags
            if name == tag
            and all((found.get(k) or "").startswith(v) for k, v in attributes.items())
        ]


@pytest.fixture(scope="session")
def facts(finished_once):
    """What the report of the finished study knows."""
    return gather(Study.at(finished_once / "study"))


@pytest.fixture(scope="session")
def text(finished_once) -> str:
    """The report that `lam run` wrote."""
    return (finished_once / "study" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(text) -> Page:
    """The same, parsed."""
    return Page(text)


@pytest.fixture
def rewritten(finished, monkeypatch):
    """Writes the report of a study of one's own again, less the figures, and parses it."""
    # The figures for papers cost seconds; that they are there is seen in the finished study.
    monkeypatch.setattr("analysis.gallery.gallery", lambda audit: iter(()))

    def write() -> Page:
        return Page(write_report(Study.at(finished.path)).read_text(encoding="utf-8"))

    return write
