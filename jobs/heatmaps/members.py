"""What does `lam train-localizer` leave behind? Weights, how well they do, and a card that says so.

The command is all it takes to make the weights that come with lamstore again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.engines.vertebra_heatmap import VertebraHeatmap
from jobs.heatmaps.evaluate import Judged, judge_generated, localization, screening
from jobs.heatmaps.training import Recipe, make_spines, train
from jobs.heatmaps.weights import write_weights

FIRST_SEED = 100_000
"""Seeds of the spines that train, from here on."""
FIRST_JUDGED = 950_000
"""Seeds of the normals that judge, from here on; transitional ones 1,000 further."""
NOTE = "trained on generated normal spines only; not for clinical use"

Report = Callable[[str], None]


def make_members(folder: Path, recipe: Recipe, count: int, workers: int, say: Report) -> list[Path]:
    """Train members and write their weights to ``folder/member{seed}.safetensors``."""
    say(f"generating {recipe.spines} normal spines")
    spines = make_spines(range(FIRST_SEED, FIRST_SEED + recipe.spines), recipe, workers)
    paths = []
    for seed in range(count):

        def step(number: int, loss: float, member: int = seed) -> None:
            if (number + 1) % 100 == 0:
                say(f"member {member}: step {number + 1} of {recipe.steps}, loss {loss:.4f}")

        net = train(spines, recipe, seed, step)
        paths.append(folder / f"member{seed}.safetensors")
        write_weights(paths[-1], net, recipe.preparation, NOTE)
    return paths


def judge_members(folder: Path, paths: Sequence[Path], spines: int, say: Report) -> dict[str, Any]:
    """Judge weights on generated spines that did not train; writes ``evaluation.json``.

    Parameters
    ----------
    folder : Path
    paths : sequence of Path
    spines : int
        Normals, and as many transitional ones.
    say : callable
    """
    say(f"judging on {spines} normal and {spines} transitional spines")
    engine = VertebraHeatmap.parse({"weights": tuple(paths), "device": "cpu"})
    engine.load()
    normals = range(FIRST_JUDGED, FIRST_JUDGED + spines)
    judged = judge_generated(engine, normals, [seed + 1000 for seed in normals])
    found = figures(judged)
    text = json.dumps(found, indent=1)
    (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    return found


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Localization of the normals; AUROC of every measure, over all kinds and by kind."""
    kinds = sorted({one.kind for one in judged} - {"normal"})
    return {
        "normals": sum(one.kind == "normal" for one in judged),
        "transitional": sum(one.kind != "normal" for one in judged),
        "localization": localization(judged),
        "auroc": screening(judged),
        "auroc_by_kind": {kind: screening(judged, (kind,)) for kind in kinds},
    }


def describe(recipe: Recipe) -> str:
    """The recipe as JSON."""
    return json.dumps(asdict(recipe), indent=1)
