"""What did a sweep find? One table of all runs, one of settings, and bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hpc.training_sweep import REPEATS, SweepRun, read_sweep

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("dice", "sensitivity", "precision", "lesion_recall", "lesion_precision", "lesion_f1")


def gather(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of a sweep, written to ``sweep.csv`` and ``ablation.csv``, and ``ablation.png``.

    Parameters
    ----------
    folder : Path
        Of the sweep.

    Returns
    -------
    runs : DataFrame
        A row a run: its swept values, whether it is done, the measures of its best validation.
    settings : DataFrame
        A row a setting: n, and mean and standard deviation over folds and seeds. Only runs that
        are done count.
    """
    import pandas as pd

    from analysis.training_plots import ablation_bars

    sweep = read_sweep(folder)
    runs = pd.DataFrame([_row(folder, run) for run in sweep])
    keys = list(sweep[0].values)
    by = [key for key in keys if key not in REPEATS]
    done = runs[runs["done"]]
    settings = _settings(done, by)
    runs.to_csv(folder / "sweep.csv", index=False)
    settings.to_csv(folder / "ablation.csv", index=False)
    if len(done) and done["dice"].notna().any():
        for measure in ("dice", "lesion_f1"):
            name = "ablation.png" if measure == "dice" else f"ablation_{measure}.png"
            ablation_bars(done, by, measure).savefig(folder / name)
    return runs, settings


def _row(folder: Path, run: SweepRun) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.name, **{k: _plain(v) for k, v in run.values.items()}}
    path = folder / run.name / "summary.json"
    if not path.exists():
        return row | {"done": False, "seconds": None} | dict.fromkeys(MEASURES)
    found = orjson.loads(path.read_bytes())
    best = {name: found["best"].get(name) for name in MEASURES}
    return row | {"done": True, "seconds": found["seconds"]} | best


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else str(value)


def _settings(done: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    import pandas as pd

    measures = list(MEASURES)
    numbers = done.astype(dict.fromkeys(measures, float))
    groups = numbers.groupby(by, sort=False) if by else [(("all",), numbers)]
    rows = []
    for key, part in groups:
        row = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=False))
        row["n"] = len(part)
        for name in measures:
            row |= {f"{name}_mean": part[name].mean(), f"{name}_sd": part[name].std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows)
