"""Does `lam relabel` move labels that are off, leave others, and go on where one study fails?"""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from jobs.heatmaps.centroids import read_centroids
from tests.running import change_study, lam, snapshot

SOME = ("--subject", "good", "--subject", "moved")


def labels(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def whole(told_once, tmp_path_factory):
    """Everything at once, as a user would: what was said, and where it was written."""
    out = tmp_path_factory.mktemp("relabelled") / "out"
    before = snapshot(told_once)
    said = lam(
        "relabel", told_once / "study", "--centroids", told_once / "ctd", "--masks",
        told_once / "msk", "--out", out, "--top", 1, status=1,
    )  # fmt: skip
    assert snapshot(told_once) == before  # nothing of the study or the tool is touched
    return said, out


def test_the_table_has_a_line_for_every_study(whole):
    table = pd.read_csv(whole[1] / "relabelling.csv").set_index("study_id")
    assert table["shift"].dropna().to_dict() == {"good": 0, "moved": -1}
    assert table["log_odds"]["moved"] > 2
    assert "L6 → L5" in table["moved"]["moved"]
    assert not table["divide_sacrum"]["moved"]
    assert table["problem"].notna().to_dict() == {
        "broken": True, "good": False, "missing": True, "moved": False, "upside": True,
    }  # fmt: skip
    assert not table["problem"].str.contains("\n").any()


def test_a_study_that_fails_is_said_and_stops_no_other(whole):
    said, out = whole
    assert "missing: no *_ctd.json" in said
    assert "sub-broken_ctd.json is not a file of centroids" in said
    assert "upside: sub-upside_ctd.json: the labels count from below upwards" in said
    assert "agree with the heatmaps" in said
    assert "3 failed" in said
    assert f"Written: {out}" in said
    assert said.rstrip().endswith(f"Look at: {out / 'report.html'}")
    assert "those of 1 should move" in (out / "summary.md").read_text()


def test_labels_that_are_right_stay_byte_for_byte(whole, told_once):
    for name in ("ctd/sub-good_ctd.json", "msk/sub-good_seg-vert_msk.nii.gz"):
        copy = whole[1] / name.replace("ctd/", "centroids/").replace("msk/", "masks/")
        assert copy.read_bytes() == (told_once / name).read_bytes()


def test_labels_that_are_off_move_in_mask_and_centroids(whole, told_once):
    name = "sub-moved_seg-vert_msk.nii.gz"
    old, new = labels(told_once / "msk" / name), labels(whole[1] / "masks" / name)
    assert new.dtype == old.dtype
    np.testing.assert_array_equal(new[old == 25], 24)  # six lumbar vertebrae are five again
    np.testing.assert_array_equal(new[old == 20], 19)
    np.testing.assert_array_equal(new[old == 26], 26)
    np.testing.assert_array_equal(new > 0, old > 0)
    here, there = (
        read_centroids(folder / "sub-moved_ctd.json").points
        for folder in (told_once / "ctd", whole[1] / "centroids")
    )
    assert there[24] == here[25]
    assert there[26] == here[26]
    assert nib.load(whole[1] / "masks" / name).affine.shape == (4, 4)


def test_the_localizer_looks_where_the_tool_says_a_level_is(whole):
    table = pd.read_csv(whole[1] / "relabelling.csv").set_index("study_id")
    assert table["l5_s1_offset_mm"]["good"] < 8
    # What this tool calls L3/L4 is L2/L3: the map of L3/L4 peaks one level away.
    assert table["l3_l4_offset_mm"]["good"] < 8
    assert 20 < table["l3_l4_offset_mm"]["moved"] < 50


def test_the_queue_is_as_long_as_asked_and_has_pictures(whole):
    queue = pd.read_csv(whole[1] / "audit_queue.csv")
    table = pd.read_csv(whole[1] / "relabelling.csv").set_index("study_id")
    assert queue["study_id"].tolist() == [table["l5_s1_entropy"].idxmax()]
    assert queue["l5_s1_entropy"][0] == pytest.approx(table["l5_s1_entropy"].max())
    drawn = {path.name for path in (whole[1] / "pictures").iterdir()}
    assert {"moved_t0.png", f"{queue['study_id'][0]}_t0.png"} == drawn


def test_the_page_shows_who_moves_who_is_first_and_what_failed(whole):
    page = (whole[1] / "report.html").read_text()
    assert "should move by one vertebra" in page
    for part in ("For research only", "L6 → L5", "l5_s1_entropy", "is not a file of"):
        assert part in page
    for href in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{href}"' in page
    for source in re.findall(r'src="([^"]+)"', page):
        assert (whole[1] / source).is_file()
    assert not re.search(r'(?:src|href)="https?:', page)


def test_the_measure_of_the_queue_is_that_of_study_yaml(relabelled, study):
    text = (study.path / "study.yaml").read_text()
    try:
        change_study(study, screening={"queue_measure": "l3_l4_confidence"})
        said, out = relabelled(*SOME)
        queue = pd.read_csv(out / "audit_queue.csv")
        assert sorted(queue["study_id"]) == ["good", "moved"]
        assert queue["l3_l4_confidence"].is_monotonic_increasing  # low is suspicious
        assert "by l3_l4_confidence" in said
        change_study(study, screening={"queue_measure": "l3_l4_height"})
        assert "cannot be ranked" in relabelled(*SOME, status=2)[0]
    finally:
        (study.path / "study.yaml").write_text(text)


def test_a_mask_of_another_study_is_refused(relabelled, told_once, tmp_path):
    swapped = tmp_path / "msk"
    swapped.mkdir()
    source = nib.load(told_once / "msk" / "sub-good_seg-vert_msk.nii.gz")
    other = np.roll(labels(told_once / "msk" / "sub-good_seg-vert_msk.nii.gz"), 40, axis=1)
    nib.save(nib.Nifti1Image(other, source.affine, source.header), swapped / "sub-good_msk.nii.gz")
    cut = nib.Nifti1Image(np.asarray(source.dataobj)[:, :100], source.affine)
    nib.save(cut, swapped / "sub-moved_msk.nii.gz")
    said, _ = relabelled(*SOME, "--masks", swapped, status=2)
    assert "good: sub-good_msk.nii.gz does not belong to its centroids" in said
    assert "moved: sub-moved_msk.nii.gz lies on another grid" in said
    assert "none of 2 scans could be relabelled" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--engine", "unet"), "no localizer whose heatmaps could judge"),
        (("--subject", "nobody"), "no heatmaps of nobody"),
        (("--masks", "/nowhere"), "/nowhere holds no"),
    ],
)
def test_what_cannot_be_done_at_all_is_said_at_once(relabelled, arguments, complaint):
    said, out = relabelled(*arguments, status=2)
    assert complaint in said
    assert not out.exists()
