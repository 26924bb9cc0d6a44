"""Do the subjects fall into groups, and is that grouping more than one outlier?

Exploratory: features of the audit, robust scaling, PCA to at most five components, k-means. The
groups are groups of *measurements*, quality included; nothing here is a clinical subtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.tables import require
from lamstore.errors import AnalysisError

LOG1P = ("lesion_vol_t0_mm3", "lesion_vol_t1_mm3", "new_cons_vol_mm3", "deltav_abs_p95")
"""Heavy-tailed, non-negative columns, which enter as ``log1p_<column>``."""

FEATURES: Mapping[str, tuple[str, ...]] = {
    "base": (
        "log1p_lesion_vol_t0_mm3",
        "log1p_lesion_vol_t1_mm3",
        "delta_lesion_vol_mm3",
        "log1p_new_cons_vol_mm3",
        "intensity_diff_mean",
        "intensity_diff_p95",
        "unc_ens_var_mean_lesion_t1",
    ),
    "qc": ("unc_ens_var_p95_brain_t1",),
    "robust": ("log1p_deltav_abs_p95", "dice_sym_drop_p05"),
    "eval": ("dice_new_cons", "dice_chg_sym_cons"),
}
"""``base`` is always in; the other sets add to it (``("qc", "robust")`` adds both)."""

MAX_COMPONENTS = 5
K_RANGE = range(2, 7)
SEEDS = 50
MINIMUM_SUBJECTS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Phenotypes:
    """Groups of subjects and how stable they are.

    Attributes
    ----------
    assignments : DataFrame
        ``subject``, ``cluster`` (0 is the largest), ``stability`` (mean co-assignment with the
        others of its cluster; 1 for a cluster of one), ``pca1`` … ``pca5``.
    k_selection : DataFrame
        ``k``, ``silhouette``, ``smallest_cluster``, ``allowed``.
    profiles : DataFrame
        Medians of the features per cluster, and its size.
    coassignment : (n, n) float64 ndarray
        Fraction of the seeds in which two subjects share a cluster, in the order of `assignments`.
    loadings : DataFrame
        Feature by component.
    explained : (components,) float64 ndarray
        Fraction of the variance.
    left_out : tuple of subjects with an undefined feature
    warnings : tuple of str
    """

    feature_sets: tuple[str, ...]
    assignments: pd.DataFrame
    k_selection: pd.DataFrame
    profiles: pd.DataFrame
    coassignment: Floats
    loadings: pd.DataFrame
    explained: Floats
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def k(self) -> int:
        """Number of clusters."""
        return int(self.assignments["cluster"].max()) + 1

    @property
    def silhouette(self) -> float:
        """Mean silhouette of the chosen k."""
        return float(self.k_selection.set_index("k")["silhouette"][self.k])


def feature_table(table: pd.DataFrame, sets: Iterable[str] = ()) -> pd.DataFrame:
    """Features of ``base`` and the named sets, one row per subject; NaN where undefined.

    Parameters
    ----------
    table : DataFrame
        Longitudinal columns joined with uncertainty and, for ``robust``, with
        `robustness.sensitivity_per_subject`.

    Raises
    ------
    AnalysisError
        For an unknown set or a missing column.
    """
    sets = tuple(sets)
    unknown = sorted(set(sets) - set(FEATURES))
    if unknown:
        raise AnalysisError(
            "there is no such feature set", got=", ".join(unknown), expected=", ".join(FEATURES)
        )
    names = [f for s in FEATURES if s == "base" or s in sets for f in FEATURES[s]]
    require(table, [n.removeprefix("log1p_") for n in names], "feature")
    columns = {
        n: np.log1p(table[n.removeprefix("log1p_")].clip(lower=0))
        if n.startswith("log1p_")
        else table[n]
        for n in names
    }
    return pd.DataFrame({"subject": table["subject"], **columns}).reset_index(drop=True)


def find_phenotypes(
    table: pd.DataFrame,
    sets: Iterable[str] = (),
    *,
    minimum_cluster_size: int = 1,
    seed: int = 0,
    seeds: int = SEEDS,
) -> Phenotypes:
    """Cluster the subjects; k of 2–6 by the largest silhouette in PCA space.

    Parameters
    ----------
    table : DataFrame
        As for `feature_table`; subjects with an undefined feature are left out and named.
    minimum_cluster_size : int
        A k whose smallest cluster is smaller is not chosen.

    Raises
    ------
    AnalysisError
        Fewer than `MINIMUM_SUBJECTS` complete subjects, fewer than three distinct ones, or no k
        is allowed.
    """
    sets = tuple(sets)
    features = feature_table(table, sets)
    defined = features.notna().all(axis=1)
    used = features[defined].reset_index(drop=True)
    names = [str(c) for c in features if c != "subject"]
    if len(used) < MINIMUM_SUBJECTS:
        raise AnalysisError(
            "too few subjects to look for groups",
            got=f"{len(used)} with every feature defined, of {len(features)}",
            expected=f"at least {MINIMUM_SUBJECTS}",
        )
    if len(used.drop_duplicates(names)) < 3:
        raise AnalysisError(
            "the subjects do not fall into groups", got="fewer than three distinct rows of features"
        )
    # A second to import, and most studies have too few subjects to get here.
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import RobustScaler
    from threadpoolctl import threadpool_limits

    scaled = np.asarray(RobustScaler().fit_transform(used[names].to_numpy(float)))
    pca = PCA(min(MAX_COMPONENTS, *scaled.shape), random_state=seed)
    points = np.asarray(pca.fit_transform(scaled))
    with threadpool_limits(1):  # A few dozen points: threads only wait for one another.
        selection, labels = _choose_k(points, minimum_cluster_size, seed)
        together = coassignment(points, int(labels.max()) + 1, seed, seeds)
    components = [f"pca{i + 1}" for i in range(points.shape[1])]
    assignments = pd.DataFrame(
        {"subject": used["subject"], "cluster": labels, "stability": _stability(together, labels)}
    ).join(pd.DataFrame(points, columns=components))
    return Phenotypes(
        feature_sets=("base", *sets),
        assignments=assignments,
        k_selection=selection,
        profiles=_profiles(used, names, labels),
        coassignment=together,
        loadings=pd.DataFrame(pca.components_.T, index=names, columns=components),
        explained=np.asarray(pca.explained_variance_ratio_),
        left_out=tuple(features.loc[~defined, "subject"]),
        warnings=_warnings(used["subject"], names, scaled, labels),
    )


def _cluster(points: Floats, k: int, seed: int, n_init: int) -> NDArray[np.int64]:
    """k-means labels; 0 is the largest cluster, ties by first member."""
    from sklearn.cluster import KMeans

    labels = KMeans(k, n_init=n_init, random_state=seed).fit_predict(points)
    found, first, size = np.unique(labels, return_index=True, return_counts=True)
    order = found[np.lexsort((first, -size))]
    rank = np.empty(int(found.max()) + 1, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return np.asarray(rank[labels])


def _choose_k(
    points: Floats, minimum_size: int, seed: int
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Every k that the data allow, and the labels of the best one that is allowed."""
    from sklearn.metrics import silhouette_score

    distinct = len(np.unique(points, axis=0))
    rows, labelled = [], {}
    for k in (k for k in K_RANGE if k < len(points) and k <= distinct):
        labels = labelled[k] = _cluster(points, k, seed, n_init=50)
        smallest = int(np.bincount(labels).min())
        rows.append(
            {
                "k": k,
                "silhouette": float(silhouette_score(points, labels)),
                "smallest_cluster": smallest,
                "allowed": smallest >= minimum_size,
            }
        )
    selection = pd.DataFrame(rows, columns=["k", "silhouette", "smallest_cluster", "allowed"])
    allowed = selection[selection["allowed"].astype(bool)]
    if allowed.empty:
        raise AnalysisError(
            "the subjects do not fall into groups of the wanted size",
            got=f"smallest clusters {selection['smallest_cluster'].tolist()} for k of 2–6",
            expected=f"at least {minimum_size} subjects in each",
            remedy="lower the minimum cluster size",
        )
    best = int(allowed["k"].iloc[int(allowed["silhouette"].to_numpy().argmax())])
    return selection, labelled[best]


def coassignment(points: Floats, k: int, seed: int, seeds: int) -> Floats:
    """Fraction of k-means runs (one per seed, 25 starts each) in which two points share a cluster.

    Returns
    -------
    (n, n) float64 ndarray
        Symmetric, 1 on the diagonal.
    """
    together = np.zeros((len(points), len(points)))
    for s in range(seed, seed + seeds):
        labels = _cluster(points, k, s, n_init=25)
        together += labels[:, None] == labels[None, :]
    return together / seeds


def _stability(together: Floats, labels: NDArray[np.int64]) -> Floats:
    mates = (labels[:, None] == labels[None, :]) & ~np.eye(labels.size, dtype=bool)
    count = mates.sum(axis=1)
    total = np.where(mates, together, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def _profiles(used: pd.DataFrame, names: list[str], labels: NDArray[np.int64]) -> pd.DataFrame:
    groups = used[names].groupby(labels)
    profiles = groups.median().rename_axis("cluster").reset_index()
    profiles.insert(1, "n", groups.size().to_numpy())
    return profiles


def _warnings(
    subjects: pd.Series[str], names: list[str], scaled: Floats, labels: NDArray[np.int64]
) -> tuple[str, ...]:
    """What to say about clusters of one."""
    said = []
    for cluster in np.flatnonzero(np.bincount(labels) == 1):
        i = int(np.flatnonzero(labels == cluster)[0])
        feature = int(np.abs(scaled[i]).argmax())
        said.append(
            f"Cluster {cluster} is one outlier, {subjects.iloc[i]}: its {names[feature]} lies "
            f"{abs(scaled[i, feature]):.3g} interquartile ranges from the cohort's median. This "
            "grouping says which subject is odd, not that there are groups."
        )
    return tuple(said)
