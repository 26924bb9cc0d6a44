"""Which sentence opens the page of a screening, which numbers stand below, what is each measure?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.report.facts import Facts
from analysis.report.headline import Tile, Tone
from analysis.report.words import count, listed, number
from analysis.screening.measures import level_name
from analysis.screening.result import Evidence, Screening
from analysis.screening.summary import judged
from analysis.screening.thresholds import BOTH, FIXED, HALVES
from lamstore.config import StudyConfig


def verdict(facts: Facts | None, found: Sequence[Screening]) -> str:
    """One sentence on the first engine; without any, why there is none."""
    if not found:
        n = len(facts.subjects) if facts else 0
        return f"Nothing could be screened: none of {count(n, 'study', 'studies')} has measures."
    one = found[0]
    if one.evidence is None:
        high = int((one.risk == "high").sum())
        return (
            f"{high} of {count(len(one.table), 'study', 'studies')} are at high risk. Nothing was "
            "validated: there are no labels."
        )
    best = one.evidence.best
    if best is None:
        return "The labels do not allow a statement: transitional and normal studies are needed."
    row = one.evidence.area(best)
    name = f"{best.kind.says.capitalize()} ({level_name(best.level)})"
    if not np.isfinite(row["auroc_low"]):
        return "There are too few labelled studies for a statement."
    if row["auroc_low"] <= 0.5:
        return "No measure tells transitional spines from normal ones beyond chance."
    return (
        f"{name} tells transitional spines from normal ones best: AUROC {number(row['auroc'])}, "
        f"95 % interval {number(row['auroc_low'])} to {number(row['auroc_high'])}."
    )


def tiles(one: Screening) -> list[Tile]:
    """The numbers of the first screen."""
    risk = one.risk.value_counts()
    high = int(risk.get("high", 0))
    bound = f"entropy above {one.config.high_entropy:g} at {level_name(one.config.score_level)}"
    found = [
        Tile("Studies measured", str(len(one.table)), _labelled(one)),
        Tile("High risk", f"{high} of {len(one.table)}", bound, "warn" if high else "plain"),
    ]
    return found if one.evidence is None else [*_evidence_tiles(one.evidence), *found]


def _labelled(one: Screening) -> str:
    if one.evidence is None:
        return "none with a label"
    lstv = int(one.evidence.positive.sum())
    return f"with a label: {lstv} transitional, {len(one.evidence.positive) - lstv} normal"


def _evidence_tiles(evidence: Evidence) -> list[Tile]:
    best = evidence.best
    if best is None:
        return []
    row = evidence.area(best)
    known = np.isfinite(row["auroc_low"])
    low, high = number(row["auroc_low"]), number(row["auroc_high"])
    interval = f"{low} to {high}" if known else "no interval"
    detail = f"{interval}, {best.kind.says}, n = {row['n_lstv'] + row['n_normal']:.0f}"
    found = [Tile("Best AUROC", number(row["auroc"]), detail, _tone(row["auroc_low"]))]
    if len(evidence.selection):
        areas = [number(v) for v in evidence.selection["auroc"]]
        detail = (
            f"best of one half, in the other; swapped {listed(areas[1:]) if areas[1:] else '–'}"
        )
        found.append(Tile("AUROC, other half", areas[0], detail))
    fixed = judged(evidence, best, FIXED)
    if fixed is not None:
        for name in ("sensitivity", "specificity"):
            halves = [judged(evidence, best, FIXED, on) for on in HALVES]
            each = " / ".join(number(h[name]) for h in halves if h is not None)
            low, high = number(fixed[f"{name}_low"]), number(fixed[f"{name}_high"])
            detail = f"{low} to {high}; {BOTH} ({each})"
            found.append(Tile(name.capitalize(), number(fixed[name]), detail))
    return found


def _tone(low: float) -> Tone:
    return "plain" if not np.isfinite(low) else "good" if low > 0.5 else "bad"


def definitions(config: StudyConfig) -> list[tuple[str, list[tuple[str, str]]]]:
    """Name and text by group; parameters are those of study.yaml."""
    s, h = config.screening, config.heatmaps
    return [
        (
            "Measures of a level",
            [
                ("peak confidence", "Maximum of the mean map over members, on the level's slice."),
                (
                    "entropy",
                    "Shannon, nats, of the map normalized to sum 1, on 160 × 160 pixels: 0 for "
                    "one pixel, 10.15 for a map that is the same everywhere.",
                ),
                ("spatial entropy", "The same over sums of 10 × 10 pixels."),
                (
                    "second peak",
                    f"Height of the second maximum over that of the first; maxima nearer than "
                    f"{h.apart_mm:g} mm are one.",
                ),
                (
                    "which level it is",
                    "Entropy, nats, of the levels' shares of all heat within 10 mm of the peak: "
                    "ln 2 where two levels claim a disc alike.",
                ),
                (
                    "mass off the chain",
                    f"Share of the map's mass more than {h.chain_radius_mm:g} mm from the level's "
                    "place on the chain of levels.",
                ),
                (
                    "spacing unlike the others",
                    "|ln| of the distance to the level above, over the median of the others.",
                ),
                (
                    "mutual information",
                    "Entropy of the mean map less the mean entropy of the members' maps, nats: "
                    "what the members disagree on.",
                ),
                (
                    "spread of peaks",
                    "Root mean square distance of the members' maxima from their mean, mm.",
                ),
                (
                    "unlike known normals",
                    "Mean over several measures of −ln of the share of the normal spines that came "
                    "with the weights which are at least as suspicious. No transitional spine "
                    "enters.",
                ),
            ],
        ),
        (
            "Measures of the spine",
            [
                (
                    "levels on the chain",
                    f"Of the highest set of maxima, at most one a level, that descends with "
                    f"{h.spacing_mm[0]:g} to {h.spacing_mm[1]:g} mm a step.",
                ),
                ("levels out of order", "Neighbours whose highest peaks do not descend."),
            ],
        ),
        (
            "Statistics",
            [
                (
                    "AUROC",
                    "Probability that a transitional spine is more suspicious than a normal one, "
                    "ties half. Which direction is suspicious is declared, not fitted. Interval: "
                    "DeLong 1988 on the logit scale; where its variance is 0, Newcombe 2006.",
                ),
                (
                    "Halves",
                    f"A stratified split of the labelled studies, seed {s.split_seed}. Thresholds, "
                    "calibration and the choice of a measure are made on one half and judged on "
                    "the other, then the other way round. "
                    f"`{BOTH}` pools both: each study is called once, by a threshold that it had "
                    "no part in.",
                ),
                (
                    "Thresholds",
                    "Youden: greatest sensitivity + specificity. Fixed sensitivity: the highest "
                    f"threshold that reaches {s.sensitivity:g}. Proportions have Wilson intervals. "
                    "PPV and NPV hold for this cohort's share of transitional spines only.",
                ),
                (
                    "Comparison",
                    "Paired test of DeLong on the studies where both are defined; p adjusted "
                    "after Holm over all pairs of measures.",
                ),
                (
                    "Risk groups",
                    f"Entropy at {level_name(s.score_level)}: high above {s.high_entropy:g}, "
                    f"medium from {s.medium_entropy:g} on, else low (`screening` in study.yaml).",
                ),
            ],
        ),
    ]
