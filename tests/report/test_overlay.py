"""Is every subject shown the right way round, and is nothing shown that is not there?"""

from functools import cache
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from lamstore.errors import MissingArrayError
from lamstore.overlay import overlay, overlay_levels
from lamstore.overlay.slices import read_slices
from lamstore.overlay.view import fullest, outline, view

SHAPE = (20, 24, 10)
SPACING = (1.0, 1.5, 3.0)
LESION = (slice(14, 17), slice(17, 20), slice(6, 8))
"""In RAS order: right, front, up."""


def canonical(values, codes):
    """A RAS array and its affine, stored along other axes."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-10, -18, -12)
    image = nib.Nifti1Image(values.astype(np.float32), affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    turned = image.as_reoriented(turn)
    return np.asarray(turned.dataobj), turned.affine


def subject(codes="RAS", timepoints=("t0", "t1"), truth=True, members=True):
    """One cropped subject with a lesion that appears at the last timepoint, right and in front."""
    brain = np.zeros(SHAPE)
    brain[2:18, 2:22, 1:9] = 1
    flair = brain * (100 + np.arange(SHAPE[0])[:, None, None])
    lesion = np.zeros(SHAPE)
    lesion[LESION] = 1
    stored, affine = canonical(brain, codes)
    flair, lesion = canonical(flair, codes)[0], canonical(lesion, codes)[0]
    n, xyz = len(timepoints), ("x", "y", "z")
    masks = np.zeros((n, 3, *stored.shape), np.uint8)
    masks[-1, 0] = lesion
    data = {
        "volume": (("timepoint", "modality", *xyz), np.stack([[flair]] * n).astype(np.uint16)),
        "available": (("timepoint", "modality"), np.ones((n, 1), bool)),
        "brainmask": (xyz, stored.astype(np.uint8)),
        "mask": (("timepoint", "shift", *xyz), masks),
    }
    if truth:
        truths = np.zeros((n, *stored.shape), np.uint8)
        truths[-1] = lesion
        data["lesion_truth"] = (("timepoint", *xyz), truths)
        data["change_truth"] = (xyz, lesion.astype(np.uint8))
    if members:
        unsure = np.zeros((n, 3, 1, *stored.shape), np.float16)
        unsure[-1, 0, 0] = 0.2 * lesion
        data["uncertainty"] = (("timepoint", "shift", "measure", *xyz), unsure)
    coords = {"timepoint": list(timepoints), "modality": ["flair"],
              "shift": ["none", "blur-1", "blur-2"], "measure": ["ens_var"]}  # fmt: skip
    used = {k: v for k, v in coords.items() if members or k != "measure"}
    return xr.Dataset(data, coords=used, attrs={"affine": affine.tolist()})


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def without_labels(figure):
    """The picture less the number of its slices, which is that of the stored axis."""
    for axes in figure.axes:
        for text in axes.texts:
            text.set_text(text.get_text().partition(", ")[2])
    return pixels(figure)


@cache
def as_ras(plane):
    return without_labels(overlay(subject("RAS"), plane=plane))


@pytest.mark.parametrize(
    ("codes", "plane"),
    [("LPS", "axial"), ("LPS", "coronal"), ("LPS", "sagittal"), ("PSR", "axial"),
     ("SRA", "sagittal"), ("IPL", "axial"), ("ASL", "coronal"), ("LAS", "axial")],
)  # fmt: skip
def test_the_order_of_stored_axes_does_not_matter(codes, plane):
    found = without_labels(overlay(subject(codes), plane=plane))
    assert np.array_equal(found, as_ras(plane))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR"])
def test_right_is_left_and_front_is_up(codes):
    found, _ = read_slices(subject(codes), 1, "axial", None, None)
    assert found.view.letters == ("A", "P", "R", "L")
    rows, columns = np.nonzero(found.masks["t1"][0])
    height, width = found.masks["t1"][0].shape
    assert rows.max() < height / 2, "in front of the middle: upper half"
    assert columns.max() < width / 2, "right of the middle: left half of the picture"


@pytest.mark.parametrize(
    ("plane", "letters", "upper", "left"),
    [("axial", "APRL", True, True), ("coronal", "SIRL", True, True),
     ("sagittal", "SIAP", True, True)],
)  # fmt: skip
def test_every_plane_is_radiological(plane, letters, upper, left):
    found, _ = read_slices(subject("LPS"), 1, plane, None, None)
    assert "".join(found.view.letters) == letters
    rows, columns = np.nonzero(found.masks["t1"][0])
    height, width = found.masks["t1"][0].shape
    assert (rows.mean() < height / 2) == upper and (columns.mean() < width / 2) == left


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.5, 0.5), st.sampled_from(["RAS", "LPS", "PSR", "AIL"]))
def test_oblique_grids_get_the_nearest_view(angle, codes):
    _, affine = canonical(np.zeros(SHAPE), codes)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    straight, tilted = view(affine, "axial"), view(tilt @ affine, "axial")
    assert (tilted.cut, tilted.down, tilted.right, tilted.flips) == (
        straight.cut,
        straight.down,
        straight.right,
        straight.flips,
    )
    assert np.allclose(tilted.spacing_mm, (3.0, 1.5, 1.0))


def test_thick_slices_are_shown_as_acquired():
    sagittal = np.diag([4.0, 1.0, 1.0, 1.0])
    assert view(sagittal).plane == "sagittal"
    assert view(np.eye(4)).plane == "axial"


def test_voxels_keep_their_shape():
    figure = overlay(subject("LPS"), plane="axial")
    axes = figure.axes[0]
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    box = axes.get_position()
    width, height = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
    # Brain of 16 mm by 30 mm with 6 mm of margin, cut at the edge of the image (2 and 3 mm off).
    assert (right - left, bottom - top) == (20.0, 36.0)
    assert height / width == pytest.approx((bottom - top) / (right - left))


def test_fullest_slices_are_apart_and_in_order():
    score = np.array([0, 9, 8, 0, 0, 7, 0])
    assert fullest(score, score, 2, 3) == [1, 5]
    assert fullest(score * 0, np.array([0, 0, 1, 0, 0, 0, 0]), 2, 3) == [2]
    assert fullest(score * 0, score * 0, 2, 3) == [3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 5))
def test_fullest_slices_hold_the_maximum(counts, n, gap):
    score = np.array(counts)
    chosen = fullest(score, score, n, gap)
    assert 1 <= len(chosen) <= n and chosen == sorted(chosen)
    assert not score.any() or score[chosen].max() == score.max()
    assert all(b - a >= gap for a, b in pairwise(chosen))


def test_outline_of_one_voxel_is_its_four_sides_in_mm():
    mask = np.zeros((4, 5), bool)
    mask[1, 3] = True
    edges = outline(mask, (2.0, 0.5))
    lengths = np.abs(edges[:, 1] - edges[:, 0]).sum(axis=1)
    assert sorted(lengths) == [0.5, 0.5, 2.0, 2.0]
    assert edges[..., 0].min() == 1.5 and edges[..., 0].max() == 2.0
    assert edges[..., 1].min() == 2.0 and edges[..., 1].max() == 4.0
    assert outline(np.zeros((4, 5), bool), (1.0, 1.0)).shape == (0, 2, 2)


def test_new_voxels_are_painted_where_they_are():
    figure = overlay(subject("LPS"), plane="axial")
    (change,) = [axes for axes in figure.axes if len(axes.images) == 3]
    painted = np.asarray(change.images[1].get_array())
    assert (painted[..., 3] > 0).sum() == 9, "the lesion's slice: 3 x 3 voxels"
    assert np.allclose(painted[painted[..., 3] > 0][0, :3], to_rgba("#E69F00")[:3])
    assert not np.asarray(change.images[2].get_array())[..., 3].any(), "nothing vanished"


def titles(figure):
    return [text.get_text() for text in figure.texts]


def test_a_subject_of_one_timepoint_has_mask_against_truth():
    words = titles(overlay(subject(timepoints=("t0",))))
    assert "Model against truth" in words and not any("Change" in word for word in words)


def test_without_truth_and_uncertainty_there_are_no_such_columns():
    words = titles(overlay(subject(truth=False, members=False)))
    assert "Change" in words and "no change truth" in words
    assert not any("Uncertainty" in word for word in words)
    only = titles(overlay(subject(timepoints=("t0",), truth=False, members=False)))
    assert "Flair t0" not in only and "FLAIR t0" in only and "Model against truth" not in only


def test_a_scan_that_was_never_segmented_is_not_shown_as_empty():
    ds = subject()
    recorded = np.array([[np.nan, np.nan, np.nan], [100.0, 1.0, 1.0]])
    ds["lesion_volume_mm3"] = (("timepoint", "shift"), recorded)
    words = titles(overlay(ds))
    assert "not segmented" in words and not any("Change" in word for word in words)


def test_an_empty_truth_is_a_truth_when_the_metrics_say_so():
    ds = subject()
    ds["change_truth"] = ds["change_truth"] * 0
    assert "no change truth" in titles(overlay(ds))
    ds["change_gt_vol_mm3"] = (("shift",), np.zeros(3))
    assert "change truth" in titles(overlay(ds))


def test_levels_of_a_shift_are_columns():
    words = titles(overlay_levels(subject(), "blur"))
    assert words[0] == "as acquired" and {"blur 1", "blur 2"} <= set(words)
    assert words.count("model") == 1 and words.count("model: nothing here") == 2
    with pytest.raises(MissingArrayError, match="no shift gamma"):
        overlay_levels(subject(), "gamma")


def test_what_is_not_stored_is_named():
    with pytest.raises(MissingArrayError, match="no t1w image"):
        overlay(subject(), modality="t1w")
    with pytest.raises(MissingArrayError, match="measure prob_entropy is not stored"):
        overlay(subject(), measure="prob_entropy")
    with pytest.raises(MissingArrayError, match="engine's masks"):
        overlay(subject().drop_vars("mask"))


def test_an_opened_study_draws_itself(finished):
    import lamstore

    ds = lamstore.open(finished.path, engine="flair-zscore")
    figure = ds.sel(subject="patient01").lam.overlay(slices=2)
    assert titles(figure)[0] == "FLAIR t0" and pixels(figure).std() > 10


def test_only_the_chosen_slices_of_images_are_read(finished, monkeypatch):
    import lamstore
    from lamstore.shards import ShardReader

    read = []
    original = ShardReader.read

    def spy(self, window):
        read.append((self.array.path, [part.stop - part.start for part in window[-3:]]))
        return original(self, window)

    monkeypatch.setattr(ShardReader, "read", spy)
    ds = lamstore.open(finished.path, engine="flair-zscore")
    ds.sel(subject="patient01").lam.overlay(slices=1)
    images = [sizes for path, sizes in read if path.endswith(("volume", "uncertainty"))]
    assert len(images) == 3, "two timepoints and one map, once each"
    assert all(min(sizes) == 1 for sizes in images)
