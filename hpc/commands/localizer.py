"""How are the localizer's weights made, and what does it think of another tool's labels?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("train-localizer", rich_help_panel="Train")(train_localizer)


def train_localizer(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory for the weights.")],
    members: Annotated[int, typer.Option(min=1, help="Networks to train.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes that generate spines.")] = 1,
    judge: Annotated[
        int, typer.Option(min=0, help="Normals to judge on, and as many transitional spines.")
    ] = 100,
    known: Annotated[
        int, typer.Option(min=1, help="Normals that say what is ordinary under these networks.")
    ] = 150,
) -> None:
    """Train the vertebra localizer on generated normal spines, and judge it on others."""
    from rich.console import Console

    from jobs.heatmaps.members import describe, judge_members, learn_normals, make_members
    from jobs.heatmaps.training import Recipe

    console, recipe = Console(), Recipe()

    def say(text: str) -> None:
        console.print(text, highlight=False)

    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(describe(recipe) + "\n", encoding="utf-8")
    paths = make_members(out, recipe, members, workers, say)
    learn_normals(out, paths, known, say)
    if judge:
        found = judge_members(out, paths, judge, say)
        for level, errors in found["localization"].items():
            say(f"{level}: median {errors['median_mm']:.1f} mm, p95 {errors['p95_mm']:.1f} mm")
        best = list(found["auroc"].items())[:3]
        say("AUROC of LSTV: " + ", ".join(f"{name} {value:.3f}" for name, value in best))
    say(f"written: {', '.join(map(str, paths))}")
