"""What exactly is each measure, with this study's parameters?"""

from __future__ import annotations

from collections.abc import Iterator

from analysis.result import AuditResult
from analysis.robustness import LEVEL_NAMES
from lamstore.config import StudyConfig

Definition = tuple[str, str]
"""Name, and what it is (`names` in backticks)."""


def definitions(
    config: StudyConfig, audit: AuditResult | None
) -> list[tuple[str, list[Definition]]]:
    """Definitions by group; parameters are those of study.yaml."""
    return [
        ("Change", [*_change(config)]),
        ("Against the truth", [*_truth(config)]),
        ("Shifts and robustness", [*_shifts(config)]),
        ("Uncertainty and quality control", [*_uncertainty(config, audit)]),
    ]


def _change(config: StudyConfig) -> Iterator[Definition]:
    m = config.metrics
    small = f"components under {m.min_component_mm3:g} mm³ ({m.connectivity}-connectivity) dropped"
    grown = f"dilated by {m.dilation_radius_mm:g} mm (Euclidean)"
    yield "m0, m1, G", "The model's masks at baseline and follow-up; the true change region."
    yield "ΔV", "Volume of m1 less volume of m0, mm³ (`delta_lesion_vol_mm3`)."
    yield "new_raw", "m1 and not m0."
    yield "new_cons", f"m1 and not m0 {grown}; {small}."
    yield "chg_sym_raw", "m1 exclusive-or m0."
    yield (
        "chg_sym_cons",
        (
            f"m1 exclusive-or m0 {grown}; {small}. It counts the ring of the dilation itself as "
            "change and is kept to compare with published tables."
        ),
    )
    yield (
        "chg_tight",
        (
            f"(m1 and not m0 {grown}) or (m0 and not m1 {grown}); {small}. A lesion border "
            "that moves a little makes none."
        ),
    )
    yield (
        "Pictures",
        (
            "Coloured voxels are the raw change (new: m1 and not m0; vanished: m0 and not m1), "
            "before any dilation; outlines follow voxel borders. Slices: those with most change, "
            "at least 8 mm apart. Each image is windowed from its own 1st to 99.5th percentile in "
            "the brain."
        ),
    )


def _truth(config: StudyConfig) -> Iterator[Definition]:
    yield "Dice", "2 |A ∩ B| / (|A| + |B|); 1 when both are empty, 0 when one is."
    yield "Volume error", "Proxy volume less volume of G, mm³: positive is overestimated."
    yield (
        "Failure",
        f"Dice with the truth of at most {config.qc.failure_dice:g} (`qc.failure_dice`).",
    )
    yield (
        "nDSC",
        ("Dice normalised to a lesion load of 0.1 % of the voxels (Raina et al. 2023)."),
    )
    yield (
        "Lesion F1, recall",
        (
            "Counted by lesions (6-connected): one is found when its best IoU reaches 0.5 (Shifts "
            "2022)."
        ),
    )
    yield "HD95, ASSD", "95th percentile Hausdorff and mean symmetric surface distance, mm."


def _shifts(config: StudyConfig) -> Iterator[Definition]:
    levels = ", ".join(
        f"{name} {level}: {LEVEL_NAMES[name, level]}"
        for name in config.shifts.names
        for level in config.shifts.levels
    )
    modes = " and ".join(config.shifts.modes)
    yield "Shifts", f"Suite {config.shifts.suite}, mode {modes}. {levels}."
    yield "gamma", "Its two levels are opposite directions, brighter and darker, not severities."
    yield (
        "ΔΔV",
        "ΔV under a shift less ΔV as acquired, mm³; the scan is the same, so the truth is 0.",
    )
    yield "Spurious change", "95th percentile of |ΔΔV| over the shifts of one subject."
    yield "Relative risk", "|ΔΔV| / volume of G: 1 fakes as much change as there really is."
    yield (
        "Doubtful",
        ("QC wants a review, or |ΔV| does not exceed the spurious change of the same subject."),
    )


def _uncertainty(config: StudyConfig, audit: AuditResult | None) -> Iterator[Definition]:
    stored = ", ".join(config.uncertainty.measures)
    yield "Maps", f"Stored at inference: {stored}. `ens_var` is the population variance of members."
    yield "Boundary", f"Within {config.uncertainty.boundary_mm:g} mm outside the lesion, in brain."
    qc = config.qc
    yield (
        "QC thresholds",
        (
            f"Cohort quantiles: {qc.uncertainty_quantile:g} of the follow-up's uncertainty (mean "
            f"in lesion; 95th percentile in brain), {qc.change_quantile:g} of |ΔV|."
        ),
    )
    if audit is not None and audit.thresholds is not None:
        used = ", ".join(
            f"{t.column} > {t.value:.6g}" for t in audit.thresholds.thresholds.values()
        )
        yield "In numbers", f"{used} (from {audit.thresholds.cohort_n} subjects)."
    yield "Needs review", "Either uncertainty is above its threshold."
    yield "Change not confident", "Needs review, and |ΔV| is above its threshold."
    yield (
        "Intervals",
        (
            "95 %, bootstrap over subjects (BCa where defined, 2000 resamples, seed 0); none below "
            "five subjects."
        ),
    )
