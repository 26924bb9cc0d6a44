"""What does one hand to a colleague? ``report.html``: one file, no network, every subject in it.

`write_report` gathers (`facts`), analyses (`analysis.audit`), draws (`charts`, `panels`) and
renders (`page`). It also writes what it analysed: ``tables/*.csv``, ``tables/qc_thresholds*.json``
and ``figures/``.
"""

from analysis.report.write import write_report

__all__ = ["write_report"]
