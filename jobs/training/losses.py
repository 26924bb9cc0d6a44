"""What is minimized? Overlap losses of MONAI on logits, finest and coarser heads together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from jobs.training.config import LossConfig
from jobs.unet.network import logits_of_heads

Loss = Callable[[Tensor, Tensor], Tensor]

SMOOTH = 1.0
"""Voxels added to numerator and denominator: a batch without lesions has a gradient that is
finite, and a loss near 0 when nothing is predicted."""


def build_loss(config: LossConfig) -> Loss:
    """The loss of a network's output in training mode against a truth (batch, 1, x, y, z) of 0, 1.

    ``dice_bce``
        1 − Dice, and `bce_weight` × binary cross-entropy.
    ``tversky``
        1 − TI, TI = (TP + s) / (TP + α FP + β FN + s) (Salehi et al. 2017); β > α trades
        precision for recall.
    ``focal_tversky``
        (1 − TI)^(1/γ) (Abraham and Khan 2019).
    """
    single = _of_one_head(config)

    def loss(output: Tensor, truth: Tensor) -> Tensor:
        heads = logits_of_heads(output)
        weights = [config.supervision_decay**i for i in range(len(heads))]
        parts = [w * single(head, truth) for w, head in zip(weights, heads, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total / sum(weights)

    return loss


def _of_one_head(config: LossConfig) -> Loss:
    from monai.losses.dice import DiceLoss
    from monai.losses.tversky import TverskyLoss
    from torch.nn.functional import binary_cross_entropy_with_logits

    if config.name == "dice_bce":
        dice = DiceLoss(sigmoid=True, batch=config.batch_dice, smooth_nr=SMOOTH, smooth_dr=SMOOTH)

        def dice_bce(logits: Tensor, truth: Tensor) -> Tensor:
            entropy = binary_cross_entropy_with_logits(logits, truth)
            overlap: Tensor = dice(logits, truth)
            return overlap + config.bce_weight * entropy

        return dice_bce
    tversky = TverskyLoss(
        sigmoid=True,
        alpha=config.alpha,
        beta=config.beta,
        batch=config.batch_dice,
        smooth_nr=SMOOTH,
        smooth_dr=SMOOTH,
    )
    power = 1 / config.gamma if config.name == "focal_tversky" else 1.0

    def overlap(logits: Tensor, truth: Tensor) -> Tensor:
        value: Tensor = tversky(logits, truth)
        # The root's slope is infinite at 0, where a batch without lesions may come to lie.
        return value if power == 1 else value.clamp(min=1e-6) ** power

    return overlap


def describe(config: LossConfig) -> dict[str, float | str | bool]:
    """The loss and those of its parameters that play a part, for the summary."""
    used = {
        "dice_bce": ("bce_weight", "batch_dice"),
        "tversky": ("alpha", "beta", "batch_dice"),
        "focal_tversky": ("alpha", "beta", "gamma", "batch_dice"),
    }[config.name]
    return {"name": config.name, **{name: getattr(config, name) for name in used}}
