"""How are tables shown on a terminal?"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from jobs.datasets.check import CohortCheck

COLUMNS = ("subject", "shape", "spacing_mm", "dtype", "images", "brainmask", "change_truth", "lesion_truth")
SHOWN = 30


def cohort_table(check: CohortCheck) -> Table:
    """What the headers say of each subject; those with problems first, in full."""
    table = Table(title="Cohort", title_justify="left", header_style="bold", expand=False)
    for column in (*COLUMNS, "problems"):
        table.add_column(column.replace("_", " "), overflow="fold")
    rows = sorted(check.table(), key=lambda row: not row["problems"])
    for row in rows[:SHOWN]:
        problem = Text(row["problems"] or "", style="red")
        table.add_row(*(row[column] for column in COLUMNS), problem)
    if len(rows) > SHOWN:
        table.caption = f"… and {len(rows) - SHOWN} more"
    return table
