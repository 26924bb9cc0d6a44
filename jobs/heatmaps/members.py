"""What does `lam train-localizer` leave behind? Weights, how well they do, and a card that says so.

The command is all it takes to make the weights that come with lamstore again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from jobs.engines.vertebra_heatmap import NORMALS, VertebraHeatmap
from jobs.heatmap_normals import collected, write_normals
from jobs.heatmaps import LEVELS
from jobs.heatmaps.evaluate import Judged, judge_generated, localization, screening
from jobs.heatmaps.training import Recipe, make_spines, train
from jobs.heatmaps.weights import weights_digest, write_weights

FIRST_SEED = 100_000
"""Seeds of the spines that train, from here on."""
FIRST_KNOWN = 200_000
"""Seeds of the normals that say what is ordinary, from here on."""
FIRST_JUDGED = 980_000
"""Seeds of the normals that judge, from here on; transitional ones 1,000 further."""
NOTE = "trained on generated normal spines only; not for clinical use"

Report = Callable[[str], None]


def make_members(folder: Path, recipe: Recipe, count: int, workers: int, say: Report) -> list[Path]:
    """Train members and write their weights to ``folder/member{seed}.safetensors``.

    On one thread, so that the same machine makes the same bytes again.
    """
    torch.set_num_threads(1)
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


def learn_normals(folder: Path, paths: Sequence[Path], spines: int, say: Report) -> None:
    """Measure normal spines that did not train under weights; writes ``normals.json``."""
    say(f"measuring {spines} normal spines")
    engine = _engine(paths)
    judged = judge_generated(engine, range(FIRST_KNOWN, FIRST_KNOWN + spines), ())
    normals = collected([one.measures for one in judged], LEVELS)
    write_normals(folder / NORMALS, normals, {path.stem: weights_digest(path) for path in paths})


def _engine(paths: Sequence[Path]) -> VertebraHeatmap:
    engine = VertebraHeatmap.parse({"weights": tuple(paths), "device": "cpu"})
    engine.load()
    return engine


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
    engine = _engine(paths)
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
