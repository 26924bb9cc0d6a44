"""Tables that the tests of the analysis share."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import qc, tables
from analysis.audit import audit
from analysis.result import AuditOptions

HERE = Path(__file__).resolve()
MSLAM = HERE.parents[2] / "../shared/data/mslam_tables"


@pytest.fixture(scope="session")
def published():
    """Published results, each with its source in the file."""
    return json.loads((HERE.parent / "published.json").read_text())


@pytest.fixture(scope="session")
def mslam():
    """Folder of the published tables."""
    if not MSLAM.is_dir():
        pytest.skip("the published tables (../shared/data/mslam_tables) are not here")
    return MSLAM.resolve()


@pytest.fixture(scope="session")
def mslam_raw(mslam):
    """The published longitudinal and uncertainty tables, as read."""
    names = ("phase2_longitudinal_metrics.csv", "phase4_uncertainty_metrics.csv")
    return tuple(tables.read_table(mslam / n) for n in names)


@pytest.fixture(scope="session")
def base(mslam_raw):
    return tables.base_rows(tables.normalise_longitudinal(mslam_raw[0]))


@pytest.fixture(scope="session")
def together(base, mslam_raw):
    return qc.joined(base, tables.normalise_uncertainty(mslam_raw[1]))


@pytest.fixture(scope="session")
def _cohort():
    """Twelve generated subjects: no harmonization moves ΔV by exactly 100·i, "half" by 50·i."""
    n = 12
    i = np.arange(1, n + 1)
    unshifted = pd.DataFrame(
        {
            "subject": [f"s{k:02d}" for k in i],
            "delta_lesion_vol_mm3": 1000.0 - 40 * i,
            "change_gt_vol_mm3": 200.0 * i,
            "lesion_vol_t0_mm3": 3000.0 + 10 * i**2,
            "lesion_vol_t1_mm3": 4000.0 - 40 * i + 10 * i**2,
            "new_cons_vol_mm3": 100.0 + 7 * i,
            "new_cons_vol_err_mm3": 100.0 + 7 * i - 200.0 * i,
            "dice_chg_sym_cons": 0.05 * i,
            "dice_new_cons": 0.04 * i,
            "intensity_diff_mean": 0.05 + 0.001 * (i % 5),
            "intensity_diff_p95": 0.15 + 0.01 * (i % 4),
        }
    )
    rows = []
    for harmonization, factor in (("none", 1.0), ("half", 0.5)):
        rows.append(unshifted.assign(shift="none", harmonization=harmonization))
        for shift, size in (("noise-1", 100.0), ("noise-2", 200.0), ("gamma-1-both", 10.0)):
            rows.append(
                unshifted.assign(
                    shift=shift,
                    harmonization=harmonization,
                    delta_lesion_vol_mm3=unshifted.delta_lesion_vol_mm3 - factor * size * i,
                    dice_chg_sym_cons=unshifted.dice_chg_sym_cons - factor * size / 1e4 * i,
                )
            )
    return pd.concat(rows, ignore_index=True)


@pytest.fixture
def cohort(_cohort):
    """The generated cohort, free to change."""
    return _cohort.copy()


@pytest.fixture(scope="session")
def uncertainty():
    """Uncertainty of the generated subjects, largest for the last."""
    i = np.arange(1, 13)
    return pd.DataFrame(
        {
            "subject": [f"s{k:02d}" for k in i],
            "unc_ens_var_mean_lesion_t1": 0.01 * i,
            "unc_ens_var_p95_brain_t1": 1e-6 * (13 - i),
        }
    )


@pytest.fixture(scope="session")
def complete(_cohort, uncertainty):
    """Audit of the generated cohort; Dice is 0.05·i, so that s01 … s04 fail."""
    return audit(_cohort, uncertainty, options=AuditOptions(failure_at_most=0.2))
