"""Where, and how much, do the members of an ensemble disagree?

Per voxel, from the members' lesion probabilities p_m with mean P (binary, nats):

- ``ens_var``: population variance of p_m
- ``prob_entropy``: H(P)
- ``prob_p1mp``: P (1 − P)
- ``mutual_information``: H(P) − mean H(p_m)
- ``expected_pairwise_kl``: mean over all pairs (m, n) of KL(p_m ‖ p_n)
- ``reverse_mutual_information``: mean KL(P ‖ p_m) = expected pairwise KL − mutual information

Probabilities are kept within [1e-6, 1 − 1e-6] before a logarithm; where members are 0 or 1 the
two KL measures depend on that bound.

References
----------
Malinin, Gales: Uncertainty estimation in autoregressive structured prediction. ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

from jobs.metrics.components import Mask, Spacing, dilate_mm
from jobs.metrics.overlap import check_same_shape
from lamstore.errors import ConfigError, GridError

EPSILON = 1e-6
MEASURES = (
    "ens_var",
    "prob_entropy",
    "prob_p1mp",
    "mutual_information",
    "expected_pairwise_kl",
    "reverse_mutual_information",
)
OF_THE_MEAN = ("prob_entropy", "prob_p1mp")
"""Measures that one member is enough for; the others need at least two."""
COUNTS = ("lesion_voxels", "boundary_voxels", "brain_voxels")

_BLOCK = 1 << 15
"""Voxels at a time: their intermediate results stay in the processor's cache."""

Floats = NDArray[np.float32]


def uncertainty_maps(
    probability: NDArray[np.floating],
    measures: Sequence[str] = MEASURES,
    brainmask: Mask | None = None,
) -> Floats:
    """Uncertainty at every voxel.

    Parameters
    ----------
    probability : (member, x, y, z) float ndarray in [0, 1]
    measures : sequence of str
        Of `MEASURES`.
    brainmask : (x, y, z) bool ndarray, optional
        Only these voxels are computed; the others are 0.

    Returns
    -------
    (measure, x, y, z) float32 ndarray

    Raises
    ------
    ConfigError
        For an unknown measure, and for one that needs more members than there are.
    GridError
        When shapes do not fit.
    """
    _check(probability, measures, brainmask)
    shape = probability.shape[1:]
    out = np.zeros((len(measures), *shape), dtype=np.float32)
    if brainmask is None:
        _fill(out.reshape(len(measures), -1), probability.reshape(len(probability), -1), measures)
        return out
    inside = np.stack([member[brainmask] for member in probability])
    vectors = np.empty((len(measures), inside.shape[1]), dtype=np.float32)
    _fill(vectors, inside, measures)
    for target, vector in zip(out, vectors, strict=True):
        target[brainmask] = vector
    return out


def _check(
    probability: NDArray[np.floating], measures: Sequence[str], brainmask: Mask | None
) -> None:
    if probability.ndim != 4 or len(probability) == 0:
        raise GridError(
            "uncertainty needs probabilities of one member or more",
            got=f"shape {probability.shape}",
            expected="(member, x, y, z)",
        )
    check_same_shape(member=probability[0], brainmask=brainmask)
    if unknown := set(measures) - set(MEASURES):
        raise ConfigError(
            "unknown uncertainty measure", got=", ".join(sorted(unknown)), expected=str(MEASURES)
        )
    if len(probability) < 2 and (needy := set(measures) - set(OF_THE_MEAN)):
        raise ConfigError(
            f"{', '.join(sorted(needy))}: disagreement needs at least two members",
            got="1 member",
            remedy=f"ask for {' and '.join(OF_THE_MEAN)} only, or use an ensemble",
        )


def _fill(out: Floats, members: NDArray[np.floating], measures: Sequence[str]) -> None:
    """Fill (measure, n) from (member, n), block by block."""
    for start in range(0, members.shape[1], _BLOCK):
        block = members[:, start : start + _BLOCK].astype(np.float32)
        for row, values in zip(out, _voxelwise(block, measures), strict=True):
            row[start : start + _BLOCK] = values


def _voxelwise(p: Floats, measures: Sequence[str]) -> list[Floats]:
    """Measures of (member, n) float32 probabilities, each (n,) float32."""
    np.clip(p, 0, 1, out=p)
    mean = p.mean(axis=0)
    found: dict[str, Floats] = {}
    if "ens_var" in measures:
        found["ens_var"] = ((p - mean) ** 2).mean(axis=0)
    if "prob_p1mp" in measures:
        found["prob_p1mp"] = mean * (1 - mean)
    if "prob_entropy" in measures:
        found["prob_entropy"] = _entropy(*_bounded(mean))
    if any("information" in name or "kl" in name for name in measures):
        found |= _divergences(p)
    return [found[name] for name in measures]


def _bounded(p: Floats) -> tuple[Floats, Floats]:
    """p and 1 − p, each kept off 0 and 1 by itself: in float32 1 − (1 − 1e-6) is 1 % off 1e-6."""
    return np.clip(p, EPSILON, 1 - EPSILON), np.clip(1 - p, EPSILON, 1 - EPSILON)


def _entropy(p: Floats, q: Floats) -> Floats:
    return -(p * np.log(p) + q * np.log(q))


def _divergences(p: Floats) -> dict[str, Floats]:
    """The three measures of knowledge uncertainty of (member, n) probabilities."""
    p, q = _bounded(p)
    log_p, log_q = np.log(p), np.log(q)
    mean, other = p.mean(axis=0), q.mean(axis=0)
    expected_entropy = -(p * log_p + q * log_q).mean(axis=0)
    cross = -(mean * log_p.mean(axis=0) + other * log_q.mean(axis=0))
    entropy = _entropy(mean, other)
    # None is negative; float32 cancellation may say so where the members agree.
    return {
        "mutual_information": np.maximum(entropy - expected_entropy, 0),
        "expected_pairwise_kl": np.maximum(cross - expected_entropy, 0),
        "reverse_mutual_information": np.maximum(cross - entropy, 0),
    }


def summaries(
    maps: Mapping[str, Floats],
    mask: Mask,
    brainmask: Mask,
    spacing_mm: Spacing,
    boundary_mm: float = 1.0,
) -> dict[str, float]:
    """Uncertainty within the brain, the lesions and the band around them.

    Parameters
    ----------
    maps : mapping of measure to (x, y, z) float32 ndarray
        As computed, before any rounding to float16.
    mask, brainmask : (x, y, z) bool ndarray
    spacing_mm : (3,) tuple of float
    boundary_mm : float
        The boundary is what lies within this distance outside the lesions, in the brain.

    Returns
    -------
    dict
        For each measure ``{measure}_mean_brain``, ``_p95_brain``, ``_mean_lesion`` (lesion voxels
        in the brain), ``_mean_boundary``; then the voxel counts of the lesions (wherever they
        lie), the boundary and the brain. Means over an empty region are nan.
    """
    check_same_shape(mask=mask, brainmask=brainmask, **dict(maps))
    boundary = dilate_mm(mask, spacing_mm, boundary_mm) & ~mask & brainmask
    lesion = mask & brainmask
    out: dict[str, float] = {}
    for name, values in maps.items():
        brain = values[brainmask]
        out[f"{name}_mean_brain"] = _mean(brain)
        # The vector is a copy of its own and done with: partition it in place.
        p95 = np.percentile(brain, 95.0, overwrite_input=True) if brain.size else nan
        out[f"{name}_p95_brain"] = float(p95)
        out[f"{name}_mean_lesion"] = _mean(values[lesion])
        out[f"{name}_mean_boundary"] = _mean(values[boundary])
    regions = (mask, boundary, brainmask)
    counts = [float(np.count_nonzero(region)) for region in regions]
    return out | dict(zip(COUNTS, counts, strict=True))


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else nan


def table_columns(summary: Mapping[str, float], timepoint: str) -> dict[str, float]:
    """A timepoint's summaries under the published table's names, in its order.

    ``unc_{measure}_{statistic}_{timepoint}``, then ``{region}_voxels_{timepoint}``.
    """
    return {
        f"{name}_{timepoint}" if name in COUNTS else f"unc_{name}_{timepoint}": value
        for name, value in summary.items()
    }
