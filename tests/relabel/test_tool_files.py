"""Is each file found by the study that it is named after, and by no other?"""

import pytest

from jobs.tool_files import CENTROIDS, MASKS, ToolFiles
from lamstore.errors import MissingInputError


@pytest.fixture
def tree(tmp_path):
    def write(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return write


@pytest.mark.parametrize(
    "name",
    [
        "12_ctd.json", "sub-12_ctd.json", "deep/down/sub-12_ses-3_mod-T2w_ctd.json",
        "sub-12/anat/anything_ctd.json", "12/series/a_ctd.json",
    ],
)  # fmt: skip
def test_names_that_mean_a_subject(tree, name):
    folder = tree(name, "sub-123_ctd.json", "sub-1_ctd.json")
    found = ToolFiles(folder, CENTROIDS)
    assert found.of("12") == found.of("sub-12") == folder / name


def test_a_label_with_an_underscore(tree):
    folder = tree("case_7_ctd.json", "case_8_ctd.json")
    assert ToolFiles(folder, CENTROIDS).of("case_7").name == "case_7_ctd.json"


def test_of_several_the_session_or_series_decides(tree):
    files = ToolFiles(tree("sub-1_ses-a_ctd.json", "sub-1_ses-77_ctd.json"), CENTROIDS)
    assert files.of("1", ("t0", "77")).name == "sub-1_ses-77_ctd.json"
    with pytest.raises(MissingInputError, match="more than one") as caught:
        files.of("1", ("t0", ""))
    assert "sub-1_ses-77_ctd.json" in str(caught.value)


def test_masks_of_tissues_are_no_masks_of_vertebrae(tree):
    names = [f"sub-1_mod-T2w_seg-{kind}_msk.nii.gz" for kind in ("vert", "spine", "subreg")]
    assert ToolFiles(tree(*names), MASKS).of("1").name == names[0]


def test_nothing_there_is_said(tree):
    folder = tree("sub-1_ctd.json")
    with pytest.raises(MissingInputError, match="2: no"):
        ToolFiles(folder, CENTROIDS).of("2")
    with pytest.raises(MissingInputError, match="holds no"):
        ToolFiles(folder, MASKS)
    with pytest.raises(MissingInputError, match="holds no") as caught:
        ToolFiles(folder / "nowhere", CENTROIDS)
    assert "no such folder" in str(caught.value)


def test_what_an_earlier_run_wrote_does_not_count(tree):
    folder = tree("1_ctd.json", "relabel/centroids/1_ctd.json")
    found = ToolFiles(folder, CENTROIDS, folder / "relabel").of("1")
    assert found == folder / "1_ctd.json"
    with pytest.raises(MissingInputError, match="more than one"):
        ToolFiles(folder, CENTROIDS).of("1")
