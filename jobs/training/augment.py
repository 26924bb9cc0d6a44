"""What is done to a patch before the network sees it, in which order?

Lesions are transplanted first, so that everything that follows happens to them too; then the patch
is turned and cropped, then every channel changes its intensities, then channels are dropped. All
that is random comes from the generator of the draw: the order of workers decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.patches.sampler import Patch
from jobs.training.augment_intensity import intensity
from jobs.training.augment_spatial import cropped, spatial
from jobs.training.augment_tissue import tissue_contrast
from jobs.training.config import AugmentConfig, Edges, Spacing
from jobs.training.look import Looks
from jobs.training.transplant import Transplanter


@dataclass(frozen=True)
class Augmenter:
    """The transform of training patches; picklable, for it runs in the worker processes.

    Attributes
    ----------
    edges : (3,) tuple of int
        Of the patch that the network sees; patches come in larger by the config's margin.
    spacing_mm : (3,) tuple of float
    config : AugmentConfig or None
        None only crops.
    channels : tuple of str
    optional : tuple of bool
        Which channels may be dropped.
    looks : Looks or None
    transplanter : Transplanter or None
    """

    edges: Edges
    spacing_mm: Spacing
    config: AugmentConfig | None
    channels: tuple[str, ...]
    optional: tuple[bool, ...]
    looks: Looks | None = None
    transplanter: Transplanter | None = None

    def __call__(self, patch: Patch, random: np.random.Generator) -> Patch:
        """The patch as the network sees it: zeros outside the brain and in dropped channels."""
        image, label = patch.image, patch.label[0]
        graft = self.transplanter
        if graft is not None and random.random() < graft.config.share:
            where = patch.affine
            subject = patch.draw.subject
            image, label = graft(image, label, patch.brain[0], where, subject, random)
        restyled = self.config is not None and random.random() < self.config.other_scanner
        if self.config is not None and restyled and random.random() < self.config.tissue_contrast:
            image = self._recontrasted(image, label, patch.draw.subject, random)
        stack = _stack(image, label, patch.brain[0])
        stack = self._placed(stack, random)
        brain = stack[-1] > 0.5
        present = patch.present
        images = stack[:-2]
        if self.config is not None:
            present = self._kept(present, random)
            for channel in np.flatnonzero(present) if restyled else ():
                changed = intensity(images[channel], self.spacing_mm, self.config, random)
                images[channel] = changed
        images *= torch.from_numpy(present)[:, None, None, None] & brain
        return replace(
            patch,
            image=images.numpy(),
            label=(stack[-2] > 0.5).numpy()[None],
            brain=brain.numpy()[None],
            present=present,
        )

    def _recontrasted(
        self,
        image: NDArray[np.float32],
        label: NDArray[np.bool_],
        subject: str,
        random: np.random.Generator,
    ) -> NDArray[np.float32]:
        assert self.config is not None
        if self.looks is None:
            return image
        by = float(random.uniform(*self.config.tissue_contrast_by))
        return tissue_contrast(image, label, self.looks.of(subject), self.channels, by)

    def _placed(self, stack: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        if self.config is None:
            return cropped(stack, self.edges).contiguous()
        return spatial(stack, self.edges, self.spacing_mm, self.config, random)

    def _kept(self, present: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.bool_]:
        assert self.config is not None
        dropped = random.random(present.size) < self.config.modality_dropout
        kept: NDArray[np.bool_] = present & ~(dropped & np.array(self.optional))
        return kept if kept.any() else present


def _stack(
    image: NDArray[np.float32], label: NDArray[np.bool_], brain: NDArray[np.bool_]
) -> torch.Tensor:
    stack = np.empty((len(image) + 2, *label.shape), np.float32)
    stack[:-2], stack[-2], stack[-1] = image, label, brain
    return torch.from_numpy(stack)
