"""Which lesions were found, which were missed, which were made up?

A lesion is a connected component. `match` labels both masks once and counts how many voxels each
pair of lesions shares; every measure is a reduction of that table under a stated `DetectionRule`:

- ``iou`` (Shifts 2022 MS challenge): a lesion counts when its best IoU with a lesion of the other
  mask reaches the threshold. The challenge's evaluation uses 0.5 and face neighbours (6).
- ``any`` (ISBI 2015): a lesion counts when it shares a voxel with the other mask.
- ``msseg`` (MSSEG 2016, MSSEG-2 2021): more than a share α of the lesion is covered, and the
  largest of the lesions that cover it (up to a share γ of the overlap) lie outside the other mask
  by no more than β. Lesions of 3 mm³ or less are left out first.

References
----------
Malinin et al.: Shifts 2.0, 2022; code: Shifts-Project/shifts, mswml/{metrics,test}.py.
Carass et al.: Longitudinal multiple sclerosis lesion segmentation. NeuroImage 148, 2017.
Commowick et al.: Objective evaluation of MS lesion segmentation. Sci Rep 8:13650, 2018, and
MSSEG-2, 2021; code and default thresholds: Anima-Public, animaSegPerfAnalyzer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import Connectivity, Mask, drop_small_box, label_box, union_box
from jobs.metrics.overlap import check_same_shape, confusion, dice, precision, sensitivity
from lamstore.errors import ConfigError


@dataclass(frozen=True)
class DetectionRule:
    """When a lesion counts as found.

    Attributes
    ----------
    overlap : {"iou", "any", "msseg"}
    connectivity : {6, 18, 26}
    iou_threshold : float
        For ``iou``; reaching it is enough.
    larger_than_mm3 : float
        Lesions must be strictly larger; 0 keeps all.
    alpha, beta, gamma : float
        For ``msseg``.
    """

    overlap: Literal["iou", "any", "msseg"] = "iou"
    connectivity: Connectivity = 6
    iou_threshold: float = 0.5
    larger_than_mm3: float = 0.0
    alpha: float = 0.10
    beta: float = 0.70
    gamma: float = 0.65

    def __post_init__(self) -> None:
        if self.overlap not in ("iou", "any", "msseg"):
            raise ConfigError("unknown overlap rule", got=self.overlap, expected="iou, any, msseg")


SHIFTS_2022 = DetectionRule()
ISBI_2015 = DetectionRule(overlap="any", connectivity=18)
"""Any shared voxel; 18 neighbours, which was not checked against the challenge's own code."""
MSSEG_2 = DetectionRule(overlap="msseg", larger_than_mm3=3.0)


@dataclass(frozen=True)
class LesionMatch:
    """Overlap of the lesions of a mask with those of the truth, by pairs that share voxels.

    Attributes
    ----------
    predicted_voxels, truth_voxels : (p,), (t,) int64 ndarray
        Size of each lesion.
    predicted, truth, shared : (k,) int64 ndarray
        The pairs: index of the mask's lesion, of the truth's, and voxels in both.
    """

    predicted_voxels: NDArray[np.int64]
    truth_voxels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    shared: NDArray[np.int64]

    def best_iou(self) -> NDArray[np.float64]:
        """(p,) float64: highest IoU of each lesion of the mask with one of the truth."""
        union = self.predicted_voxels[self.predicted] + self.truth_voxels[self.truth] - self.shared
        best = np.zeros(self.predicted_voxels.size)
        np.maximum.at(best, self.predicted, self.shared / union)
        return best

    def covered_voxels(self) -> NDArray[np.int64]:
        """(p,) int64: voxels of each lesion of the mask that lie in lesions of the truth."""
        inside = np.zeros(self.predicted_voxels.size, dtype=np.int64)
        np.add.at(inside, self.predicted, self.shared)
        return inside

    def transposed(self) -> LesionMatch:
        """The same with mask and truth exchanged."""
        return LesionMatch(
            self.truth_voxels, self.predicted_voxels, self.truth, self.predicted, self.shared
        )


Labelled = tuple[NDArray[np.unsignedinteger], int]
"""Labels from 1 and their number, as `components.label` gives them."""


def match_labels(found: Labelled, true: Labelled) -> LesionMatch:
    """Count the voxels that each pair of lesions shares, from two labelled (x, y, z) arrays."""
    (found_at, n_found), (true_at, n_true) = found, true
    both = (found_at > 0) & (true_at > 0)
    # Pairs, not a table of all by all: noisy masks have tens of thousands of components.
    code = (found_at[both].astype(np.int64) - 1) * n_true + true_at[both] - 1
    pairs, shared = np.unique(code, return_counts=True)
    return LesionMatch(
        np.bincount(found_at[found_at > 0], minlength=n_found + 1)[1:],
        np.bincount(true_at[true_at > 0], minlength=n_true + 1)[1:],
        pairs // max(n_true, 1),
        pairs % max(n_true, 1),
        shared,
    )


def match(
    mask: Mask, truth: Mask, voxel_volume_mm3: float, rule: DetectionRule = SHIFTS_2022
) -> LesionMatch:
    """Label two (x, y, z) bool masks and count the voxels that each pair of lesions shares.

    Connectivity and least volume are those of the rule.
    """
    check_same_shape(mask=mask, truth=truth)
    box = union_box(mask, truth) or (slice(0), slice(0), slice(0))
    least = floor(rule.larger_than_mm3 / voxel_volume_mm3) + 1
    found, true = (
        label_box(drop_small_box(side[box], least, rule.connectivity), rule.connectivity)
        for side in (mask, truth)
    )
    return match_labels(found, true)


@dataclass(frozen=True)
class Detection:
    """Which lesions count as found under a rule.

    Attributes
    ----------
    match : LesionMatch
    rule : DetectionRule
    truth_found : (t,) bool ndarray
        Whether each lesion of the truth is found by the mask.
    predicted_true : (p,) bool ndarray
        Whether each lesion of the mask is found by the truth.
    """

    match: LesionMatch
    rule: DetectionRule
    truth_found: NDArray[np.bool_]
    predicted_true: NDArray[np.bool_]

    @property
    def recall(self) -> float:
        """Share of the truth's lesions that are found; nan when it has none."""
        return float(self.truth_found.mean()) if self.truth_found.size else nan

    @property
    def precision(self) -> float:
        """Share of the mask's lesions that are true; nan when it has none."""
        return float(self.predicted_true.mean()) if self.predicted_true.size else nan

    @property
    def f1(self) -> float:
        """Lesion F1; 1 when neither mask has a lesion, 0 when one has none.

        ``iou``: TP / (TP + (FP + FN) / 2) with TP counted over the mask's lesions, as the Shifts
        challenge does. Otherwise the harmonic mean of recall and precision, because one lesion
        may then cover several.
        """
        if not self.truth_found.size and not self.predicted_true.size:
            return 1.0
        if not self.truth_found.size or not self.predicted_true.size:
            return 0.0
        if self.rule.overlap == "iou":
            hits = int(self.predicted_true.sum())
            errors = int((~self.predicted_true).sum() + (~self.truth_found).sum())
            return 2 * hits / (2 * hits + errors)
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total else 0.0


def detect(
    mask: Mask, truth: Mask, voxel_volume_mm3: float, rule: DetectionRule = SHIFTS_2022
) -> Detection:
    """Decide for every lesion of both (x, y, z) bool masks whether the other mask finds it."""
    pairs = match(mask, truth, voxel_volume_mm3, rule)
    return Detection(pairs, rule, _found(pairs.transposed(), rule), _found(pairs, rule))


def _found(pairs: LesionMatch, rule: DetectionRule) -> NDArray[np.bool_]:
    """Whether each lesion of the first mask of a match is found by the second."""
    if rule.overlap == "iou":
        return np.asarray(pairs.best_iou() >= rule.iou_threshold)
    covered = pairs.covered_voxels()
    if rule.overlap == "any":
        return np.asarray(covered > 0)
    found = covered / pairs.predicted_voxels > rule.alpha
    outside = (pairs.truth_voxels - pairs.transposed().covered_voxels()) / pairs.truth_voxels
    for lesion in np.flatnonzero(found):
        here = pairs.predicted == lesion
        found[lesion] = _msseg(pairs.shared[here], outside[pairs.truth[here]], rule)
    return np.asarray(found)


def _msseg(shared: NDArray[np.int64], outside: NDArray[np.float64], rule: DetectionRule) -> bool:
    """β and γ of the MSSEG rule: voxels shared with each other lesion, and its outside share."""
    explained, total = 0, int(shared.sum())
    for other in np.argsort(-shared, kind="stable"):
        if outside[other] > rule.beta:
            return False
        explained += int(shared[other])
        if explained >= rule.gamma * total:
            break
    return True


def detection_table(detection: Detection, voxel_volume_mm3: float) -> list[dict[str, object]]:
    """One row a lesion, the truth's first.

    Columns: ``side`` (``truth`` or ``predicted``), ``lesion`` (from 1), ``voxels``,
    ``volume_mm3``, ``best_iou`` with a lesion of the other mask, ``covered_frac`` (share of the
    lesion that the other mask covers) and ``found``.
    """
    sides = (
        ("truth", detection.match.transposed(), detection.truth_found),
        ("predicted", detection.match, detection.predicted_true),
    )
    rows: list[dict[str, object]] = []
    for side, pairs, found in sides:
        best, covered = pairs.best_iou(), pairs.covered_voxels() / pairs.predicted_voxels
        for index, voxels in enumerate(pairs.predicted_voxels.tolist()):
            rows.append(
                {
                    "side": side,
                    "lesion": index + 1,
                    "voxels": voxels,
                    "volume_mm3": voxels * voxel_volume_mm3,
                    "best_iou": float(best[index]),
                    "covered_frac": float(covered[index]),
                    "found": bool(found[index]),
                }
            )
    return rows


def isbi_parts(
    mask: Mask, truth: Mask, voxel_volume_mm3: float, rule: DetectionRule = ISBI_2015
) -> dict[str, float]:
    """Parts of the ISBI 2015 longitudinal challenge's score for one scan.

    Returns
    -------
    dict
        ``dsc``; ``ppv`` and ``tpr`` by voxel; ``lfpr``, the share of the mask's lesions that touch
        no true one; ``ltpr``, the share of the truth's lesions that are touched; ``vd``,
        |volume − true volume| / true volume. Undefined ones are nan. The score's remaining part,
        the correlation of volumes, belongs to a cohort: `volume_correlation`.
    """
    counts = confusion(mask, truth)
    detection = detect(mask, truth, voxel_volume_mm3, rule)
    return {
        "dsc": dice(counts),
        "ppv": precision(counts),
        "tpr": sensitivity(counts),
        "lfpr": 1 - detection.precision,
        "ltpr": detection.recall,
        "vd": abs(counts.fp - counts.fn) / counts.truth if counts.truth else nan,
    }


def volume_correlation(
    volumes_mm3: NDArray[np.float64], truth_volumes_mm3: NDArray[np.float64]
) -> float:
    """Pearson correlation of (n,) predicted and true volumes; nan for n < 2 or a constant side."""
    if len(volumes_mm3) < 2 or np.ptp(volumes_mm3) == 0 or np.ptp(truth_volumes_mm3) == 0:
        return nan
    return float(np.corrcoef(volumes_mm3, truth_volumes_mm3)[0, 1])


def isbi_score(parts: dict[str, float], correlation: float) -> float:
    """ISBI 2015 score of a scan, DSC/8 + PPV/8 + (1 − LFPR)/4 + LTPR/4 + Corr/4 (Carass 2017)."""
    voxelwise = (parts["dsc"] + parts["ppv"]) / 8
    return voxelwise + (1 - parts["lfpr"] + parts["ltpr"] + correlation) / 4
