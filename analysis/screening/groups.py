"""Who is at high risk, and who is looked at first?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.screening.measures import Measure, queue_measure
from analysis.stats import wilson
from lamstore.config import ScreeningConfig

RISKS = ("high", "medium", "low", "undefined")


def risk_of(entropy: pd.Series, config: ScreeningConfig) -> pd.Series:
    """``high`` above ``high_entropy``, ``medium`` from ``medium_entropy`` on, else ``low``.

    ``undefined`` where there is no entropy.
    """
    values = entropy.to_numpy(float)
    risk = np.select(
        [~np.isfinite(values), values > config.high_entropy, values >= config.medium_entropy],
        ["undefined", "high", "medium"],
        "low",
    )
    return pd.Series(risk, index=entropy.index, name="risk")


def risk_table(risk: pd.Series, lstv: Mapping[str, bool], config: ScreeningConfig) -> pd.DataFrame:
    """Studies in each risk group, their share, and the share of transitional spines among them.

    Parameters
    ----------
    risk : Series
        By study id.
    lstv : mapping of study id to bool
        Labels; empty without any. The rate is that among the labelled studies of the group.
    """
    bounds = {
        "high": f"> {config.high_entropy:g}",
        "medium": f"{config.medium_entropy:g} to {config.high_entropy:g}",
        "low": f"< {config.medium_entropy:g}",
        "undefined": "",
    }
    rows = []
    for group in RISKS:
        members = [str(s) for s in risk.index[risk == group]]
        share = wilson("share", len(members), len(risk))
        known = [lstv[s] for s in members if s in lstv]
        rate = wilson("rate", sum(known), len(known))
        rows.append(
            {
                "risk": group,
                "entropy": bounds[group],
                "n": len(members),
                "share": share.value,
                "share_low": share.low,
                "share_high": share.high,
                "n_labelled": len(known),
                "n_lstv": sum(known),
                "lstv_rate": rate.value,
                "lstv_rate_low": rate.low,
                "lstv_rate_high": rate.high,
            }
        )
    found = pd.DataFrame(rows)
    return found[(found["n"] > 0) | (found["risk"] != "undefined")].reset_index(drop=True)


def audit_queue(
    table: pd.DataFrame,
    risk: pd.Series,
    measures: list[Measure],
    lstv: Mapping[str, bool],
    kind: Mapping[str, str],
    config: ScreeningConfig,
) -> pd.DataFrame:
    """The ``queue_length`` studies that ``queue_measure`` calls the most suspicious.

    Parameters
    ----------
    table : DataFrame
        A row a study, indexed by study id.
    measures : list of Measure
        Whose values go along.

    Returns
    -------
    DataFrame
        In the order in which to look; studies without that measure are not ranked. ``lstv`` is
        empty for studies without a label.

    Raises
    ------
    AnalysisError
        When the table has no such measure.
    """
    ranks = queue_measure(table.columns, config.queue_measure)
    score = pd.Series(ranks.score(table[ranks.column]), index=table.index).dropna()
    order = score.sort_values(ascending=False, kind="stable")
    top = table.loc[order.index[: config.queue_length]]
    ids = [str(s) for s in top.index]
    found = pd.DataFrame(
        {
            "rank": range(1, len(top) + 1),
            "study_id": ids,
            "series_id": top["series_id"].to_numpy(),
            "risk": risk[top.index].to_numpy(),
            **{m.column: top[m.column].to_numpy() for m in measures},
        }
    )
    found["lstv"] = pd.array([lstv.get(s) for s in ids], dtype="boolean")
    if kind:
        found["kind"] = [kind.get(s, "") for s in ids]
    return found
