"""Are the batches the same whoever prepares them, and from wherever one begins?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobs.patches.loader import batches
from jobs.patches.sampler import Patch, PatchSource, Sampling

STEPS = 6


@pytest.fixture(scope="module")
def source(study):
    return PatchSource(study, None, Sampling(("flair", "t1w"), ("t1w",), patch_voxels=(12, 10, 8)))


def noisy(patch: Patch, random: np.random.Generator) -> Patch:
    """A transform with chance in it that also tells how many threads a worker has."""
    noise = random.standard_normal(patch.image.shape, np.float32)
    threads = np.full_like(noise[:1], torch.get_num_threads())
    return replace(patch, image=np.concatenate([patch.image + noise, threads]))


@pytest.fixture(scope="module")
def alone(source):
    return list(batches(source, 2, steps=STEPS, workers=0, transform=noisy))


def same(one, other):
    assert (one.step, one.draws) == (other.step, other.draws)
    assert torch.equal(one.image[:, :2], other.image[:, :2])
    for name in ("label", "brain", "present"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_what_a_batch_holds(source, alone):
    assert [b.step for b in alone] == list(range(STEPS))
    plain = list(batches(source, 2, steps=STEPS, workers=0))
    for batch in plain:
        assert batch.image.shape == (2, 2, 12, 10, 8)
        assert batch.label.shape == batch.brain.shape == (2, 1, 12, 10, 8)
        for row, draw in enumerate(batch.draws):
            assert draw.number == 2 * batch.step + row
            patch = source[draw.number]
            assert np.array_equal(batch.image[row], patch.image)
            assert np.array_equal(batch.label[row], patch.label)
            assert batch.present[row].tolist() == patch.present.tolist()
    # In the memory order of the store: turning a patch takes longer than reading it.
    assert plain[0].image.permute(0, 1, 4, 3, 2).is_contiguous()
    assert not torch.equal(plain[0].image, alone[0].image[:, :2])


@pytest.mark.parametrize("workers", [1, 2])
def test_same_order_for_any_number_of_workers(source, alone, workers):
    found = list(batches(source, 2, steps=STEPS, workers=workers, transform=noisy))
    assert len(found) == STEPS
    for one, other in zip(found, alone, strict=True):
        same(one, other)
        assert (one.image[:, 2] == 1).all()  # threads


def test_resume(source, alone):
    resumed = list(batches(source, 2, steps=STEPS, start=4, workers=0, transform=noisy))
    for one, other in zip(resumed, alone[4:], strict=True):
        same(one, other)
    assert not list(batches(source, 2, steps=STEPS, start=STEPS, workers=0))
