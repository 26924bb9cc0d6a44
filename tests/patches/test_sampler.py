"""Are patches what the scans hold at that place, on any grid, and drawn as stated?"""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from jobs.patches.draw import Draw
from jobs.patches.sampler import PatchSource, Sampling
from jobs.unet.normalize import brain_scale, normalized
from jobs.unet.resample import Placement
from lamstore.errors import ConfigError
from lamstore.shards import ChunkCache, ShardReader
from lamstore.store import Store
from tests.patches.conftest import build, known

RAW = Sampling(("flair", "t1w"), optional=("t1w",), patch_voxels=(12, 10, 8), normalized=False)


SPACINGS = {"big": (5 / 3, 5 / 3, 10 / 3), "small": (10 / 3, 5 / 3, 5 / 3)}
"""5/3 of the own spacings, towards R, A, S."""


def looked_up(values, patch, fill=0):
    """Values of the scan at each voxel of a patch, through world coordinates."""
    affine = known(patch.draw.subject).grid.matrix
    voxels = np.stack(np.indices(patch.label.shape[1:]), axis=-1)
    world = voxels @ patch.affine[:3, :3].T + patch.affine[:3, 3]
    inverse = np.linalg.inv(affine)
    at = np.rint(world @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    inside = ((at >= 0) & (at < values.shape)).all(axis=-1)
    at[~inside] = 0
    return np.where(inside, values[tuple(np.moveaxis(at, -1, 0))], fill)


def test_patches_hold_what_the_scan_holds(study):
    source = PatchSource(study, None, RAW)
    seen = set()
    for number in range(40):
        patch = source[number]
        one = known(patch.draw.subject)
        assert patch.image.shape == (2, 12, 10, 8) and patch.image.dtype == np.float32
        # Its axes run towards R, A, S, whatever those of the scan are.
        assert (np.diag(patch.affine)[:3] > 0).all()
        assert np.array_equal(patch.image[0], looked_up(one.images["flair"], patch))
        assert np.array_equal(patch.label[0], looked_up(one.truth, patch))
        assert np.array_equal(patch.brain[0], looked_up(one.brain, patch))
        if "t1w" in one.images:
            assert np.array_equal(patch.image[1], looked_up(one.images["t1w"], patch))
        else:
            assert not patch.image[1].any()
        assert patch.present.tolist() == [True, "t1w" in one.images]
        seen.add(patch.draw.subject)
    assert seen == {"big", "small"}


def test_normalized_by_the_whole_image(study):
    draw = Draw(0, "big", "t0", (20.0, 18.0, 10.0), -1)
    patch = PatchSource(study, ["big"], Sampling(("t1w",), patch_voxels=(16, 16, 8))).read(draw)
    one = known("big")
    image = one.images["t1w"].astype(np.float32)
    whole = normalized(image, one.brain, brain_scale(image, one.brain))
    assert np.allclose(patch.image[0], looked_up(whole, patch), atol=1e-5)
    assert patch.image.std() > 0.5


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (39.0, 35.0, 19.0), (-50.0, 5.0, 5.0)])
def test_zeros_beyond_the_scan(study, centre):
    patch = PatchSource(study, ["big"], RAW).read(Draw(0, "big", "t0", centre, -1))
    assert np.array_equal(patch.image[0], looked_up(known("big").images["flair"], patch))
    assert (patch.image[0] == 0).any()


def test_only_chunks_that_are_touched_are_read(study, monkeypatch):
    windows = []
    read = ShardReader.read

    def noted(self, window, into=None):
        windows.append([part.stop - part.start for part in window[-3:]])
        return read(self, window, into)

    monkeypatch.setattr(ShardReader, "read", noted)
    PatchSource(study, ["big"], RAW).read(Draw(0, "big", "t0", (20.0, 18.0, 10.0), -1))
    # Brain mask, lesion truth and two images: boxes of the patch's size, in z, y, x.
    assert windows == [[8, 10, 12]] * 4


def test_cache_changes_nothing(study):
    with_cache = PatchSource(study, None, RAW, cache_bytes=100_000)
    without = PatchSource(study, None, RAW, cache_bytes=0)
    for number in (*range(15), *range(15)):
        assert np.array_equal(with_cache[number].image, without[number].image)


def test_cache_keeps_what_was_used_last_within_its_limit():
    cache = ChunkCache(100)
    chunk = np.zeros(40, np.uint8)
    for key in "ab":
        cache.put(key, chunk)
    assert cache.get("a") is chunk
    cache.put("c", chunk)
    assert cache.get("b") is None and cache.get("a") is chunk and cache.get("c") is chunk
    cache.put("c", np.zeros(60, np.uint8))
    cache.put("large", np.zeros(101, np.uint8))
    assert all(cache.get(key) is None for key in ("a", "c", "large"))


def test_resampled_patch_of_a_linear_image_is_exact(tmp_path):
    study = build(tmp_path / "linear")
    store = Store(study.store_path, writable=True)
    for subject in ("big", "small"):
        grid = known(subject).grid
        at = np.stack(np.indices(grid.shape), axis=-1)
        ramp = at @ np.array([3, 5, 7]) + 100
        block = np.stack([ramp, ramp]).astype(np.uint16)
        store.write("volume", block, subject=subject, timepoint="t0")
    sampling = Sampling(
        ("flair",), patch_voxels=(6, 8, 10), spacing_mm=(1.3, 0.8, 1.1), normalized=False
    )
    source = PatchSource(study, None, sampling)
    for subject, centre in (("big", (20.0, 18.0, 10.0)), ("small", (15.0, 20.0, 9.0))):
        patch = source.read(Draw(0, subject, "t0", centre, -1))
        assert np.allclose(np.linalg.norm(patch.affine[:3, :3], axis=0), (1.3, 0.8, 1.1))
        inverse = np.linalg.inv(known(subject).grid.matrix) @ patch.affine
        voxels = np.stack(np.indices((6, 8, 10)), axis=-1)
        at = voxels @ inverse[:3, :3].T + inverse[:3, 3]
        assert np.allclose(patch.image[0], at @ np.array([3, 5, 7]) + 100, atol=1e-2)


def test_resampled_label_keeps_its_volume(study):
    sampling = Sampling(("flair",), patch_voxels=(40, 40, 40), spacing_mm=(1.0, 1.0, 1.0))
    patch = PatchSource(study, ["big"], sampling).read(Draw(0, "big", "t0", (15.0, 15.0, 8.0), -1))
    # The large lesion, 10 x 10 x 14 mm.
    assert patch.label.sum() == pytest.approx(1400, rel=0.1)


@pytest.mark.parametrize("subject", ["big", "small"])
def test_the_network_learns_on_what_the_engine_shows_it(study, subject):
    one = known(subject)
    # At 5/3 of the own spacing both grids have voxels at 2, 7, 12, … of the subject's.
    image = one.images["flair"].astype(np.float32)
    scaled = normalized(image, one.brain, brain_scale(image, one.brain))
    sampling = Sampling(("flair",), patch_voxels=(6, 6, 6), spacing_mm=SPACINGS[subject])
    placement = Placement.of(one.grid, one.grid.shape, SPACINGS[subject])
    centre = np.zeros(3)
    for axis, back in zip(placement.cut.order, placement.cut.reverse, strict=True):
        centre[axis] = one.grid.shape[axis] - 1 - 12 if back else 12
    draw = Draw(0, subject, "t0", tuple(centre.tolist()), -1)
    patch = PatchSource(study, [subject], sampling).read(draw)
    # The patch's fourth voxel is at 12, the engine's eighth.
    there = (slice(4, 10),) * 3
    assert np.allclose(patch.image[0], placement.to_training(scaled)[there], atol=1e-4)
    assert np.array_equal(patch.brain[0], placement.mask_to_training(one.brain)[there])


def test_a_spacing_within_a_percent_is_not_resampled(study):
    near = PatchSource(study, ["big"], Sampling(("flair",), spacing_mm=(1.005, 0.995, 2.01)))
    own = PatchSource(study, ["big"], Sampling(("flair",)))
    assert np.array_equal(near[3].image, own[3].image)


def test_draws_depend_on_seed_and_number_alone(study):
    source = PatchSource(study, None, RAW)
    other = pickle.loads(pickle.dumps(source))
    assert [source.draw(n) for n in range(50)] == [other.draw(n) for n in reversed(range(50))][::-1]
    reseeded = PatchSource(study, None, Sampling(("flair",), seed=1, patch_voxels=(12, 10, 8)))
    assert [source.draw(n).centre for n in range(9)] != [reseeded.draw(n).centre for n in range(9)]


def counted(study, **changes):
    sampling = Sampling(("flair",), patch_voxels=(12, 10, 8), **changes)
    source = PatchSource(study, None, sampling)
    return source, [source.draw(number) for number in range(3000)]


def test_share_and_lesions_as_stated(study):
    source, draws = counted(study, lesion_share=0.7)
    on = [d for d in draws if d.lesion >= 0]
    # Binomial: four standard deviations of 3000 draws are 0.034.
    assert len(on) / len(draws) == pytest.approx(0.7, abs=0.034)
    subjects = Counter(d.subject for d in on)
    assert subjects["big"] / len(on) == pytest.approx(0.5, abs=0.045)
    big = Counter(d.lesion for d in on if d.subject == "big")
    # Lesions of 700, 2 and 1 voxels, each alike.
    assert all(
        count / sum(big.values()) == pytest.approx(1 / 3, abs=0.06) for count in big.values()
    )
    _, by_voxel = counted(study, lesion_share=1.0, lesion_alpha=1.0)
    sizes = source.indexes["big"].lesions["t0"].voxels
    largest = [d for d in by_voxel if d.subject == "big" and sizes[d.lesion] == 700]
    assert len(largest) / sum(d.subject == "big" for d in by_voxel) > 0.98


def test_jitter_keeps_the_lesion_in_the_patch(study):
    source, draws = counted(study, lesion_share=1.0, jitter=0.4)
    assert all(source.read(draw).label.any() for draw in draws[:60])
    centres = {d.centre for d in draws if d.subject == "small"}
    # Of a lesion of one voxel, in a sagittal scan: the patch's 12, 10, 8 run along z, x, y there,
    # and a voxel is 1 x 1 x 2 mm.
    away = np.ptp(np.array(sorted(centres)), axis=0)
    assert away.tolist() == [8, 6, 10]
    _, still = counted(study, lesion_share=1.0, jitter=0.0)
    assert {d.centre for d in still if d.subject == "small"} == {(20.0, 9.0, 6.0)}


def test_what_cannot_be_drawn(study):
    with pytest.raises(ConfigError, match="no scan can be trained on"):
        PatchSource(study, None, Sampling(("t2w",)))
    assert PatchSource(study, None, Sampling(("flair", "t1w"))).cases == (("big", "t0"),)
    with pytest.raises(ConfigError, match="out of range"):
        PatchSource(study, None, Sampling(("flair",), lesion_share=1.5))
