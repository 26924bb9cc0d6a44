"""What must a reader know after ten seconds? One sentence, a few numbers, what to be wary of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.agreement import PROXIES
from analysis.qc import SMALL_COHORT
from analysis.report.facts import EngineFacts
from analysis.report.segmentation import DIFFERENCE, shifted_dice
from analysis.report.subjects import SubjectRow, proxies
from analysis.report.words import count, listed, mm3, number
from analysis.result import AuditResult
from analysis.robustness import ABSOLUTE, dominant_shift, level_name
from lamstore.units import NO_SHIFT

Tone = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True)
class Tile:
    """A number with its name and what it rests on."""

    name: str
    value: str
    detail: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Headline:
    """The verdict on one engine: a sentence, sentences below it, tiles, warnings."""

    verdict: str
    because: tuple[str, ...]
    tiles: tuple[Tile, ...]
    warnings: tuple[str, ...]


def headline(engine: EngineFacts, rows: Sequence[SubjectRow]) -> Headline:
    """Compose the verdict from the numbers."""
    audit = engine.audit
    tiles = [_completed(rows)]
    tiles += _change_tiles(audit, rows) if audit is not None else []
    tiles += _segmentation_tiles(rows)
    because = [
        *_failures(rows),
        *_doubts(audit, rows),
        *_breaks(audit, rows),
        *_masks(engine),
        *_truth(rows),
    ]
    return Headline(_verdict(audit, rows), tuple(because), tuple(tiles), _warnings(audit, rows))


def _verdict(audit: AuditResult | None, rows: Sequence[SubjectRow]) -> str:
    failed = [r for r in rows if r.state in ("failed", "missing")]
    if rows and len(failed) == len(rows):
        which = "the only subject" if len(rows) == 1 else f"all {len(rows)} subjects"
        return f"Nothing could be measured: {which} failed."
    if not rows:
        return "There is no subject in this study."
    measured = [r for r in rows if r.change is not None]
    judged = [r for r in measured if r.judged or np.isfinite(r.number("deltav_abs_p95"))]
    if audit is None or not judged:
        return _without_change(rows, measured)
    doubtful, n = sum(r.doubtful for r in judged), len(judged)
    if doubtful == n:
        return (
            f"No measured change stands: ΔV of all {n} subjects is doubtful."
            if n > 1
            else "The measured change does not stand: ΔV of the one subject is doubtful."
        )
    if doubtful == 0:
        return f"Nothing speaks against the measured change of any of {count(n, 'subject')}."
    verb = "is" if doubtful == 1 else "are"
    return (
        f"The measured change of {n - doubtful} of {n} subjects stands; {doubtful} {verb} doubtful."
    )


def _without_change(rows: Sequence[SubjectRow], measured: Sequence[SubjectRow]) -> str:
    dice = [r.dice for r in rows if r.segmentation and np.isfinite(r.dice)]
    if dice:
        return (
            f"The masks reach a median Dice of {number(np.median(dice))} with the lesion truth "
            f"(n = {len(dice)})."
        )
    if measured:
        return f"ΔV of {count(len(measured), 'subject')} was measured, and nothing judges it."
    return f"{count(len(rows), 'subject')} segmented; without a truth or a follow-up to judge by."


def _completed(rows: Sequence[SubjectRow]) -> Tile:
    good = sum(r.state in ("ok", "partial") for r in rows)
    partial, failed = (sum(r.state == s for r in rows) for s in ("partial", "failed"))
    said = [f"{failed} failed"] if failed else []
    said += [f"{partial} without some shifts"] if partial else []
    tone: Tone = "bad" if failed else "warn" if partial else "plain"
    return Tile("Subjects", f"{good} of {len(rows)}", ", ".join(said) or "all complete", tone)


def _change_tiles(audit: AuditResult, rows: Sequence[SubjectRow]) -> list[Tile]:
    tiles = []
    tried = [r for r in rows if np.isfinite(r.number("deltav_abs_p95"))]
    if tried:
        beyond = sum(bool(r.values.get("exceeds_spurious")) for r in tried)
        tone: Tone = "warn" if beyond < len(tried) else "good"
        value, detail = f"{beyond} of {len(tried)}", "have |ΔV| above what shifts alone make"
        tiles.append(Tile("Beyond the shifts", value, detail, tone))
    if audit.flags is not None:
        flagged = [r.subject for r in rows if r.flagged]
        detail = listed(flagged, 2) if flagged else "none needs review"
        tiles.append(Tile("Flagged by QC", f"{len(flagged)} of {len(audit.flags)}", detail,
                          "warn" if flagged else "plain"))  # fmt: skip
    top = _worst_shift(audit)
    if top is not None:
        value = top.name if top.alone else "all alike"
        first = top.words if top.alone else "every shift"
        detail = f"{first}: moves ΔV by a median of {mm3(top.median)} mm³"
        tiles.append(Tile("What breaks it most", value, detail))
    best = _best_proxy(rows)
    if best is not None:
        name, dice, n = best
        tiles.append(Tile("Best change proxy", number(dice), f"median Dice, {name}, n = {n}"))
    return tiles


def _segmentation_tiles(rows: Sequence[SubjectRow]) -> list[Tile]:
    last = [list(r.segmentation.values())[-1] for r in rows if r.segmentation]
    dice = [d["dice"] for d in last if np.isfinite(d.get("dice", np.nan))]
    if not dice:
        return []
    detail = f"median Dice with the lesion truth, n = {len(dice)}"
    return [Tile("Segmentation", number(np.median(dice)), detail)]


def _failures(rows: Sequence[SubjectRow]) -> list[str]:
    failed = [r.subject for r in rows if r.state == "failed"]
    partial = [r.subject for r in rows if r.state == "partial"]
    said = []
    if failed:
        verb = "subject has" if len(failed) == 1 else "subjects have"
        said.append(f"{len(failed)} {verb} no result: {listed(failed)}. The errors are below.")
    if partial:
        said.append(f"Some shifts failed for {listed(partial)}.")
    return said


def _doubts(audit: AuditResult | None, rows: Sequence[SubjectRow]) -> list[str]:
    if audit is None:
        return []
    tried = [r for r in rows if np.isfinite(r.number("deltav_abs_p95"))]
    drowned = [r for r in tried if not r.values.get("exceeds_spurious")]
    flagged = [r for r in rows if r.flagged]
    said = []
    if drowned:
        said.append(
            f"In {len(drowned)} of {len(tried)}, simulated scanner shifts alone move ΔV at least "
            "as far as what was measured."
        )
    if audit.flags is not None:
        quantile = audit.options.quantile
        said.append(
            f"QC flags {listed([r.subject for r in flagged])}: the members disagree more than in "
            f"{100 * quantile:g} % of the cohort."
            if flagged
            else "QC flags nobody."
        )
    quality = audit.quality
    if quality is not None and quality.missed:
        said.append(f"Confident but wrong, missed by QC: {listed(quality.missed)}.")
    return said


@dataclass(frozen=True)
class _Worst:
    """The shift that moves ΔV most; not `alone` when all others move it as far."""

    name: str
    words: str
    median: float
    quartiles: tuple[float, float]
    n: int
    alone: bool


def _worst_shift(audit: AuditResult | None) -> _Worst | None:
    if audit is None or audit.robustness_summary is None:
        return None
    table = audit.robustness_summary
    top = dominant_shift(table)
    if top is None:
        return None
    name, level = str(top["shift"]), int(top["level"])
    others = table[(table["level"] > 0) & (table["mode"] == top["mode"])
                   & (table["harmonization"] == top["harmonization"])]  # fmt: skip
    medians = others[f"{ABSOLUTE}_median"].dropna()
    return _Worst(
        name,
        level_name(name, level),
        float(top[f"{ABSOLUTE}_median"]),
        (float(top[f"{ABSOLUTE}_q25"]), float(top[f"{ABSOLUTE}_q75"])),
        int(top[f"{ABSOLUTE}_n"]),
        alone=len(medians) < 2 or bool(medians.min() < 0.99 * medians.max()),
    )


def _breaks(audit: AuditResult | None, rows: Sequence[SubjectRow]) -> list[str]:
    top = _worst_shift(audit)
    if top is None:
        return []
    low, high = top.quartiles
    spread = f"median |ΔΔV| {mm3(top.median)} mm³, IQR {mm3(low)} to {mm3(high)}, n = {top.n}"
    emptied = [r.subject for r in rows if _emptied(r)]
    said = [
        f"The shift that moves ΔV most is {top.name}, {top.words}: {spread}."
        if top.alone
        else f"All shifts move ΔV alike ({spread}): what they share does it, not one of them."
    ]
    if emptied:
        said.append(
            f"Every single shift empties the follow-up's mask of {listed(emptied)}: a hint at what "
            "all shifts share (each clips to the brain's p1–p99)."
        )
    return said


def _masks(engine: EngineFacts) -> list[str]:
    """Which shift costs the masks most, where the lesions are known."""
    if engine.segmentation.empty:
        return []
    _, summary = shifted_dice(engine.segmentation)
    summary = summary[summary["level"] > 0].dropna(subset=[f"{DIFFERENCE}_median"])
    if summary.empty:
        return []
    worst = summary.iloc[int(summary[f"{DIFFERENCE}_median"].to_numpy().argmin())]
    name, level, n = str(worst["shift"]), int(worst["level"]), int(worst[f"{DIFFERENCE}_n"])
    change = number(worst[f"{DIFFERENCE}_median"])
    return [
        f"The masks suffer most from {name}, {level_name(name, level)}: median change of Dice "
        f"with the lesion truth {change}, n = {n}."
    ]


def _emptied(row: SubjectRow) -> bool:
    """Whether there is lesion at follow-up as acquired, and none under any shift."""
    if len(row.shifts) < 3 or "lesion_vol_t1_mm3" not in row.shifts:
        return False
    volume = row.shifts.set_index("shift")["lesion_vol_t1_mm3"]
    return bool(volume.get(NO_SHIFT, 0) > 0 and (volume.drop(NO_SHIFT) == 0).all())


def _best_proxy(rows: Sequence[SubjectRow]) -> tuple[str, float, int] | None:
    medians = {}
    for proxy in proxies([*rows]):
        dice = np.array([r.number(f"dice_{proxy}") for r in rows])
        medians[proxy] = float(np.nanmedian(dice)), int(np.isfinite(dice).sum())
    if not medians:
        return None
    best = max(medians, key=lambda p: medians[p][0])
    return best, *medians[best]


def _truth(rows: Sequence[SubjectRow]) -> list[str]:
    best = _best_proxy(rows)
    if best is None:
        return []
    name, dice, n = best
    return [
        f"Of the change proxies `{name}` ({PROXIES[name]}) is nearest to the truth: median Dice "
        f"{number(dice)}, n = {n}."
    ]


def _warnings(audit: AuditResult | None, rows: Sequence[SubjectRow]) -> tuple[str, ...]:
    said = [] if audit is None else [*audit.warnings]
    small = audit is not None and audit.thresholds is not None
    n = sum(row.state in ("ok", "partial") for row in rows)
    if 0 < n < SMALL_COHORT and not small:
        said.append(f"{count(n, 'subject')}: too few for a statement about a population.")
    return tuple(said)
