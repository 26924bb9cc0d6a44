"""A packed network answers what the network answers, in the precision that it has."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from jobs.heatmaps.network import SMALL, HeatmapNet, Layout, fold_norms, lower
from jobs.heatmaps.packed import PackedNet, answers, kind, ready

# Slices are as large as the engine's smallest (96 x 96): oneDNN's bfloat16 convolutions with stride
# 2 give garbage, in plain torch too, where what comes out is one pixel wide (torch 2.13, AMX).
TINY = Layout(1, 2, (2, 2, 3, 3), (1, 2, 1, 1), 2, (4, 4, 3, 3, 2))
PACKS = isinstance(ready(HeatmapNet(TINY).eval(), "cpu", torch.bfloat16), PackedNet)


def folded(layout, seed=0):
    torch.manual_seed(seed)
    net = HeatmapNet(layout)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    net.mean.fill_(0.25)
    net.std.fill_(0.5)
    fold_norms(net.eval().requires_grad_(False))
    return net


def apart(found, wanted):
    """Root mean square of the difference, as a share of the spread of what is wanted."""
    found = functional.interpolate(found.float(), wanted.shape[2:], mode="bilinear")
    return float((found - wanted).square().mean().sqrt() / wanted.std())


@pytest.mark.skipif(not PACKS, reason="no bfloat16 convolutions on this processor")
@pytest.mark.parametrize("layout", [TINY, replace(TINY, in_channels=3), SMALL])
@pytest.mark.parametrize("shape", [(1, 96, 96), (5, 96, 128)])
def test_packed_is_no_further_from_float32_than_unpacked(layout, shape):
    slices = torch.rand(shape[0], 1, *shape[1:])
    with torch.inference_mode():
        wanted = folded(layout)(slices)
        found = PackedNet(folded(layout))(slices)
        plain = folded(layout)
        lower(plain, torch.bfloat16)
        unpacked = plain(slices)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert apart(found, wanted) < max(1.5 * apart(unpacked, wanted), 0.01) < 0.2


@pytest.mark.skipif(not PACKS, reason="no bfloat16 convolutions on this processor")
def test_the_number_of_threads_changes_nothing():
    packed, slices, before = (
        PackedNet(folded(SMALL)),
        torch.rand(2, 1, 96, 96),
        torch.get_num_threads(),
    )
    found = []
    try:
        with torch.inference_mode():
            for threads in (1, 2, 1):
                torch.set_num_threads(threads)
                found.append(packed(slices))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0.05, atol=0.05)


@pytest.mark.skipif(not PACKS, reason="no bfloat16 convolutions on this processor")
@pytest.mark.parametrize("layout", [TINY, SMALL])
def test_networks_that_go_together_answer_as_each_alone(layout):
    nets = [PackedNet(folded(layout, seed)) for seed in range(3)]
    slices = torch.rand(13, 1, 128, 96)
    assert len({kind(net) for net in nets}) == 1
    with torch.inference_mode():
        together = answers(nets, slices)
        for number, net in enumerate(nets):
            torch.testing.assert_close(together[:, number], net(slices), rtol=0.05, atol=0.05)


def test_networks_of_another_layout_or_scale_do_not_go_together():
    other = folded(TINY)
    other.std.fill_(0.6)
    nets = [folded(TINY), folded(SMALL), other]
    assert len({kind(net) for net in nets}) == 3
    assert len({kind(PackedNet(net)) for net in [*nets, folded(TINY, 1)]}) == 3


def test_other_precisions_and_devices_keep_the_network():
    net = ready(folded(TINY), "cpu", torch.float32)
    assert isinstance(net, HeatmapNet)
