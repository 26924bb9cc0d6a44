"""The two real patients: what a harmonization does to the spurious change that gamma makes.

Numbers were read off a run of this project (flair-zscore, which is optimistic on these patients);
no publication has them. Two patients prove nothing about other ones.
"""

from pathlib import Path

import numpy as np
import pytest

import lamstore
from tests.running import lam, write_study

DATA = Path(__file__).resolve().parents[2] / "../shared/data/open_ms_data"
PATIENTS = ["patient01", "patient12"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("real study"),  # one process computes it, once
    pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data/open_ms_data"),
]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "study"
    write_study(
        path,
        DATA.resolve(),
        shifts={"names": ["gamma"], "levels": [1, 2]},
        harmonizations=["median", "histogram", "nyul"],
    )
    lam("run", path)
    ds = lamstore.open(path, engine="flair-zscore", harmonization="all")
    return ds.sel(subject=PATIENTS)


def spurious(metrics, harmonization):
    """ΔΔV (mm³) by patient, under gamma-1 and gamma-2."""
    change = metrics.delta_lesion_vol_mm3.sel(harmonization=harmonization)
    moved = change - change.sel(shift="none", drop=True)
    return moved.sel(shift=["gamma-1", "gamma-2"]).transpose("subject", "shift").values


EXPECTED = {
    "none": [[-761, -366], [-4299, -1185]],
    "median": [[-761, -366], [-4299, -1185]],
    "histogram": [[-81, 37], [203, 721]],
    "nyul": [[-292, -419], [-1093, -1303]],
}


@pytest.mark.parametrize("harmonization", EXPECTED)
def test_spurious_change_under_gamma(metrics, harmonization):
    assert spurious(metrics, harmonization) == pytest.approx(
        np.array(EXPECTED[harmonization]), abs=60
    )


def test_matching_removes_most_of_it_and_nyul_only_that_of_the_brighter_level(metrics):
    none, matched, nyul = (abs(spurious(metrics, h)) for h in ("none", "histogram", "nyul"))
    assert (matched < none).all()
    assert matched.sum() < 0.2 * none.sum()
    assert (nyul[:, 0] < 0.4 * none[:, 0]).all()
    assert (nyul[:, 1] > none[:, 1]).all()


def test_scaling_does_nothing_for_an_engine_that_scales_for_itself(metrics):
    assert spurious(metrics, "median") == pytest.approx(spurious(metrics, "none"), abs=5)


def test_tight_overlaps_better_and_its_volume_is_better_for_one_of_two(metrics):
    """It leaves out the ring, so it errs low; the ring's error goes the other way."""
    base = metrics.sel(harmonization="none", shift="none")
    columns = ("dice_chg_sym_cons", "dice_chg_tight")
    loose, tight = (base[c].values for c in columns)
    assert loose == pytest.approx([0.570, 0.246], abs=0.01)
    assert tight == pytest.approx([0.635, 0.309], abs=0.01)
    loose, tight = (base[f"{c}_vol_err_mm3"].values for c in ("chg_sym_cons", "chg_tight"))
    assert loose == pytest.approx([-349, 9524], abs=100)
    assert tight == pytest.approx([-1032, -2776], abs=100)
    assert abs(tight).mean() < 0.5 * abs(loose).mean()
