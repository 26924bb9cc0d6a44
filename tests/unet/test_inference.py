"""Do windows over the brain say what MONAI's sliding window over everything says there?"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from jobs.unet.fast import fast_on_cpu
from jobs.unet.inference import Windows, fitted, flipped, scan
from jobs.unet.network import NetworkSpec, build_network, logits_of_heads

PLAIN = NetworkSpec(channels=("flair", "t1w"), features=(4, 8, 8), strides=(2, 2))
FULL = PLAIN.model_copy(update={"strides": (1, 2)})
DEEP = PLAIN.model_copy(update={"deep_supervision": True})
CPU = torch.device("cpu")


def network(spec=PLAIN, seed=0):
    torch.manual_seed(seed)
    return build_network(spec).eval()


def brain_and_images(shape, seed=0):
    """An ellipsoid away from the centre, and noise in it."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = sum((a / 0.5 - 0.3) ** 2 for a in axes) < 1
    noise = np.random.default_rng(seed).normal(0, 1, (2, *shape)).astype(np.float32)
    return brain, list(noise * brain)


@pytest.mark.parametrize(
    ("shape", "window", "overlap"),
    [
        ((50, 61, 44), (24, 24, 24), 0.25),
        ((50, 40, 44), (24, 24, 16), 0.5),
        ((20, 40, 17), (24, 24, 24), 0.25),  # smaller than a window: padded
        ((24, 24, 24), (24, 24, 24), 0.5),
    ],
)
def test_equal_to_monai_over_the_whole_array(shape, window, overlap):
    brain, images = brain_and_images(shape)
    plain = network()
    with torch.inference_mode():
        whole = sliding_window_inference(
            torch.from_numpy(np.stack(images))[None], window, 2, plain, overlap, mode="gaussian"
        )
    expected = torch.sigmoid(whole[0, 0]).numpy()
    windows = Windows.over(brain, window, overlap, CPU)
    logits = windows.logits(images, fast_on_cpu(plain, torch.float32), 2, torch.float32)
    got = torch.sigmoid(logits).numpy()
    inside = brain[windows.box]
    assert np.abs(got - expected[windows.box])[inside].max() < 1e-4
    assert np.ptp(expected[brain]) > 0.05


def test_windows_without_brain_are_left_out():
    brain = np.zeros((60, 20, 20), bool)
    brain[5:8, 5:8, 5:8] = True
    windows = Windows.over(brain, (20, 20, 20), 0.0, CPU)
    assert windows.starts == ((0, 0, 0),)
    with pytest.raises(ValueError, match="empty"):
        Windows.over(np.zeros((8, 8, 8), bool), (8, 8, 8), 0.0, CPU)


@given(
    shape=st.tuples(*[st.integers(1, 300)] * 3),
    window=st.tuples(*[st.integers(2, 16).map(lambda n: 8 * n)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5]),
)
def test_fitted_windows_are_few_and_about_as_large_as_was_asked(shape, window, overlap):
    found = fitted(shape, window, overlap, 8)
    assert all(edge % 8 == 0 for edge in found)
    assert all(w * 5 / 6 <= e <= max(w * 7 / 6, w) for e, w in zip(found, window, strict=True))
    assert len(scan(shape, found, overlap)[0]) <= len(scan(shape, window, overlap)[0])


def test_fitted_windows_of_a_head():
    assert fitted((127, 160, 126), (96, 96, 96), 0.25, 8) == (80, 96, 80)
    # 96 would take three along y.
    assert fitted((131, 180, 147), (96, 96, 96), 0.25, 8) == (80, 104, 88)
    assert len(scan((131, 180, 147), (80, 104, 88), 0.25)[0]) == 8


def test_mirrored_windows_are_turned_back():
    plain = network()
    windows = torch.randn(1, 2, 16, 16, 16)
    with torch.inference_mode():
        for axis in range(3):
            expected = plain(windows.flip(axis + 2)).flip(axis + 2)
            torch.testing.assert_close(flipped(plain, axis)(windows), expected)
    assert flipped(plain, None) is plain


@pytest.mark.parametrize("spec", [PLAIN, FULL, DEEP, PLAIN.model_copy(update={"norm": "batch"})])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_fast_network_is_the_same_network(spec, batch):
    plain = network(spec)
    windows = torch.randn(batch, 2, 16, 24, 16)
    windows[:, :, :9] = 0  # as outside the brain
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    fast = fast_on_cpu(plain, torch.float32)
    with torch.inference_mode():
        got = fast(windows.contiguous(memory_format=torch.channels_last_3d))
        torch.testing.assert_close(got, plain(windows), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[n], t) for n, t in plain.state_dict().items())


@pytest.mark.parametrize("shape", [(15, 13, 17), (16, 14, 18), (16, 14, 17)])
def test_the_fast_network_takes_windows_of_any_edge_that_the_plain_one_takes(shape):
    plain = network(PLAIN.model_copy(update={"strides": (1, 1)}))
    windows = torch.randn(1, 2, *shape)
    fast = fast_on_cpu(plain, torch.float32)
    with torch.inference_mode():
        got = fast(windows.contiguous(memory_format=torch.channels_last_3d))
        torch.testing.assert_close(got, plain(windows), atol=1e-4, rtol=1e-4)


def test_statistics_hold_over_many_voxels():
    """Sums over 64³ voxels, of which most are equal, as in a window at the brain's edge."""
    plain = network(NetworkSpec(features=(2, 2), strides=(2,), residual_units=0))
    window = torch.zeros(1, 1, 64, 64, 64)
    window[:, :, :8] = torch.randn(8, 64, 64)
    double = build_network(NetworkSpec(features=(2, 2), strides=(2,), residual_units=0)).double()
    double.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        exact = torch.sigmoid(double.eval()(window.double()))
        got = torch.sigmoid(fast_on_cpu(plain, torch.float32)(window))
    assert float((got - exact).abs().max()) < 1e-4


def test_heads_of_a_deeply_supervised_network():
    windows = torch.randn(2, 2, 16, 16, 16)
    training = build_network(DEEP).train()
    heads = logits_of_heads(training(windows))
    assert [tuple(h.shape) for h in heads] == [(2, 1, 16, 16, 16)] * DEEP.heads
    assert training.eval()(windows).shape == (2, 1, 16, 16, 16)
    assert len(logits_of_heads(build_network(PLAIN).train()(windows))) == 1
