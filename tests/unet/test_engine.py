"""Is `unet` an engine as every other, and does it say what is wrong with its weights?"""

from dataclasses import replace

import numpy as np
import pytest
from conformance import EngineConformance, synthetic_input

import jobs.engines.unet
from jobs.engines import load_engine
from jobs.engines.unet import Unet
from lamstore.errors import ConfigError, EngineError, MissingWeightsError, VoxelError
from lamstore.grid import Grid

LOW = 0.3
"""Threshold at which random weights, which answer about one half, find something."""


class TestUnet(EngineConformance):
    @pytest.fixture(scope="class")
    def engine(self, request, two_members):
        options = {"weights": two_members, "threshold": LOW}
        request.cls.other_options = options | {"overlap": 0.5}
        return load_engine("unet", options)


def segment(weights, inputs=None, **options):
    engine = Unet.parse({"weights": weights, "threshold": LOW, **options})
    return engine.segment(inputs or synthetic_input())


def test_nothing_outside_of_the_brain(two_members):
    inputs = synthetic_input()
    found = segment(two_members, inputs)
    assert not found.probability[:, ~inputs.brainmask].any()
    assert not found.mask[~inputs.brainmask].any()
    assert found.probability[:, inputs.brainmask].min() > 0


def test_the_mask_is_the_mean_at_the_threshold(two_members):
    inputs = synthetic_input()
    found = segment(two_members, inputs, threshold=0.5, min_component_mm3=0)
    expected = (found.probability.mean(axis=0) >= 0.5) & inputs.brainmask
    assert expected.any()
    np.testing.assert_array_equal(found.mask, expected)


def test_the_threshold_is_the_weights_own_unless_given(tmp_path, save_member):
    paths = [save_member(tmp_path / f"{t}.safetensors", threshold=t) for t in (0.4, 0.6)]
    assert Unet.parse({"weights": paths}).threshold == pytest.approx(0.5)
    assert Unet.parse({"weights": paths[:1]}).threshold == pytest.approx(0.4)
    assert Unet.parse({"weights": paths, "threshold": 0.2}).threshold == pytest.approx(0.2)


def test_members_are_files_and_looks(two_members):
    plain = segment(two_members[:1]).probability
    averaged = segment(two_members[:1], flips="mean", flip_axes=["x", "z"]).probability
    apart = segment(two_members[:1], flips="members", flip_axes=["x", "z"]).probability
    assert apart.shape[0] == 3
    assert Unet.parse({"weights": two_members, "flips": "members"}).members == (
        "a",
        "a-x",
        "b",
        "b-x",
    )
    np.testing.assert_array_equal(apart[0], plain[0])
    np.testing.assert_allclose(averaged[0], apart.mean(axis=0), atol=1e-6)
    assert np.abs(apart[1] - apart[0]).max() > 1e-3


def test_a_mirrored_brain_looked_at_in_the_mirror_is_the_same(tmp_path, save_member):
    path = save_member(tmp_path / "m.safetensors", spacing_mm=(1.0, 1.0, 3.0))
    inputs = synthetic_input()
    inputs.brainmask[:3] = False  # an even width lies in the middle of its one window
    turned = replace(
        inputs,
        images={k: v[::-1].copy() for k, v in inputs.images.items()},
        brainmask=inputs.brainmask[::-1].copy(),
    )
    options = {"flips": "members", "window": (64, 64, 32)}
    plain, mirrored = (segment([path], i, **options).probability for i in (inputs, turned))
    np.testing.assert_allclose(mirrored[1, ::-1], plain[0], atol=1e-4)


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 0, 2)])
def test_the_order_and_direction_of_axes_decide_nothing(two_members, axes):
    """A sagittal scan stored as P, S, R meets the network as R, A, S, like every other."""
    inputs = synthetic_input()

    def turned(volume):
        return volume.transpose(axes)[:, ::-1]

    shape = turned(inputs.brainmask).shape
    matrix = inputs.grid.matrix[:, [*axes, 3]].copy()
    matrix[:3, 3] += matrix[:3, 1] * (shape[1] - 1)
    matrix[:3, 1] *= -1
    other = replace(
        inputs,
        images={k: turned(v) for k, v in inputs.images.items()},
        brainmask=turned(inputs.brainmask),
        grid=Grid.of(shape, matrix),
    )
    expected, got = segment(two_members, inputs), segment(two_members, other)
    np.testing.assert_allclose(got.probability[0], turned(expected.probability[0]), atol=1e-5)


def test_a_missing_optional_channel_is_zeros(two_members):
    inputs = synthetic_input()
    alone = replace(inputs, images={"flair": inputs.images["flair"]})
    # A constant image is normalized to zeros.
    blank = replace(inputs, images=inputs.images | {"t1w": np.ones_like(inputs.images["t1w"])})
    np.testing.assert_array_equal(
        segment(two_members, alone).probability, segment(two_members, blank).probability
    )
    assert (
        np.abs(
            segment(two_members, inputs).probability - segment(two_members, alone).probability
        ).max()
        > 1e-3
    )


def test_members_of_different_channels_each_get_their_own(tmp_path, save_member):
    a = save_member(tmp_path / "a.safetensors", channels=("flair",))
    b = save_member(tmp_path / "b.safetensors", channels=("t1w", "flair"), required=("flair",))
    c = save_member(tmp_path / "c.safetensors", channels=("t2w",))
    engine = Unet.parse({"weights": [a, b]})
    assert (engine.required_modalities, engine.optional_modalities) == (("flair",), ("t1w",))
    both = engine.segment(synthetic_input()).probability
    np.testing.assert_array_equal(both[0], segment([a]).probability[0])
    np.testing.assert_array_equal(both[1], segment([b]).probability[0])
    with pytest.raises(EngineError, match="t2w"):
        segment([a, c])


def test_weights_that_are_not_there_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.engines.unet, "DEFAULT", tmp_path)
    for options in ({}, {"weights": [tmp_path / "no.safetensors"]}):
        engine = Unet.parse(options)
        for ask in (engine.digest, engine.load, lambda e=engine: e.required_modalities):
            with pytest.raises(MissingWeightsError) as caught:
                ask()
            assert "lam train" in caught.value.remedy


def test_every_file_of_the_package_is_a_member_by_default(tmp_path, monkeypatch, save_member):
    for name in ("two", "one"):
        save_member(tmp_path / f"{name}.safetensors")
    monkeypatch.setattr(jobs.engines.unet, "DEFAULT", tmp_path)
    assert Unet.parse({}).members == ("one", "two")


def test_the_digest_is_of_the_bytes_not_of_the_place(tmp_path, save_member):
    there = save_member(tmp_path / "a" / "best.safetensors")
    moved = save_member(tmp_path / "b" / "other.safetensors")
    changed = save_member(tmp_path / "c" / "best.safetensors", seed=1)
    digest = Unet.parse({"weights": [there]}).digest()
    assert Unet.parse({"weights": str(moved), "device": "cpu", "batch": 4}).digest() == digest
    assert Unet.parse({"weights": [changed]}).digest() != digest
    assert Unet.parse({"weights": [there], "precision": "bfloat16"}).digest() != digest


def test_files_of_one_name_are_called_after_their_folders(tmp_path, save_member):
    paths = [save_member(tmp_path / f / "best.safetensors") for f in ("fold0", "fold1")]
    assert Unet.parse({"weights": paths}).members == ("fold0-best", "fold1-best")
    with pytest.raises(ConfigError, match="same name"):
        _ = Unet.parse({"weights": [paths[0], paths[0]]}).members


def test_weights_for_other_intensities_are_refused(tmp_path, save_member):
    path = save_member(tmp_path / "old.safetensors", normalization="tissue-z-0")
    with pytest.raises(EngineError, match="other intensities"):
        segment([path])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"window": (31, 32, 32)}, ConfigError),
        ({"precision": "float16", "device": "cpu"}, EngineError),
    ],
)
def test_what_cannot_run_is_refused_when_weights_are_read(two_members, options, error):
    with pytest.raises(error):
        Unet.parse({"weights": two_members, **options}).load()


def test_a_constant_brain_is_defined_and_an_empty_one_refused(two_members):
    inputs = synthetic_input()
    flat = {k: np.full_like(v, 7) for k, v in inputs.images.items()}
    found = segment(two_members, replace(inputs, images=flat))
    assert np.isfinite(found.probability).all()
    with pytest.raises(EngineError, match="empty"):
        segment(two_members, replace(inputs, brainmask=np.zeros_like(inputs.brainmask)))


def test_an_image_without_scale_is_named(two_members):
    inputs = synthetic_input()
    half = np.where(inputs.images["t1w"] > 1000, 2, 1).astype(np.float32)
    half[tuple(np.argwhere(inputs.brainmask)[0])] = 5
    with pytest.raises(VoxelError, match="t1w"):
        segment(two_members, replace(inputs, images=inputs.images | {"t1w": half}))


def test_half_precision_stays_close(two_members):
    full, half = segment(two_members), segment(two_members, precision="bfloat16")
    difference = np.abs(full.probability - half.probability).max()
    assert 0 < difference < 0.05
