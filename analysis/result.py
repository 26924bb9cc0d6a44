"""What does an audit hold?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.paired import PairedTest, tests_frame
from analysis.phenotypes import Phenotypes
from analysis.protection import Protection
from analysis.qc import PRIMARY, QUANTILE, QcThresholds
from analysis.qc_quality import FAILURE_COLUMN, FAILURE_DICE, QcQuality
from analysis.stats import Correlation, frame
from analysis.voxels import VoxelAudit


@dataclass(frozen=True)
class AuditOptions:
    """What a user may change about an audit.

    Attributes
    ----------
    primary : str
        The uncertainty that drives QC.
    quantile : float
        Of the cohort, above which an uncertainty or |ΔV| is high.
    failure_column : str
    failure_at_most : float
        Dice at or below which a subject counts as failed.
    minimum_cluster_size : int
    subset_size : int
        Of the representative subset proposed for a robustness run.
    seed : int
        Of every bootstrap and every clustering.
    """

    primary: str = PRIMARY
    quantile: float = QUANTILE
    failure_column: str = FAILURE_COLUMN
    failure_at_most: float = FAILURE_DICE
    minimum_cluster_size: int = 1
    subset_size: int = 8
    seed: int = 0


@dataclass(frozen=True)
class AuditResult:
    """Everything that was found; what an input did not allow is None or empty.

    Attributes
    ----------
    base : DataFrame
        Unshifted rows of the longitudinal table.
    together : DataFrame or None
        `base` joined with the uncertainty summaries.
    uncertainty_correlations : tuple of Correlation
        Primary uncertainty against error and against shift sensitivity.
    phenotypes : mapping of feature set to Phenotypes
    missing : tuple of str
        What could not be computed, and why.
    warnings : tuple of str
        What a reader must know before believing a number.
    voxels : VoxelAudit or None
        Calibration and error retention of this engine; None where only tables are at hand.
    """

    options: AuditOptions
    base: pd.DataFrame
    together: pd.DataFrame | None
    cohort: pd.DataFrame
    agreement: pd.DataFrame | None
    correlations: tuple[Correlation, ...]
    proxy_tests: tuple[PairedTest, ...]
    thresholds: QcThresholds | None
    flags: pd.DataFrame | None
    quality: QcQuality | None
    discrimination: pd.DataFrame | None
    robustness: pd.DataFrame | None
    robustness_summary: pd.DataFrame | None
    sensitivity: pd.DataFrame | None
    mode_contrast: pd.DataFrame | None
    uncertainty_correlations: tuple[Correlation, ...]
    protection: Protection | None
    phenotypes: Mapping[str, Phenotypes]
    subset: pd.DataFrame | None
    verdicts: pd.DataFrame
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    voxels: VoxelAudit | None = None

    @property
    def flagged(self) -> frozenset[str]:
        """Subjects that need review; empty without uncertainty."""
        if self.flags is None:
            return frozenset()
        return frozenset(self.flags.loc[self.flags["qc_needs_review"], "subject"])

    def written_tables(self) -> dict[str, pd.DataFrame]:
        """Name (without ``.csv``) to table, of everything there is."""
        found: dict[str, pd.DataFrame | None] = {
            "subjects": self.verdicts,
            "cohort": self.cohort,
            "agreement": self.agreement,
            "correlations": frame(self.correlations),
            "proxy_tests": tests_frame(self.proxy_tests),
            "qc_flags": self.flags,
            "qc_quality": None if self.quality is None else self.quality.table(),
            "uncertainty_discrimination": self.discrimination,
            "robustness": self.robustness,
            "robustness_summary": self.robustness_summary,
            "sensitivity": self.sensitivity,
            "mode_contrast": self.mode_contrast,
            "uncertainty_correlations": frame(self.uncertainty_correlations),
            "representative_subset": self.subset,
            "protection": None if self.protection is None else self.protection.removed,
            "protection_cost": None if self.protection is None else self.protection.cost,
        }
        for name, p in self.phenotypes.items():
            found[f"phenotypes_{name}"] = p.assignments
            found[f"phenotypes_{name}_profiles"] = p.profiles
            found[f"phenotypes_{name}_k"] = p.k_selection
        return {k: t for k, t in found.items() if t is not None and not t.empty}
