"""Which voxels are brighter on FLAIR than normal tissue has any right to be?

A classical lesion segmenter: no training, no weights, about a second a scan. It is the baseline
that a trained engine has to beat, and the engine with which a study can be tried out.

1. z: FLAIR relative to the median of brain tissue, in units of its robust standard deviation
   (median absolute deviation × 1.4826), both without CSF and lesions.
2. Contrast: z, lightly smoothed, less the local mean of normal tissue. It takes away coil shading
   and what N4 left of the bias field, and asks more of a voxel in bright cortex than in white
   matter, as a reader does.
3. Evidence: contrast less penalties where hyperintensity is usually not a lesion: beside CSF
   (partial volume, flow artefacts, the ependymal rim) and, where there is T1W, where no white
   matter is near (cortex, choroid plexus, vessels). Nothing counts within a rim of the brain mask.
4. Members are logistic functions of the evidence at three thresholds. Hysteresis: a component
   counts where it holds a seed, a voxel beyond the thresholds by a margin; elsewhere thresholds
   are raised by that margin.

Normal tissue as the reference follows the idea of LST-LGA (Schmidt et al., NeuroImage 2012), the
two thresholds Canny's hysteresis; penalties and constants are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import cc3d
import edt
import numpy as np
from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat
from scipy import special

from jobs.engines.base import EngineInput, Segmentation, Segmenter
from jobs.engines.options import EngineOptions, digest_options, parse_options
from jobs.engines.tissue import (
    Floats,
    Mask,
    Triple,
    robust_center_scale,
    smooth_within,
    white_matter,
)
from jobs.metrics.components import Box, bounding_box, dilate_mm, min_voxels
from lamstore.errors import EngineError, VoxelError

CSF_Z = -2.5
"""z below which a voxel of FLAIR is CSF; nulled fluid lies at −4 and lower."""

NORMAL_Z = (-2.0, 1.5)
"""Range of smoothed z that counts as normal tissue for its local mean."""


def _ascending(thresholds: Triple) -> Triple:
    if not thresholds[0] < thresholds[1] < thresholds[2]:
        raise ValueError("thresholds must ascend")
    return thresholds


class FlairZscoreOptions(EngineOptions):
    """Options of `flair-zscore`; z stands for one robust standard deviation of brain tissue.

    Attributes
    ----------
    thresholds : three floats
        Evidence (z) at which each member's probability is 0.5, ascending.
    slope : float
        Width (z) of the logistic: 0.73 of probability one slope above the threshold.
    seed_margin : float
        By how much (z) the brightest voxel of a lesion must exceed the thresholds. With 1.4 the
        four patients come out a little better, but every shift of shift_v1 clips at the brain's
        99th percentile (z of 2.0–2.3 where lesions are few), and nothing would be found there.
    min_component_mm3 : float
        Smaller components (26-connected) are left out of the mask.
    edge_mm : float
        Rim of the brain mask in which nothing is a lesion: dura, skull, partial volume.
    smoothing_mm, background_mm : float
        Standard deviations of the Gaussians that smooth z and average normal tissue.
    csf_mm, csf_penalty : float
        Evidence falls by `csf_penalty` (z) for each mm nearer to CSF than `csf_mm`.
    white_matter_mm, white_matter_fraction, white_matter_penalty : float
        Evidence falls by `white_matter_penalty` times what the white matter fraction of the
        tissue around (Gaussian of `white_matter_mm`) lacks to `white_matter_fraction`.
    reach_mm : float
        How far from a lesion's border its lower thresholds hold.
    use_t1w : bool
        Whether T1W is used where there is one. Set it to false where only some timepoints have
        one, lest the two timepoints of a subject be judged by different rules.
    """

    thresholds: Annotated[tuple[float, float, float], AfterValidator(_ascending)] = (0.8, 1.3, 1.8)
    slope: PositiveFloat = 0.25
    seed_margin: NonNegativeFloat = 0.7
    min_component_mm3: NonNegativeFloat = 10.0
    edge_mm: NonNegativeFloat = 4.0
    smoothing_mm: NonNegativeFloat = 0.8
    background_mm: PositiveFloat = 6.0
    csf_mm: NonNegativeFloat = 3.0
    csf_penalty: NonNegativeFloat = 0.5
    white_matter_mm: PositiveFloat = 3.0
    white_matter_fraction: float = Field(default=0.5, ge=0, le=1)
    white_matter_penalty: NonNegativeFloat = 3.0
    reach_mm: NonNegativeFloat = 2.0
    use_t1w: bool = True


class FlairZscore(Segmenter):
    """Robust z-score of FLAIR, with T1W against what is not lesion.

    The defaults were chosen while looking at four patients of open_ms_data (longitudinal 01 and
    12, cross-sectional 07 and 19), among settings that did about equally well on all four: figures
    on those patients are optimistic. An engine for adults with white matter lesions; it does not
    find cortical, infratentorial or spinal lesions with any reliability.
    """

    name: ClassVar[str] = "flair-zscore"
    version: ClassVar[str] = "1"

    def __init__(self, options: FlairZscoreOptions) -> None:
        self.options = options

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> FlairZscore:
        return cls(parse_options(FlairZscoreOptions, options, cls.name))

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(f"z{t:g}" for t in self.options.thresholds)

    @property
    def required_modalities(self) -> tuple[str, ...]:
        return ("flair",)

    @property
    def optional_modalities(self) -> tuple[str, ...]:
        return ("t1w",) if self.options.use_t1w else ()

    def digest(self) -> str:
        return digest_options(self.name, self.version, self.options)

    def segment(self, inputs: EngineInput) -> Segmentation:
        """Segment one timepoint.

        A brain of one single intensity, or one that is all rim, has no lesion.
        """
        self.require(inputs)
        box = bounding_box(inputs.brainmask)
        if box is None:
            raise EngineError(
                f"The brain mask of {inputs.subject} is empty.", remedy="look at the brain mask"
            )
        brain = np.ascontiguousarray(inputs.brainmask[box])
        probability = np.zeros((len(self.members), *inputs.grid.shape), np.float32)
        mask = np.zeros(inputs.grid.shape, np.bool_)
        spacing_mm = inputs.grid.spacing_mm
        used = [m for m in ("flair", *self.optional_modalities) if m in inputs.images]
        images = {m: brain_image(inputs, m, brain, box) for m in used}
        deep = edt.edt(brain, anisotropy=spacing_mm, black_border=True) > self.options.edge_mm
        if deep.any() and np.ptp(images["flair"][brain]) > 0:
            where = f"{inputs.subject} {inputs.timepoint}"
            z = {m: standardized(image, brain, f"{m} of {where}") for m, image in images.items()}
            score = evidence(z["flair"], z.get("t1w"), brain, spacing_mm, self.options)
            score[~deep] = -np.inf
            probability[:, *box], mask[box] = decide(score, spacing_mm, self.options)
        return Segmentation(probability, mask)


def brain_image(inputs: EngineInput, modality: str, brain: Mask, box: Box) -> Floats:
    """One image (x, y, z) in the brain's box; VoxelError where it is not finite in the brain."""
    image = np.ascontiguousarray(inputs.images[modality][box])
    if not np.isfinite(image[brain]).all():
        raise VoxelError(
            f"{modality} of {inputs.subject} {inputs.timepoint} holds NaN or infinity.",
            got=f"{np.count_nonzero(~np.isfinite(image[brain]))} such voxels in the brain mask",
            expected="finite intensities",
            remedy="look at the image, or convert it again",
        )
    return image


def standardized(image: Floats, brain: Mask, what: str) -> Floats:
    """Robust z (x, y, z) of an image, 0 outside the brain.

    Raises
    ------
    EngineError
        Half of the brain has one value: `what` has no scale.
    """
    center, scale = robust_center_scale(image[brain])
    if not scale > 0:
        raise EngineError(
            f"{what} has no scale: its z-score is not defined.",
            got=f"median {center:g}, robust standard deviation {scale:g} in the brain mask",
            expected="intensities of which fewer than half are equal",
            remedy="look at the image and its brain mask",
        )
    return np.where(brain, (image - np.float32(center)) / np.float32(scale), np.float32(0))


def evidence(
    flair: Floats, t1w: Floats | None, brain: Mask, spacing_mm: Triple, options: FlairZscoreOptions
) -> Floats:
    """How much each voxel speaks for a lesion, in robust standard deviations.

    Parameters
    ----------
    flair, t1w : (x, y, z) float32 ndarray
        Robust z-scores, 0 outside the brain.
    brain : (x, y, z) bool ndarray

    Returns
    -------
    (x, y, z) float32 ndarray
        Means nothing outside the brain.
    """
    smooth = smooth_within(flair, brain, options.smoothing_mm, spacing_mm)
    normal = brain & (smooth > NORMAL_Z[0]) & (smooth < NORMAL_Z[1])
    score = smooth - smooth_within(flair, normal, options.background_mm, spacing_mm)
    from_csf_mm = edt.edt(~(brain & (smooth < CSF_Z)), anisotropy=spacing_mm)
    score -= options.csf_penalty * np.maximum(options.csf_mm - from_csf_mm, 0)
    if t1w is not None:
        normal = brain & (score < NORMAL_Z[1])
        white = white_matter(t1w, brain)
        fraction = smooth_within(white, normal, options.white_matter_mm, spacing_mm)
        lack = np.maximum(options.white_matter_fraction - fraction, 0)
        score -= options.white_matter_penalty * lack
    return score


def decide(score: Floats, spacing_mm: Triple, options: FlairZscoreOptions) -> tuple[Floats, Mask]:
    """Members' probabilities (member, x, y, z) and the mask (x, y, z) from the evidence.

    The mask is mean probability ≥ 0.5 without its small components. Probabilities are exactly 0
    where evidence is −inf.
    """
    candidates = _members(score, options).mean(axis=0) >= 0.5
    seeds = _members(score - options.seed_margin, options).mean(axis=0) >= 0.5
    mask = keep_components(candidates, seeds, spacing_mm, options.min_component_mm3)
    near = dilate_mm(mask, spacing_mm, options.reach_mm)
    lower = mask | (near & ~candidates)
    return _members(np.where(lower, score, score - options.seed_margin), options), mask


def _members(score: Floats, options: FlairZscoreOptions) -> Floats:
    thresholds = np.array(options.thresholds, np.float32)[:, None, None, None]
    return np.asarray(special.expit((score[None] - thresholds) / np.float32(options.slope)))


def keep_components(
    candidates: Mask, seeds: Mask, spacing_mm: Triple, min_component_mm3: float
) -> Mask:
    """Components (26-connected) of `candidates` that hold a seed and are large enough.

    Large enough is at least ceil(`min_component_mm3` / voxel volume) voxels. Empty for no seed.
    """
    labels = cc3d.connected_components(candidates, connectivity=26)
    least = min_voxels(min_component_mm3, float(np.prod(spacing_mm)))
    keep = np.bincount(labels.ravel()) >= least
    seeded = np.zeros_like(keep)
    seeded[labels[seeds]] = True
    keep &= seeded
    keep[0] = False
    return np.asarray(keep[labels])
