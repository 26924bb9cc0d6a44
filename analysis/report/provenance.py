"""From what, with what and when was all this computed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.report.facts import Facts
from analysis.report.words import count, listed


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Name and value of everything that a reader needs to repeat the study."""
    dataset = facts.config.dataset
    engines = [
        f"{e.name} (plug-in {e.engine}, {_options(e.options)})" for e in facts.config.engines
    ]
    return [
        ("Study", facts.path),
        ("Report made", facts.made_at),
        ("Dataset", f"{dataset.adapter} at {dataset.root}, {_options(dataset.options)}"),
        ("Images", f"{', '.join(dataset.modalities)}; where there are any: "
         f"{', '.join(dataset.optional_modalities) or 'none'}"),
        ("Engines", "; ".join(engines)),
        ("Study digest", _distinct(facts.headers, "study_digest")),
        ("Software", _versions(facts.headers)),
        ("Container", _distinct(facts.headers, "container_digest") or "none"),
        ("Hosts", _distinct(facts.headers, "host")),
        ("Last command", _command(facts.headers)),
        ("Work", "; ".join(
            f"{job} {c.done} done{f', {c.failed} failed' if c.failed else ''}, {c.seconds:.0f} s"
            for job, c in facts.jobs.items())),
    ]  # fmt: skip


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in options.items()) or "default options"


def _distinct(headers: Sequence[Mapping[str, Any]], key: str) -> str:
    found = [*dict.fromkeys(str(h[key]) for h in headers if h.get(key))]
    # The latest is what the results were last brought up to date with.
    more = f" (earlier: {listed(found[-2::-1], 3)})" if len(found) > 1 else ""
    return f"{found[-1]}{more}" if found else ""


def _versions(headers: Sequence[Mapping[str, Any]]) -> str:
    found = [*dict.fromkeys(tuple(h.get("versions", {}).items()) for h in headers)]
    if not found:
        return "not recorded"
    said = ", ".join(f"{name} {version}" for name, version in found[-1])
    if len(found) > 1:
        said += f"; {count(len(found) - 1, 'other set')} of versions in earlier runs (ledger/)"
    return said


def _command(headers: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(map(str, headers[-1].get("command", ()))) if headers else "not recorded"
