"""Can this table be analysed, and what are its rows?

The audit works on three tables: *longitudinal* (one row per subject and shift), *uncertainty* (one
row per subject) and *robustness* (one row per subject, shift, level and mode). Ours and published
ones differ in details (``patient_id`` or ``subject``, with or without ``shift``); everything after
this module sees one form only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lamstore.errors import AnalysisError, ConfigError
from lamstore.units import NO_SHIFT, parse_shift_label

BASE = NO_SHIFT
"""Label of the images as acquired, and of no harmonization."""

KEYS = ("subject", "shift", "harmonization")
"""What names a row of a normalised longitudinal table."""

MODES = ("t1_only", "both")
"""``t1_only`` shifts the follow-up alone; ``both`` shifts baseline and follow-up alike."""

LONGITUDINAL = ("delta_lesion_vol_mm3",)
ROBUSTNESS = ("subject", "shift", "level", "delta_lesion_vol_mm3_base", "delta_lesion_vol_mm3")


@dataclass(frozen=True)
class ShiftLabel:
    """What a shift label of the store says.

    Attributes
    ----------
    name : str
        ``gamma``, ``noise``, ``blur``, ``resolution``, …
    level : int
        0 is the identity.
    mode : {"t1_only", "both"}
    """

    name: str
    level: int
    mode: str

    @classmethod
    def parse(cls, label: str) -> ShiftLabel:
        """Read ``name-level`` or ``name-level-mode``.

        Raises
        ------
        AnalysisError
            For any other form (also for ``"none"``, which is no shift).
        """
        try:
            name, level, mode = parse_shift_label(label)
        except ConfigError as error:
            raise AnalysisError(error.what, got=error.got, expected=error.expected) from error
        if name == NO_SHIFT:
            raise AnalysisError(
                f"{label!r} cannot be read as a shift: it says as acquired",
                expected="name-level or name-level-mode",
            )
        return cls(name, level, mode)

    def __str__(self) -> str:
        tail = "" if self.mode == "t1_only" else f"-{self.mode}"
        return f"{self.name}-{self.level}{tail}"


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or parquet table; nothing is normalised yet.

    Raises
    ------
    AnalysisError
        When the file is not there, is no table, or holds no row.
    """
    if not path.is_file():
        raise AnalysisError(f"there is no table {path}", remedy="check the path")
    try:
        # Only an empty cell is missing: pandas would also take the label "none" for missing.
        table = (
            pd.read_parquet(path)
            if path.suffix == ".parquet"
            else pd.read_csv(path, keep_default_na=False, na_values=["", "nan", "NaN", "NA"])
        )
    except (ValueError, OSError) as error:
        raise AnalysisError(
            f"{path} cannot be read as a table", got=str(error), expected="CSV or parquet"
        ) from error
    if table.empty:
        raise AnalysisError(f"{path} holds no row", remedy="run the study first")
    return table


def require(table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raise `AnalysisError` naming every column that `table` lacks; `what` names the table."""
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise AnalysisError(
            f"the {what} table lacks {', '.join(missing)}",
            got=f"columns {', '.join(map(str, table.columns))}",
            expected="the column names of the published longitudinal and uncertainty tables",
            remedy="rename the columns, or leave this table out",
        )


def normalise_longitudinal(table: pd.DataFrame) -> pd.DataFrame:
    """One row per (subject, shift, harmonization); failed rows (``ok`` False) left out.

    Parameters
    ----------
    table : DataFrame
        With ``subject`` or ``patient_id`` and ``delta_lesion_vol_mm3``; without ``shift`` all rows
        are baseline, without ``harmonization`` none was used.

    Raises
    ------
    AnalysisError
        For missing columns, columns that are not numbers, duplicate rows, no usable row.
    """
    result = _subjects(table, "longitudinal")
    require(result, LONGITUDINAL, "longitudinal")
    for column in ("shift", "harmonization"):
        labels = result[column] if column in result else pd.Series(BASE, index=result.index)
        result[column] = labels.fillna(BASE).astype(str)
    result = _numeric(result, "longitudinal")
    _refuse_duplicates(result, KEYS, "longitudinal")
    front = [*KEYS]
    return result[front + [c for c in result if c not in front]]


def normalise_uncertainty(table: pd.DataFrame) -> pd.DataFrame:
    """One row per subject: the unshifted rows' ``unc_*`` summaries and voxel counts.

    Context columns that published tables repeat (``phase2_*``) and earlier verdicts (``qc_*``)
    are left out: both follow from the longitudinal table and the thresholds.
    """
    result = _subjects(table, "uncertainty")
    for column in ("shift", "harmonization"):
        if column in result:
            result = result[result[column].fillna(BASE) == BASE].drop(columns=column)
    keep = [c for c in result if not str(c).startswith(("phase2_", "qc_"))]
    result = _numeric(result[keep], "uncertainty")
    if not uncertainty_columns(result):
        raise AnalysisError(
            "the uncertainty table lacks columns unc_*",
            got=f"columns {', '.join(map(str, result.columns))}",
            expected="such as unc_ens_var_mean_lesion_t1",
        )
    _refuse_duplicates(result, ("subject",), "uncertainty")
    return result.reset_index(drop=True)


def normalise_robustness(table: pd.DataFrame) -> pd.DataFrame:
    """One row per (subject, shift name, level, mode, harmonization), base and shifted values."""
    result = _subjects(table, "robustness")
    require(result, ROBUSTNESS, "robustness")
    if "mode" not in result:
        result["mode"] = "t1_only"
    if "harmonization" not in result:
        result["harmonization"] = BASE
    result["harmonization"] = result["harmonization"].fillna(BASE).astype(str)
    unknown = sorted(set(result["mode"]) - set(MODES))
    if unknown:
        raise AnalysisError(
            "the robustness table names an unknown mode",
            got=", ".join(map(str, unknown)),
            expected=" or ".join(MODES),
        )
    keys = ("subject", "shift", "level", "mode", "harmonization")
    _refuse_duplicates(result, keys, "robustness")
    return _numeric(result, "robustness").astype({"level": int})


def base_rows(longitudinal: pd.DataFrame, harmonization: str = BASE) -> pd.DataFrame:
    """The unshifted rows of a normalised longitudinal table, sorted by subject."""
    chosen = (longitudinal["shift"] == BASE) & (longitudinal["harmonization"] == harmonization)
    return longitudinal[chosen].sort_values("subject").reset_index(drop=True)


def uncertainty_columns(table: pd.DataFrame) -> list[str]:
    """Names of the uncertainty summaries (``unc_*``) in a table."""
    return [str(c) for c in table.columns if str(c).startswith("unc_")]


def _subjects(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """Copy with a text column ``subject``, without rows that say they failed."""
    names = [c for c in ("subject", "patient_id") if c in table.columns]
    if not names:
        require(table, ("subject",), what)
    result = table.rename(columns={names[0]: "subject"})
    if "ok" in result:
        result = result[result["ok"].astype(str).str.lower().isin(("true", "1"))]
    if result.empty:
        raise AnalysisError(
            f"no row of the {what} table can be used", got="every row is marked as failed"
        )
    return result.assign(subject=result["subject"].astype(str)).reset_index(drop=True)


def _numeric(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """Check that measurement columns hold finite numbers (or nothing), as float64."""
    heads, tails = ("unc_", "dice_", "intensity_"), ("_mm3", "_mm3_base", "_voxels")
    measured = [str(c) for c in table if str(c).startswith(heads) or str(c).endswith(tails)]
    names = [*measured, *(["level"] if what == "robustness" else [])]
    result = table.copy()
    for name in names:
        values = pd.to_numeric(result[name], errors="coerce")
        bad = (values.isna() & result[name].notna()) | np.isinf(values.astype(float))
        if bad.any():
            row = result[bad].iloc[0]
            raise AnalysisError(
                f"column {name} of the {what} table is not numeric for {row['subject']}",
                got=repr(row[name]),
                expected="a finite number, or an empty cell where it is undefined",
            )
        result[name] = values.astype(float)
    return result


def _refuse_duplicates(table: pd.DataFrame, keys: Iterable[str], what: str) -> None:
    names = list(keys)
    twice = table[table.duplicated(names, keep=False)]
    if not twice.empty:
        raise AnalysisError(
            f"the {what} table holds more than one row for the same {', '.join(names)}",
            got=" / ".join(str(v) for v in twice.iloc[0][names]),
            expected="one row each; one engine a table",
            remedy="select one engine, or drop the duplicates",
        )
