"""Do the losses, the schedule and the average give the values that their definitions give?"""

from __future__ import annotations

import pytest
import torch

from jobs.training.config import LossConfig, ScheduleConfig
from jobs.training.losses import SMOOTH, build_loss
from jobs.training.optimize import Average, Schedule, expect
from jobs.unet.network import NetworkSpec, build_network


def blocks(tp: int, fp: int, fn: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are certain, and a truth, with so many voxels of each kind; 8 true negatives."""
    found = torch.tensor([1.0] * (tp + fp) + [0.0] * (fn + 8))
    truth = torch.tensor([1.0] * tp + [0.0] * fp + [1.0] * fn + [0.0] * 8)
    return ((found * 2 - 1) * 50).reshape(1, 1, -1, 1, 1), truth.reshape(1, 1, -1, 1, 1)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7), (1.0, 0.0)])
def test_tversky_weighs_false_positives_by_alpha_and_misses_by_beta(alpha, beta):
    loss = build_loss(LossConfig(name="tversky", alpha=alpha, beta=beta))
    index = (10 + SMOOTH) / (10 + 6 * alpha + 2 * beta + SMOOTH)
    assert float(loss(*blocks(10, 6, 2))) == pytest.approx(1 - index, abs=1e-5)


def test_focal_tversky_is_a_root_of_tversky():
    plain = float(build_loss(LossConfig(name="tversky"))(*blocks(10, 6, 2)))
    focal = float(build_loss(LossConfig(name="focal_tversky", gamma=2.0))(*blocks(10, 6, 2)))
    assert focal == pytest.approx(plain**0.5, abs=1e-5)


def test_dice_bce_of_undecided_logits():
    _, truth = blocks(4, 0, 0)
    loss = build_loss(LossConfig(bce_weight=2.0))(torch.zeros_like(truth), truth)
    dice = (2 * 4 * 0.5 + SMOOTH) / (12 * 0.5 + 4 + SMOOTH)
    assert float(loss) == pytest.approx(
        1 - dice + 2 * float(torch.log(torch.tensor(2.0))), abs=1e-5
    )


@pytest.mark.parametrize("name", ["dice_bce", "tversky", "focal_tversky"])
def test_a_batch_without_lesions_has_a_finite_gradient(name):
    logits = torch.full((1, 1, 4, 4, 4), -20.0, requires_grad=True)
    build_loss(LossConfig(name=name))(logits, torch.zeros(1, 1, 4, 4, 4)).backward()
    assert torch.isfinite(logits.grad).all()


def test_coarser_heads_weigh_less():
    right, truth = blocks(8, 0, 0)
    loss = build_loss(LossConfig(name="tversky", supervision_decay=0.5))
    wrong_coarse = loss(torch.stack([right, -right], dim=1), truth)
    wrong_fine = loss(torch.stack([-right, right], dim=1), truth)
    assert float(wrong_fine) == pytest.approx(2 * float(wrong_coarse), rel=1e-3)


def test_cosine_rises_then_falls_to_its_end():
    schedule = Schedule(ScheduleConfig(warmup=0.1, end=0.1), 1.0, 100)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[:10] == sorted(rates[:10])


def test_plateau_waits_and_goes_on_after_an_interruption():
    config = ScheduleConfig(name="plateau", warmup=0, patience=1, factor=0.5)
    first, second = Schedule(config, 1.0, 100), Schedule(config, 1.0, 100)
    for score in (0.5, 0.4):
        first.saw(score)
    assert first.rate(50) == 1.0
    second.restore(first.state())
    second.saw(0.3)
    assert second.rate(50) == 0.5


def test_average_is_exponential_and_leaves_the_weights_alone():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    average = Average(module, 0.9)
    torch.nn.init.ones_(module.weight)
    average.update(10_000)
    average.update(10_000)
    with average.applied() as averaged:
        assert averaged.weight.item() == pytest.approx(1 - 0.9**2)
    assert module.weight.item() == 1.0


@pytest.mark.parametrize("deep", [False, True])
def test_a_fresh_network_expects_few_lesions(deep):
    features = (4, 8, 8) if deep else (4, 8)
    spec = NetworkSpec(features=features, strides=(2,) * (len(features) - 1), deep_supervision=deep)
    torch.manual_seed(0)
    module = build_network(spec)
    expect(module, 0.02)
    found = torch.sigmoid(module(torch.zeros(2, 1, 16, 16, 16))).detach()
    assert 0.005 < float(found.median()) < 0.08
