"""How is a cohort shown on a terminal of 80 columns?"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from jobs.datasets.check import CohortCheck

SHOWN = 30
MASKS = {"brainmask": "brain", "change_truth": "change", "lesion_truth": "lesion"}


def cohort_table(check: CohortCheck) -> Table:
    """What the headers say of each subject; those with problems first."""
    table = Table(header_style="bold", expand=False, pad_edge=False)
    for column in ("subject", "grid", "images", "masks"):
        table.add_column(column, overflow="fold")
    rows = sorted(check.table(), key=lambda row: not row["problems"])
    for row in rows[:SHOWN]:
        grid = "\n".join(
            filter(None, (row["shape"], row["spacing_mm"] and f"{row['spacing_mm']} mm"))
        )
        masks = " ".join(short for name, short in MASKS.items() if row[name])
        table.add_row(_subject(row), grid, row["images"].replace("; ", "\n"), masks)
    if len(rows) > SHOWN:
        table.caption = f"… and {len(rows) - SHOWN} more"
    return table


def _subject(row: dict[str, str]) -> Text:
    label = Text(row["subject"])
    if row["problems"]:
        label = Text("✗ ", style="red") + label + Text(f"\n{row['problems']}", style="red")
    return label
