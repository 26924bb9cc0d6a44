"""What does the table of a dataset say of each series of its studies?"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from jobs.nifti import shown
from lamstore.errors import ConfigError

_COLUMNS = {"study_id", "series_id", "series_description"}


def read_series_csv(table: Path, studies: frozenset[str]) -> dict[tuple[str, str], str]:
    """Description by (study, series) of these studies, from a table of many.

    Raises
    ------
    ConfigError
        No such table, other columns, or two descriptions of one series.
    """
    expected = f"a CSV with columns {', '.join(sorted(_COLUMNS))}"
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the table of series {shown(table)} cannot be read",
            got=type(error).__name__,
            expected=expected,
            remedy="correct series_csv in study.yaml (--series-csv)",
        ) from None
    rows = csv.DictReader(io.StringIO(text, newline=""), restval="")
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or []]
    if missing := _COLUMNS - set(rows.fieldnames):
        raise ConfigError(
            f"{shown(table)} lacks the columns {', '.join(sorted(missing))}", expected=expected
        )
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        key = row["study_id"].strip(), row["series_id"].strip()
        if key[0] not in studies:
            continue
        if found.setdefault(key, row["series_description"]) != row["series_description"]:
            raise ConfigError(
                f"{shown(table)}, line {rows.line_num}: a series has two descriptions",
                expected="one row a series",
            )
    return found
