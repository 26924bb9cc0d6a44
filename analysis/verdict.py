"""Can ΔV of this subject be trusted?

Two independent doubts: the model disagrees with itself (QC), and a plausible difference of scanner
or protocol alone would move ΔV by as much as was measured (robustness). Published data show that
neither implies the other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ("delta_lesion_vol_mm3", "change_gt_vol_mm3", "dice_chg_sym_cons", "dice_chg_tight")


def subject_verdicts(
    base: pd.DataFrame, flags: pd.DataFrame | None = None, sensitivity: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per subject: what was measured, what speaks against it, and a sentence.

    Parameters
    ----------
    base : DataFrame
        Unshifted longitudinal rows.
    flags : DataFrame, optional
        Of `qc.qc_flags`.
    sensitivity : DataFrame, optional
        Of `robustness.sensitivity_per_subject`.

    Returns
    -------
    DataFrame
        Measured columns, QC columns, sensitivity columns, ``exceeds_spurious`` (|ΔV| is larger
        than the 95th percentile of |ΔΔV| over the subject's shifts; empty when it was not
        shifted) and ``verdict``.
    """
    table = base[["subject", *(c for c in COLUMNS if c in base)]].copy()
    for part in (flags, sensitivity):
        if part is not None:
            new = [c for c in part if c == "subject" or c not in table]
            table = table.merge(part[new], on="subject", how="left", validate="1:1")
    if "deltav_abs_p95" in table:
        larger = table["delta_lesion_vol_mm3"].abs() > table["deltav_abs_p95"]
        table["exceeds_spurious"] = larger.astype(object).where(table["deltav_abs_p95"].notna())
    table["verdict"] = [_words(row) for _, row in table.iterrows()]
    return table


def _words(row: pd.Series[float]) -> str:
    judged, doubts = [], []
    if isinstance(row.get("qc_needs_review"), bool | np.bool_):
        judged.append("QC")
        if row["qc_needs_review"]:
            doubts.append(str(row["qc_reason"]))
    if not pd.isna(row.get("deltav_abs_p95", np.nan)):
        judged.append("shifts")
        if not row["exceeds_spurious"]:
            doubts.append(
                f"shifts alone move ΔV by {row['deltav_abs_p95']:.0f} mm³ (95th percentile; most: "
                f"{row['worst_shift']}), measured were {abs(row['delta_lesion_vol_mm3']):.0f} mm³"
            )
    if not judged:
        return "Not judged: neither uncertainty nor shifts were given."
    if doubts:
        return "Doubtful: " + "; ".join(doubts) + "."
    return f"No objection from {' or '.join(judged)}."
