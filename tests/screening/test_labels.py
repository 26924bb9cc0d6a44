"""Are labels read strictly, and is everyone accounted for who has no pair?"""

import pytest

from analysis.screening.labels import join_labels, read_labels
from lamstore.errors import AnalysisError


@pytest.fixture
def labels(tmp_path):
    def write(text):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        return path

    return write


def test_ids_stay_text_and_other_columns_are_allowed(labels):
    found = read_labels(
        labels("Study_ID, LSTV ,kind\n007, 1,sacralized\n8,false,normal\n8,0,normal\n")
    )
    assert found.lstv == {"007": True, "8": False}
    assert found.kind == {"007": "sacralized", "8": "normal"}
    assert found.repeated == 1
    assert not found.generated


def test_labels_of_the_generator_are_known(labels):
    head = "study_id,lstv,castellvi,kind,severity,lumbar_bodies,seed\n"
    assert read_labels(labels(head + "1,0,,normal,0,5,1\n")).generated


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("study,lstv\n1,0\n", "no column study_id"),
        ("study_id,lstv\n1,0\n2,maybe\n", "'maybe' in line 3"),
        ("study_id,lstv\n1,\n", "lstv is '' in line 2"),
        ("study_id,lstv\n1,0\n,1\n", "no study id in line 3"),
        ("study_id,lstv\n1,0\n1,1\n", "called both 0 and 1: 1"),
        ("", "EmptyDataError"),
    ],
)
def test_what_is_no_label_is_refused(labels, text, complaint):
    with pytest.raises(AnalysisError) as caught:
        read_labels(labels(text))
    assert complaint in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(AnalysisError, match="gives no labels"):
        read_labels(tmp_path / "no.csv")


def test_everyone_is_in_one_group(labels):
    found = read_labels(labels("study_id,lstv\na,0\nb,1\nlost,1\nother,0\n"))
    join = join_labels(found, ["c", "b", "a"], ["a", "b", "c", "lost"])
    assert join.labelled == ("a", "b")
    assert join.unlabelled == ("c",)
    assert join.failed == ("lost",)
    assert join.unknown == ("other",)


def test_no_common_study_is_an_error(labels):
    found = read_labels(labels("study_id,lstv\n1,0\n2,1\n"))
    with pytest.raises(AnalysisError) as caught:
        join_labels(found, ["h1"], ["h1"])
    assert "labels of 1, 2; measures of h1" in str(caught.value)
    assert "pseudonym" in str(caught.value)
