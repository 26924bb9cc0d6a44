"""How fast does the network of `unet` see one real brain, against MONAI's sliding window?

The same weights, the same windows, the same overlap, float32 on all of torch's threads. The
weights are random: what they are changes no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from nibabel.nifti1 import Nifti1Image

from benchmarks.timing import Row, compared
from jobs.unet.brain import How, Member, view_of
from jobs.unet.network import NetworkSpec, build_network
from jobs.unet.normalize import brain_scale, normalized
from jobs.unet.weights import Facts
from lamstore.grid import Grid

PATIENT = "cross_sectional/MNI/patient19"
TAIL = "N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
OVERLAP = 0.25
FACTS = Facts(network=NetworkSpec(channels=("flair", "t1w")), patch=(64, 64, 64))
SAME = 1e-3
"""Largest difference of a probability inside the brain that counts as none."""


def _canonical(path: Path) -> Nifti1Image:
    """Turned to R, A, S beforehand, as training and the engine do it: both see the same array."""
    image: Nifti1Image = nib.as_closest_canonical(nib.load(path))  # type: ignore[no-untyped-call]
    return image


def inference(data: Path) -> Iterator[Row]:
    """One subject, one network, normalization included."""
    folder = data / PATIENT
    loaded = {m: _canonical(folder / f"{k}_{TAIL}") for m, k in (("flair", "FLAIR"), ("t1w", "T1"))}
    images = {m: np.ascontiguousarray(i.get_fdata(dtype=np.float32)) for m, i in loaded.items()}
    brain = images["flair"] != 0
    grid = Grid.of(brain.shape, loaded["flair"].affine)
    torch.manual_seed(0)
    network = build_network(FACTS.network).eval()

    def monai() -> np.ndarray:
        seen = [normalized(i, brain, brain_scale(i, brain)) for i in images.values()]
        with torch.inference_mode():
            whole = torch.from_numpy(np.stack(seen))[None]
            logits = sliding_window_inference(
                whole, FACTS.patch, 4, network, OVERLAP, mode="gaussian"
            )
        assert isinstance(logits, torch.Tensor)
        probability: np.ndarray = torch.sigmoid(logits[0, 0]).numpy()
        return probability

    def ours(how: How) -> Callable[[], np.ndarray]:
        member = Member(network, FACTS, how)

        def run() -> np.ndarray:
            view = view_of(images, brain, grid, FACTS, how)
            probability: np.ndarray = member.probabilities(view)[0]
            return probability

        return run

    same = ours(How(OVERLAP, scan="volume"))
    difference = np.abs(same() - monai())[brain].max()
    assert difference < SAME, difference
    peer = "MONAI sliding window, full volume, batches of 4"
    for what, how, target in (
        ("unet, one network: windows over the brain's box", How(OVERLAP), "≥ 2 ×"),
        ("the same, windows where MONAI lays them", How(OVERLAP, scan="volume"), ""),
        ("the same as the first, bfloat16", How(OVERLAP, precision="bfloat16"), ""),
    ):
        yield compared(what, ours(how), peer, monai, target, rounds=5)
