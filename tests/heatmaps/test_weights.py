"""Public checkpoints load by name or not at all; our own files come back as they were written."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from jobs.heatmaps.network import PUBLIC, SMALL, Encoder, HeatmapNet, Layout, fold_norms
from jobs.heatmaps.weights import (
    PUBLIC_PREPARATION,
    Preparation,
    read_weights,
    weights_digest,
    write_weights,
)
from lamstore.errors import EngineError, MissingWeightsError

TINY = Layout(1, 2, (2, 2, 3, 3), (1, 1, 1, 1), 2, (4, 4, 3, 3, 2))


def small_net(seed=0):
    torch.manual_seed(seed)
    net = HeatmapNet(TINY)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return net.eval()


@pytest.fixture(scope="module")
def public():
    """A full-size state dict under the public names, without memory of its own until saved."""
    with torch.device("meta"):
        state = HeatmapNet(PUBLIC).state_dict()
    rng = torch.Generator().manual_seed(0)
    first = torch.randn(state["encoder.conv1.0.weight"].shape, generator=rng).half()
    made = {k: torch.zeros(v.shape, dtype=torch.float16) for k, v in state.items()}
    return {**made, "encoder.conv1.0.weight": first, "D": torch.tensor(0)}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
def test_public_checkpoint_bare_or_wrapped(public, wrapper, tmp_path):
    path = tmp_path / "point_net.pth"
    torch.save(public if wrapper is None else {wrapper: public, "epoch": 3}, path)
    found = read_weights(path)
    assert found.layout == PUBLIC
    assert found.preparation == PUBLIC_PREPARATION
    wanted = public["encoder.conv1.0.weight"].float()
    torch.testing.assert_close(found.state["encoder.conv1.0.weight"], wanted)


def test_the_names_of_the_public_layout(public):
    """Spelled out from timm's resnet50d: a renamed attribute of ours would not be noticed else."""
    names = {
        *(f"encoder.conv1.{n}.weight" for n in (0, 1, 3, 4, 6)),
        "encoder.bn1.running_var",
        "encoder.layer1.0.downsample.1.weight",
        "encoder.layer4.0.downsample.2.running_mean",
        "encoder.layer3.5.conv2.weight",
        "encoder.layer2.3.bn3.bias",
        *(f"decoder.block.{b}.conv{c}.0.weight" for b in range(5) for c in (1, 2)),
        *(f"decoder.block.{b}.conv{c}.1.running_mean" for b in range(5) for c in (1, 2)),
        "logit.weight",
        "logit.bias",
    }
    assert names <= set(public)
    assert public["encoder.conv1.6.weight"].shape == (64, 32, 3, 3)
    assert public["decoder.block.0.conv1.0.weight"].shape == (256, 2048 + 1024, 3, 3)
    assert public["decoder.block.4.conv1.0.weight"].shape == (16, 32, 3, 3)
    assert public["logit.weight"].shape == (6, 16, 1, 1)


def test_safetensors_of_one_channel_and_the_prefix_of_data_parallel(public, tmp_path):
    path = tmp_path / "one.safetensors"
    state = {k: v for k, v in public.items() if k not in ("D", "mean", "std")}
    state["encoder.conv1.0.weight"] = state["encoder.conv1.0.weight"][:, :1].contiguous()
    safetensors.torch.save_file({f"module.{k}": v for k, v in state.items()}, path)
    assert read_weights(path).layout.in_channels == 1


def test_wrong_names_are_listed(public, tmp_path):
    path = tmp_path / "other.pth"
    state = {k: v for k, v in public.items() if not k.startswith("logit")}
    torch.save({**state, "head.weight": torch.zeros(1)}, path)
    with pytest.raises(EngineError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert "2 missing: logit.weight, logit.bias" in text
    assert "1 unexpected: head.weight" in text


def test_wrong_shapes_are_listed(public, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({**public, "logit.weight": torch.zeros(5, 16, 1, 1)}, path)
    with pytest.raises(EngineError, match="not those of the network") as caught:
        read_weights(path)
    assert "logit.weight (5, 16, 1, 1) instead of (6, 16, 1, 1)" in str(caught.value)


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


def test_pickled_code_is_not_executed(tmp_path, capsys):
    path = tmp_path / "bomb.pth"
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(EngineError, match="cannot be read"):
        read_weights(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps({"a": 1})])
def test_files_that_are_no_weights(tmp_path, content):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(EngineError):
        read_weights(path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(MissingWeightsError) as caught:
        read_weights(tmp_path / "nothing.safetensors")
    assert caught.value.remedy


def test_ours_come_back_as_written(tmp_path):
    net, path = small_net(), tmp_path / "own.safetensors"
    preparation = Preparation(1.5, 0, (1.0, 99.0))
    write_weights(path, net, preparation, "a test")
    found = read_weights(path)
    assert (found.layout, found.preparation) == (TINY, preparation)
    slices = torch.rand(2, 1, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(found.network()(slices), net(slices), rtol=0.02, atol=0.02)


def test_digest_follows_the_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        write_weights(tmp_path / name, small_net(seed), Preparation(), "")
    a, b, c = (weights_digest(tmp_path / name) for name in "abc")
    assert a == c != b


@pytest.mark.parametrize("layout", [TINY, SMALL])
def test_folding_norms_changes_nothing_but_the_number_of_passes(layout):
    net = small_net() if layout is TINY else HeatmapNet(layout).eval()
    slices = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        before = net(slices)
        fold_norms(net)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
        torch.testing.assert_close(net(slices), before, rtol=1e-4, atol=1e-5)
    assert before.shape == (1, 6, 64, 64)


def test_the_encoder_halves_five_times():
    shapes = [tuple(x.shape[1:]) for x in Encoder(TINY)(torch.zeros(2, 1, 64, 96))]
    assert shapes == [(4, 32, 48), (4, 16, 24), (4, 8, 12), (6, 4, 6), (6, 2, 3)]


def test_mean_and_std_of_a_checkpoint_are_used(public, tmp_path):
    net = small_net()
    slices = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        plain = net((slices - 0.25) / 0.5)
        net.mean.fill_(0.25)
        net.std.fill_(0.5)
        np.testing.assert_allclose(net(slices), plain, rtol=1e-5)
