"""How does what was seen in one spine become an answer? Values in, a part of the page out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.one_spine import words
from analysis.one_spine.charts import panels, risk_chart
from analysis.one_spine.page import ANSWER, environment
from analysis.one_spine.viewer import make_viewer
from analysis.report.spine_words import definitions
from analysis.report.words import number
from analysis.screening.measures import level_name
from analysis.screening.summary import GENERATED, RESEARCH
from lamstore.config import StudyConfig
from lamstore.grid import Grid


@dataclass(frozen=True)
class OneSpine:
    """What was seen.

    Attributes
    ----------
    image : (x, y, z) ndarray
    grid : Grid
    heatmap : (level, x, y, z) ndarray in [0, 1]
        With the image's axes, slices and field of view.
    levels : sequence of str
        From the head down.
    measures : mapping of column to float
    normals : mapping of column to (n,) ndarray
        Measures of known normals; empty where nobody knows.
    config : StudyConfig
        Whose bounds divide the risk groups.
    reason : str
        Which series was chosen, and why.
    left_out : str
        What lay there beside series; empty for nothing.
    engine : str
    own_weights : bool
        Whether the weights are those that come with lamstore.
    generated : str
        What the spine is, where it was generated; empty for one that was dropped.
    """

    image: NDArray[np.floating]
    grid: Grid
    heatmap: NDArray[np.floating]
    levels: Sequence[str]
    measures: Mapping[str, float]
    normals: Mapping[str, NDArray[np.float64]]
    config: StudyConfig
    reason: str
    left_out: str
    engine: str
    own_weights: bool
    generated: str = ""


def render_answer(one: OneSpine) -> str:
    """The answer as a part of the page."""
    bounds, known = one.config.screening, one.normals
    heads, rows = words.table(one.measures, one.levels)
    viewer = make_viewer(
        one.image, one.grid, one.heatmap, one.levels, one.measures, bounds.score_level
    )
    seen = {place.name for place in viewer.places}
    return (
        environment()
        .get_template(ANSWER)
        .render(
            generated=one.generated,
            warnings=[*([GENERATED] if one.own_weights else []), RESEARCH],
            verdict=words.verdict(one.measures, bounds),
            risk=words.risk(one.measures, bounds),
            because=words.because(one.measures, known, one.levels, bounds),
            risk_chart=risk_chart(
                words.entropy(one.measures, bounds),
                known.get(f"{bounds.score_level}_entropy"),
                bounds,
            ),
            tiles=words.tiles(one.measures, bounds),
            viewer=viewer,
            unseen=[level_name(k) for k in one.levels if level_name(k) not in seen],
            heads=heads,
            rows=rows,
            panels=panels(one.measures, known, one.levels),
            known=max((len(v) for v in known.values()), default=0),
            reason=one.reason,
            left_out=one.left_out,
            facts=_facts(one),
            definitions=dict(definitions(one.config))["Measures of a level"],
        )
    )


def _facts(one: OneSpine) -> list[tuple[str, str]]:
    x, y, z = one.grid.shape
    spacing = " × ".join(number(v) for v in one.grid.spacing_mm)
    return [("Series", f"{x} × {y} × {z} voxels of {spacing} mm"), ("Engine", one.engine)]
