"""How does the page look before there is an answer, and when there will be none?

Apart from `answer`, so that a server shows the page without loading what draws plots. No markup has
a style or a script of its own: the page's policy forbids both.
"""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from lamstore.errors import LamstoreError

PAGE, ANSWER, REFUSED = "one_spine.html.j2", "one_spine_answer.html.j2", "one_spine_refused.html.j2"
_STYLES = ("report.css", "spine.css", "one_spine.css")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Where templates come from; whatever is put into them is escaped."""
    return Environment(
        loader=PackageLoader("analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(most_mb: int, most_files: int, own_weights: bool) -> str:
    """The page on which a study is dropped.

    Parameters
    ----------
    most_mb, most_files : int
        What may be sent at once; the page says so before it sends more.
    own_weights : bool
        Whether the weights are those that come with lamstore.
    """
    return (
        environment()
        .get_template(PAGE)
        .render(most_mb=most_mb, most_files=most_files, own_weights=own_weights)
    )


def render_refused(error: LamstoreError) -> str:
    """Why there is no answer, as a part of the page; ends with what to do."""
    what = error.what.removeprefix("the study: ")
    return (
        environment()
        .get_template(REFUSED)
        .render(
            what=what[:1].upper() + what[1:],
            got=error.got,
            expected=error.expected,
            remedy=error.remedy or "try again; if it happens again, tell who maintains lamstore",
        )
    )


def style() -> str:
    """The style sheet: that of reports, then what is this page's own."""
    return "\n".join(_source(name) for name in _STYLES)


def script() -> str:
    """What the page does."""
    return _source("one_spine.js")


def _source(name: str) -> str:
    found = environment()
    assert found.loader is not None
    return found.loader.get_source(found, name)[0]
