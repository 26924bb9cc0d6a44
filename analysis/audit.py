"""What do the tables of a study say, all in all?

`audit` computes everything that the given tables allow and says what it could not do and why;
`analyse_tables` also writes it: ``tables/*.csv``, ``tables/qc_thresholds.json``,
``figures/*.png``, ``summary.md``. It is what ``lam analyse`` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd

from analysis import agreement, robustness, tables
from analysis.phenotypes import Phenotypes, find_phenotypes
from analysis.protection import protection
from analysis.qc import QcThresholds, cohort_thresholds, cohort_warning, joined, qc_flags
from analysis.qc_quality import QcQuality, discrimination, qc_quality
from analysis.result import AuditOptions, AuditResult
from analysis.stats import Correlation, correlate
from analysis.verdict import subject_verdicts
from lamstore.errors import AnalysisError

T = TypeVar("T")


class _Notes:
    """Collects what could not be done."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def attempt(self, what: str, compute: Callable[[], T]) -> T | None:
        """`compute()`, or None and a sentence that names the reason."""
        try:
            return compute()
        except AnalysisError as error:
            got = f" ({error.got})" if error.got and len(error.got) < 120 else ""
            self.missing.append(f"{what}: {error.what}{got}")
            return None


def audit(
    longitudinal: pd.DataFrame,
    uncertainty: pd.DataFrame | None = None,
    robustness_given: pd.DataFrame | None = None,
    thresholds: QcThresholds | None = None,
    options: AuditOptions | None = None,
) -> AuditResult:
    """Compute everything that the tables allow; nothing is written.

    Parameters
    ----------
    longitudinal, uncertainty, robustness_given : DataFrame
        As read (`tables.read_table`); normalised here. Without `robustness_given`, robustness is
        computed from the shifted rows of `longitudinal`.
    thresholds : QcThresholds, optional
        Of a reference cohort; otherwise the cohort judges itself.

    Raises
    ------
    AnalysisError
        When a given table cannot be used at all (missing columns, duplicates, no baseline row).
    """
    options = options or AuditOptions()
    notes, seed = _Notes(), options.seed
    table = tables.normalise_longitudinal(longitudinal)
    base = tables.base_rows(table)
    if base.empty:
        raise AnalysisError("the longitudinal table has no unshifted row", expected="shift none")
    together = _together(base, uncertainty, notes)
    used, flags = _qc(together, thresholds, options, notes)
    quality, ranked = _qc_quality(together, flags, options, notes)
    shifted = _robustness(table, robustness_given, notes)
    sensitivity = None if shifted is None else robustness.sensitivity_per_subject(shifted)
    return AuditResult(
        options=options,
        base=base,
        together=together,
        cohort=agreement.cohort_summary(base, seed),
        agreement=notes.attempt(
            "agreement with the change truth", lambda: agreement.proxy_agreement(base, seed)
        ),
        correlations=tuple(agreement.change_correlations(base, seed)),
        proxy_tests=tuple(agreement.tight_against_sym(base, seed)),
        thresholds=used,
        flags=flags,
        quality=quality,
        discrimination=ranked,
        robustness=shifted,
        robustness_summary=None if shifted is None else robustness.robustness_summary(shifted),
        sensitivity=sensitivity,
        mode_contrast=None if shifted is None else robustness.mode_contrast(shifted),
        uncertainty_correlations=_uncertainty_correlations(together, sensitivity, options),
        protection=notes.attempt("what protects", lambda: protection(table, seed)),
        phenotypes=_phenotypes(together, sensitivity, options, notes),
        subset=notes.attempt(
            "representative subset",
            lambda: robustness.representative_subset(base, options.subset_size),
        ),
        verdicts=subject_verdicts(base, flags, sensitivity),
        missing=tuple(notes.missing),
        warnings=_warnings(table, longitudinal, base, together, used),
    )


def analyse_tables(
    longitudinal: pd.DataFrame,
    uncertainty: pd.DataFrame | None = None,
    robustness: pd.DataFrame | None = None,
    thresholds: QcThresholds | None = None,
    *,
    out: Path,
    options: AuditOptions | None = None,
) -> AuditResult:
    """`audit`, written below `out`."""
    result = audit(longitudinal, uncertainty, robustness, thresholds, options)
    write_audit(result, out)
    return result


def write_audit(result: AuditResult, out: Path) -> None:
    """Write tables, thresholds, figures and ``summary.md`` below `out`."""
    # Matplotlib takes a second to import: only who draws pays.
    from analysis.gallery import gallery
    from analysis.style import save
    from analysis.summary import summary

    for folder in ("tables", "figures"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name, table in result.written_tables().items():
        table.to_csv(out / "tables" / f"{name}.csv", index=False)
    if result.thresholds is not None:
        (out / "tables" / "qc_thresholds.json").write_text(result.thresholds.to_json())
    for picture in gallery(result):
        save(picture.figure, out / "figures" / f"{picture.name}.png")
    (out / "summary.md").write_text(summary(result))


def _together(
    base: pd.DataFrame, uncertainty: pd.DataFrame | None, notes: _Notes
) -> pd.DataFrame | None:
    if uncertainty is None:
        notes.missing.append("QC, uncertainty and groups: no uncertainty table was given")
        return None
    return joined(base, tables.normalise_uncertainty(uncertainty))


def _qc(
    together: pd.DataFrame | None,
    given: QcThresholds | None,
    options: AuditOptions,
    notes: _Notes,
) -> tuple[QcThresholds | None, pd.DataFrame | None]:
    if together is None:
        return None, None
    used = given or notes.attempt(
        "QC",
        lambda: cohort_thresholds(together, options.primary, options.quantile, options.quantile),
    )
    if used is None:
        return None, None
    return used, notes.attempt("QC", lambda: qc_flags(together, used))


def _qc_quality(
    together: pd.DataFrame | None,
    flags: pd.DataFrame | None,
    options: AuditOptions,
    notes: _Notes,
) -> tuple[QcQuality | None, pd.DataFrame | None]:
    if together is None or flags is None:
        return None, None
    column, at_most = options.failure_column, options.failure_at_most
    return (
        notes.attempt("how good QC is", lambda: qc_quality(together, flags, column, at_most)),
        notes.attempt(
            "AUROC of uncertainty",
            lambda: discrimination(together, column, at_most, options.seed),
        ),
    )


def _robustness(
    table: pd.DataFrame, given: pd.DataFrame | None, notes: _Notes
) -> pd.DataFrame | None:
    if given is not None:
        return robustness.with_differences(tables.normalise_robustness(given))
    if (table["shift"] == tables.BASE).all():
        notes.missing.append(
            "robustness: the longitudinal table has no shifted rows and no robustness table was "
            "given"
        )
        return None
    return notes.attempt("robustness", lambda: robustness.robustness_table(table))


def _uncertainty_correlations(
    together: pd.DataFrame | None, sensitivity: pd.DataFrame | None, options: AuditOptions
) -> tuple[Correlation, ...]:
    """Primary uncertainty against error (1 − Dice) and against shift sensitivity."""
    if together is None:
        return ()
    table, error = together, f"1 - {options.failure_column}"
    if options.failure_column in table:
        table = table.assign(**{error: 1 - table[options.failure_column]})
    if sensitivity is not None:
        table = table.merge(sensitivity, on="subject", how="left", validate="1:1")
    sources = [f"unc_{options.primary}_{k}" for k in ("mean_lesion_t1", "p95_brain_t1")]
    targets = [error, "deltav_abs_p95", "dice_sym_drop_p05", "dice_tight_drop_p05"]
    return tuple(
        correlate(table, x, y, method, options.seed)
        for x in sources
        for y in targets
        for method in agreement.METHODS
        if x in table and y in table
    )


def _phenotypes(
    together: pd.DataFrame | None,
    sensitivity: pd.DataFrame | None,
    options: AuditOptions,
    notes: _Notes,
) -> dict[str, Phenotypes]:
    """Groups for every feature set that the tables allow."""
    if together is None:
        return {}
    table, sets = together, [(), ("qc",), ("eval",)]
    if sensitivity is not None:
        table = table.merge(sensitivity, on="subject", how="left", validate="1:1")
        sets.append(("robust",))
    found = {}
    for chosen in sets:
        name = "_".join(chosen) or "base"
        result = notes.attempt(
            f"groups by feature set {name}",
            lambda chosen=chosen: find_phenotypes(  # type: ignore[misc]
                table,
                chosen,
                minimum_cluster_size=options.minimum_cluster_size,
                seed=options.seed,
            ),
        )
        if result is not None:
            found[name] = result
    return found


def _warnings(
    table: pd.DataFrame,
    longitudinal: pd.DataFrame,
    base: pd.DataFrame,
    together: pd.DataFrame | None,
    thresholds: QcThresholds | None,
) -> tuple[str, ...]:
    said = []
    failed = len(longitudinal) - len(table)
    if failed:
        said.append(f"{failed} rows of the longitudinal table are marked as failed and left out.")
    orphans = robustness.subjects_without_base(table)
    if orphans:
        said.append(f"Shifted but without unshifted row, left out: {', '.join(orphans)}.")
    if together is not None and len(together) < len(base):
        lost = sorted(set(base["subject"]) - set(together["subject"]))
        said.append(f"Without uncertainty, hence not judged by QC: {', '.join(lost)}.")
    if thresholds is not None and (small := cohort_warning(thresholds)):
        said.append(small)
    return tuple(said)
