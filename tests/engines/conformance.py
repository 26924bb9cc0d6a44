"""What must every engine do, whatever is inside it?

A test class for a segmenter inherits `EngineConformance`, one for a localizer
`LocalizerConformance`, and says how to build the engine (`engine`) and give it an input that it can
work on (`inputs`); pytest then runs every test below on it. `synthetic_input` paints a small brain
with white and grey matter, CSF and lesions.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import ndimage

from jobs.engines import EngineInput
from lamstore.errors import ConfigError, EngineError, LamstoreError
from lamstore.grid import Grid

SHAPE = (56, 60, 24)
SPACING_MM = (1.0, 1.0, 3.0)
LESIONS_MM = (((22.0, 34.0, 36.0), 4.0), ((36.0, 26.0, 33.0), 3.5))
"""Centres and radii."""


def grid_of(shape=SHAPE, spacing_mm=SPACING_MM):
    return Grid.of(shape, np.diag([*spacing_mm, 1.0]))


def ball(center_mm, radius_mm, shape=SHAPE, spacing_mm=SPACING_MM):
    axes = np.meshgrid(
        *(np.arange(n) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij"
    )
    return sum((a - c) ** 2 for a, c in zip(axes, center_mm, strict=True)) <= radius_mm**2


def synthetic_lesions(shape=SHAPE, spacing_mm=SPACING_MM):
    return np.logical_or.reduce([ball(c, r, shape, spacing_mm) for c, r in LESIONS_MM])


def synthetic_input(shape=SHAPE, spacing_mm=SPACING_MM, lesions=True, seed=0):
    """A ball of white matter in a shell of grey in a shell of CSF, with noise and two lesions."""
    center = (28.0, 30.0, 36.0)
    brain, cerebrum, white = (ball(center, r, shape, spacing_mm) for r in (26.0, 23.0, 18.0))
    flair = np.select([white, cerebrum, brain], [95.0, 115.0, 20.0])
    t1w = np.select([white, cerebrum, brain], [120.0, 80.0, 25.0])
    if lesions:
        spots = synthetic_lesions(shape, spacing_mm)
        flair[spots], t1w[spots] = 200.0, 85.0
    rng = np.random.default_rng(seed)
    images = {
        name: (image + rng.normal(0, 4, shape)).astype(np.float32)
        for name, image in (("flair", flair), ("t1w", t1w))
    }
    return EngineInput("s1", "t0", "none", images, brain, grid_of(shape, spacing_mm))


def padded(inputs, before=(3, 1, 2), after=(2, 4, 1)):
    """The same subject on a larger grid, the new voxels 0 and outside of the brain."""
    width = list(zip(before, after, strict=True))
    affine = inputs.grid.matrix.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array(before)
    shape = tuple(n + a + b for n, (a, b) in zip(inputs.grid.shape, width, strict=True))
    images = {k: np.pad(v, width) for k, v in inputs.images.items()}
    mask = np.pad(inputs.brainmask, width)
    inner = tuple(slice(a, a + n) for n, a in zip(inputs.grid.shape, before, strict=True))
    larger = replace(inputs, images=images, brainmask=mask, grid=Grid.of(shape, affine))
    return larger, inner


class AnyEngineConformance:
    """What both kinds share. Inherit one of the two below, and define `engine` and `inputs`."""

    other_options: ClassVar = None
    """Valid options whose output may differ from `engine`'s; for the digest test."""
    reads_images = True
    """Whether the engine looks at the images (and so can be padded, and lack a modality)."""

    @pytest.fixture
    def engine(self):
        raise NotImplementedError

    @pytest.fixture
    def inputs(self):
        raise NotImplementedError

    @pytest.fixture
    def fresh_engine(self, engine):
        return type(engine)(engine.options)

    def arrays(self, engine, inputs):
        """Everything that the engine returns."""
        raise NotImplementedError

    def test_the_same_input_twice_gives_the_same_bits(self, engine, inputs):
        engine.load()
        first, second = self.arrays(engine, inputs), self.arrays(engine, inputs)
        assert [a.tobytes() for a in first] == [a.tobytes() for a in second]

    def test_a_fresh_instance_gives_the_same_bits(self, engine, fresh_engine, inputs):
        engine.load()
        fresh_engine.load()
        first, second = self.arrays(engine, inputs), self.arrays(fresh_engine, inputs)
        assert [a.tobytes() for a in first] == [a.tobytes() for a in second]
        assert engine.digest() == fresh_engine.digest()

    def test_inputs_are_not_modified(self, engine, inputs):
        engine.load()
        before = {k: v.copy() for k, v in inputs.images.items()}, inputs.brainmask.copy()
        for image in (*inputs.images.values(), inputs.brainmask):
            image.flags.writeable = False
        self.arrays(engine, inputs)
        for name, image in before[0].items():
            np.testing.assert_array_equal(inputs.images[name], image)
        np.testing.assert_array_equal(inputs.brainmask, before[1])

    def test_memory_layout_does_not_matter(self, engine, inputs):
        engine.load()
        fortran = replace(
            inputs,
            images={k: np.asfortranarray(v) for k, v in inputs.images.items()},
            brainmask=np.asfortranarray(inputs.brainmask),
        )
        found, expected = self.arrays(engine, fortran), self.arrays(engine, inputs)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_each_required_modality_is_asked_for(self, engine, inputs):
        engine.load()
        for modality in engine.required_modalities:
            rest = {k: v for k, v in inputs.images.items() if k != modality}
            with pytest.raises(EngineError, match=modality) as caught:
                self.arrays(engine, replace(inputs, images=rest))
            assert inputs.subject in str(caught.value)
            assert caught.value.remedy
        assert engine.required_modalities or not self.reads_images

    def test_optional_modalities_are_optional(self, engine, inputs):
        engine.load()
        only = {k: v for k, v in inputs.images.items() if k in engine.required_modalities}
        some, every = (self.arrays(engine, one) for one in (replace(inputs, images=only), inputs))
        assert [a.shape for a in some] == [a.shape for a in every]

    def test_members_are_distinct_names(self, engine):
        assert len(set(engine.members)) == len(engine.members)
        assert all(engine.members)

    def test_modalities_are_lower_case_and_disjoint(self, engine):
        both = (*engine.required_modalities, *engine.optional_modalities)
        assert len(set(both)) == len(both)
        assert all(m == m.lower() for m in both)

    def test_digest_is_stable_and_follows_the_options(self, engine):
        assert engine.digest() == engine.digest()
        assert self.other_options is not None, "name other_options"
        assert type(engine).parse(self.other_options).digest() != engine.digest()

    def test_unknown_options_are_refused_by_name(self, engine):
        with pytest.raises(ConfigError, match="no_such_option") as caught:
            type(engine).parse({"no_such_option": 1})
        assert engine.name in str(caught.value)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("everywhere", [True, False])
    def test_values_that_are_not_finite_are_refused(self, engine, inputs, value, everywhere):
        if not self.reads_images:
            pytest.skip("images are not read")
        engine.load()
        where = inputs.brainmask.copy()
        if not everywhere:
            where[:] = False
            where[tuple(np.argwhere(inputs.brainmask)[inputs.brainmask.sum() // 2])] = True
        bad = {k: np.where(where, np.float32(value), v) for k, v in inputs.images.items()}
        with pytest.raises(LamstoreError):
            self.arrays(engine, replace(inputs, images=bad))


class EngineConformance(AnyEngineConformance):
    """For segmenters."""

    @pytest.fixture
    def inputs(self):
        return synthetic_input()

    def arrays(self, engine, inputs):
        out = engine.segment(inputs)
        return out.mask, out.probability

    def test_shapes_types_and_range(self, engine, inputs):
        engine.load()
        out = engine.segment(inputs)
        assert out.probability.shape == (len(engine.members), *inputs.grid.shape)
        assert out.probability.dtype == np.float32
        assert out.mask.shape == inputs.grid.shape
        assert out.mask.dtype == np.bool_
        assert np.isfinite(out.probability).all()
        assert out.probability.size == 0 or out.probability.min() >= 0
        assert out.probability.size == 0 or out.probability.max() <= 1

    def test_finds_something_in_the_given_input(self, engine, inputs):
        """Without this the other tests would pass on an engine that always returns nothing."""
        engine.load()
        assert engine.segment(inputs).mask.any()

    def test_padding_outside_of_the_brain_changes_nothing(self, engine, inputs):
        if not self.reads_images:
            pytest.skip("outputs lie on the subject's own grid")
        engine.load()
        larger, inner = padded(inputs)
        small, large = engine.segment(inputs), engine.segment(larger)
        np.testing.assert_array_equal(large.mask[inner], small.mask)
        np.testing.assert_allclose(large.probability[:, *inner], small.probability, atol=1e-6)
        assert large.mask.sum() == small.mask.sum()


class LocalizerConformance(AnyEngineConformance):
    """For localizers. `inputs` shows a spine whose levels the engine can find."""

    def arrays(self, engine, inputs):
        out = engine.locate(inputs)
        return (out.heatmap,) if out.planes is None else (out.heatmap, out.planes)

    def test_its_grid_spans_the_field_of_view_of_the_image(self, engine, inputs):
        engine.load()
        grid = engine.locate(inputs).grid or inputs.grid
        corners = np.array([*np.ndindex(2, 2, 2)]), np.ones((8, 1))
        own, image = (
            np.hstack([corners[0] * np.array(g.shape) - 0.5, corners[1]]) @ g.matrix.T
            for g in (grid, inputs.grid)
        )
        np.testing.assert_allclose(own, image, atol=1e-6)

    def test_shapes_types_and_range(self, engine, inputs):
        engine.load()
        lead = (len(engine.members), len(engine.levels))
        assert all(lead)
        found = self.arrays(engine, inputs)
        grid = engine.locate(inputs).grid or inputs.grid
        assert found[0].shape == (*lead, *grid.shape)
        for values in found:
            assert values.shape[:2] == lead
            assert values.ndim == 4 + (values is found[0])
            assert values.dtype == np.float32
            assert values.min() >= 0  # which NaN is not
            assert values.max() <= 1

    def test_levels_are_distinct_column_names(self, engine):
        assert len(set(engine.levels)) == len(engine.levels)
        assert all(level.isidentifier() and level == level.lower() for level in engine.levels)

    def test_every_level_is_found_in_its_order_along_the_spine(self, engine, inputs):
        """Without this the other tests would pass on an engine that always returns nothing."""
        engine.load()
        found = engine.locate(inputs)
        mean = found.heatmap.mean(axis=0)
        voxels = np.array([np.unravel_index(m.argmax(), m.shape) for m in mean])
        assert (mean.max(axis=(1, 2, 3)) > 0.05).all()
        heights_mm = (voxels @ (found.grid or inputs.grid).matrix[:3, :3].T)[:, 2]
        assert (np.diff(heights_mm) < 0).all()

    def test_planes_peak_as_the_heatmap_does(self, engine, inputs):
        """What is measured on the network's pixels is of the same maps as what is stored."""
        engine.load()
        out = engine.locate(inputs)
        if out.planes is None:
            pytest.skip("the harness cuts them out of the heatmap")
        stored, seen = (
            values.mean(axis=0).reshape(len(engine.levels), -1).max(axis=1)
            for values in (out.heatmap, out.planes)
        )
        np.testing.assert_allclose(stored, seen, atol=0.1)


def components(mask):
    return ndimage.label(mask, np.ones((3, 3, 3)))[1]
