"""Which patch is the i-th? A pure function of the seed and i, whoever asks and in which order.

A stated share of the patches is centred on lesions: first a scan that has any, then one of its
lesions (each alike, or by a power of its volume), then one of its voxels. So a patient with many
lesions does not drown one with few, nor a large lesion the small ones. The other patches are
centred anywhere in the brain, lesions included. Every centre is jittered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.patches.index import Lesions, SubjectIndex
from lamstore.errors import ConfigError

Case = tuple[str, str]
"""Subject, timepoint."""


@dataclass(frozen=True)
class Draw:
    """Where one patch lies.

    Attributes
    ----------
    number : int
    subject, timepoint : str
    centre : (3,) tuple of float
        Voxel coordinates x, y, z on the subject's grid, jitter included.
    lesion : int
        Number of the lesion that it was centred on before the jitter; -1 for anywhere in the brain.
    """

    number: int
    subject: str
    timepoint: str
    centre: tuple[float, float, float]
    lesion: int


class Drawing:
    """Draws patches of a set of scans.

    Parameters
    ----------
    indexes : mapping of subject to SubjectIndex
    cases : sequence of (subject, timepoint)
        Scans to draw from, each with a lesion truth; their order counts.
    lesion_share : float
        Share of the patches that are centred on lesions, 0 to 1.
    lesion_alpha : float
        Lesions of a scan are drawn by volume ** alpha: 0, each alike; 1, by voxel.
    jitter_voxels : mapping of subject to (3,) ndarray
        A centre moves by up to so many voxels of the subject along x, y, z, uniformly.
    seed : int

    Raises
    ------
    ConfigError
        No scan, a share outside 0 to 1, or a share of lesion patches where no scan has a lesion.
    """

    def __init__(
        self,
        indexes: Mapping[str, SubjectIndex],
        cases: Sequence[Case],
        *,
        lesion_share: float,
        lesion_alpha: float,
        jitter_voxels: Mapping[str, NDArray[np.float64]],
        seed: int,
    ) -> None:
        self._indexes, self._cases = indexes, tuple(cases)
        self._with_lesions = tuple(c for c in cases if len(indexes[c[0]].lesions[c[1]]))
        self._share, self._jitter, self._seed = lesion_share, jitter_voxels, seed
        self._refuse()
        self._lesions = {c: _cumulated(self._found(c), lesion_alpha) for c in self._with_lesions}

    def _refuse(self) -> None:
        if not 0 <= self._share <= 1:
            raise ConfigError("the share of lesion patches is out of range", got=str(self._share))
        if not self._cases:
            raise ConfigError("there is no scan to draw patches from")
        if self._share and not self._with_lesions:
            raise ConfigError(
                "no scan has a lesion to centre patches on",
                got=", ".join(" ".join(case) for case in self._cases[:8]),
                remedy="set the share of lesion patches to 0, or add subjects with lesions",
            )

    def _found(self, case: Case) -> Lesions:
        return self._indexes[case[0]].lesions[case[1]]

    def __call__(self, number: int) -> Draw:
        """The draw of this number."""
        random = np.random.default_rng([self._seed, number])
        on_lesion = random.random() < self._share
        cases = self._with_lesions if on_lesion else self._cases
        case = cases[random.integers(len(cases))]
        index, lesion = self._indexes[case[0]], -1
        if on_lesion:
            found, sums = self._found(case), self._lesions[case]
            lesion = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
            at = random.integers(found.offsets[lesion], found.offsets[lesion + 1])
            voxel = found.samples[at]
        else:
            voxel = index.brain_samples[random.integers(len(index.brain_samples))]
        moved = random.uniform(-1, 1, 3) * self._jitter[case[0]]
        # Whole voxels: a patch that needs no resampling is a box of the store.
        x, y, z = (voxel + np.rint(moved)).tolist()
        return Draw(number, *case, (x, y, z), lesion)


def _cumulated(lesions: Lesions, alpha: float) -> NDArray[np.float64]:
    return np.cumsum(lesions.voxels.astype(np.float64) ** alpha)
