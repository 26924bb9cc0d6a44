"""Which pictures belong to a training? Reads a run's tables, has them drawn, saves them."""

from __future__ import annotations

from pathlib import Path


def draw_run(folder: Path) -> list[Path]:
    """Draw ``curves.png`` and ``overlay_case_*.png`` of a run; nothing before its first epoch."""
    import numpy as np
    import pandas as pd

    from analysis.training_plots import learning_curves, overlay_case
    from jobs.training.config_file import read_train_config

    table = folder / "metrics.csv"
    if not table.exists():
        return []
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    drawn = [figures / "curves.png"]
    learning_curves(pd.read_csv(table), folder.name).savefig(drawn[0])
    cases = folder / "cases.npz"
    if cases.exists():
        threshold = read_train_config(folder / "train.yaml").threshold
        with np.load(cases, allow_pickle=False) as kept:
            names = list(dict.fromkeys(key.rpartition("/")[0] for key in kept))
            for name in names:
                case = {p: kept[f"{name}/{p}"] for p in ("image", "truth", "probability")}
                drawn.append(figures / f"overlay_case_{name.replace(' ', '_')}.png")
                overlay_case(case, name, threshold).savefig(drawn[-1])
    return drawn
