"""Does a weights file come back as it was, and is anything else refused?"""

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.unet.network import NetworkSpec, build_network
from jobs.unet.weights import (
    KEY,
    Facts,
    load_network,
    load_weights,
    read_facts,
    save_weights,
    weights_digest,
    with_channels,
)
from lamstore.errors import EngineError, MissingWeightsError

SPEC = NetworkSpec(channels=("flair",), features=(4, 8, 8), strides=(2, 2))
FACTS = Facts(
    network=SPEC, patch=(32, 32, 32), recipe="abc", threshold=0.4, notes={"dice": [0.5, None]}
)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_network_comes_back(tmp_path, deep, half):
    spec = SPEC.model_copy(update={"deep_supervision": deep})
    facts = FACTS.model_copy(update={"network": spec})
    module = build_network(spec).to(memory_format=torch.channels_last_3d).eval()
    path = save_weights(tmp_path / "new" / "m.safetensors", module, facts, half=half)
    back, said = load_network(path)
    assert said == facts == load_weights(path).facts
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        difference = float((back(x) - module(x)).abs().max())
    assert difference < 0.05 if half else difference < 1e-6
    assert list(path.parent.iterdir()) == [path]


def test_half_precision_halves_the_file(tmp_path):
    module = build_network(SPEC)
    sizes = [
        save_weights(tmp_path / f"{half}.safetensors", module, FACTS, half=half).stat().st_size
        for half in (True, False)
    ]
    numbers = sum(p.numel() for p in module.parameters())
    assert abs(sizes[1] - sizes[0] - 2 * numbers) < 64  # the header says where each tensor ends


def test_what_is_no_file_of_ours_is_refused(tmp_path):
    good = save_weights(tmp_path / "good.safetensors", build_network(SPEC), FACTS)
    files = {name: tmp_path / f"{name}.safetensors" for name in ("pickle", "bare", "odd", "torn")}
    files["pickle"].write_bytes(pickle.dumps({"a": 1}))
    save_file(load_file(good), files["bare"])
    save_file(load_file(good), files["odd"], metadata={KEY: '{"network": {"no_such": 1}}'})
    files["torn"].write_bytes(good.read_bytes()[:-100])
    for path in files.values():
        with pytest.raises(EngineError, match=path.name) as caught:
            load_network(path)
        assert caught.value.remedy
    with pytest.raises(MissingWeightsError, match="none"):
        read_facts(tmp_path / "none.safetensors")


def test_tensors_of_another_network_are_refused(tmp_path):
    other = build_network(SPEC.model_copy(update={"features": (4, 8, 16)}))
    with pytest.raises(EngineError, match="do not fit"):
        load_network(save_weights(tmp_path / "m.safetensors", other, FACTS))


@pytest.mark.parametrize(
    "wrong",
    [{"patch": (33, 32, 32)}, {"required": ("t1w",)}, {"spacing_mm": (0, 1, 1)}, {"threshold": 1}],
)
def test_facts_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Facts.model_validate(FACTS.model_dump() | wrong)


@pytest.mark.parametrize(
    "wrong", [{"channels": ("a", "a")}, {"strides": (2,)}, {"features": (0, 1, 1)}]
)
def test_networks_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NetworkSpec.model_validate(SPEC.model_dump() | wrong)


def test_the_digest_is_of_the_bytes_in_order(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    c.write_bytes(b"1")
    assert weights_digest([a]) == weights_digest([c])
    assert len({weights_digest(p) for p in ([a], [b], [a, b], [b, a])}) == 4
    with pytest.raises(MissingWeightsError):
        weights_digest([tmp_path / "d"])


@pytest.mark.parametrize(
    "channels",
    [("flair",), ("t1w",), ("t1w", "flair"), ("flair", "t2w"), ("t2w", "flair", "t1w")],
    ids="-".join,
)
def test_on_other_channels_a_network_says_what_it_says_when_the_rest_is_missing(
    channels, save_member, tmp_path
):
    module, facts = load_network(save_member(tmp_path / "m.safetensors"))
    made = with_channels(module, facts, facts.network.model_copy(update={"channels": channels}))
    drawn = torch.randn(len(channels), 16, 16, 16, generator=torch.Generator().manual_seed(1))
    images = dict(zip(channels, drawn, strict=True))
    seen = torch.stack([images.get(m, torch.zeros(16, 16, 16)) for m in facts.network.channels])
    with torch.no_grad():
        assert torch.allclose(made(drawn[None]), module(seen[None]), atol=1e-5)


def test_weights_of_another_network_are_refused(save_member, tmp_path):
    module, facts = load_network(save_member(tmp_path / "m.safetensors"))
    for change in ({"features": (4, 16)}, {"channels": ("dwi",)}):
        with pytest.raises(EngineError, match="another network"):
            with_channels(module, facts, facts.network.model_copy(update=change))
