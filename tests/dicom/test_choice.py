"""Which series is the sagittal T2, and does the reason say why?"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from jobs.dicom.choice import Candidate, choose_sagittal_t2
from jobs.dicom.header import FileHeader, Frame
from jobs.dicom.words import plane_of, spoken, weighting_of, words_of
from lamstore.errors import InputError
from tests.dicom.writing import AXIAL, SAGITTAL

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def header(orientation=SAGITTAL, te=None, tr=None, text="", **more):
    place = Frame((0.0, 0.0, 0.0), orientation, (1.0, 1.0), 1.0, 0.0, ())
    pixels = object()
    made = FileHeader(
        study_uid="1", series_uid="2", sop_uid="3", sop_class="4", modality="MR",
        image_type=("ORIGINAL", "PRIMARY"), frame_of_reference="", transfer_syntax="", rows=4,
        columns=4, samples=1, bits_allocated=16, bits_stored=16, high_bit=15, signed=False,
        photometric="MONOCHROME2", echo_time_ms=te, repetition_time_ms=tr, inversion_time_ms=None,
        fat_suppressed=False, words=words_of(text), has_lut=False, frames=(place,), pixels=pixels,
        file_size=1,
    )  # fmt: skip
    return replace(made, **more)


def candidate(series, images=15, **more):
    return Candidate(series, header(**more), images)


T2, T1 = {"te": 100.0, "tr": 3500.0}, {"te": 10.0, "tr": 600.0}
RSNA = {"1": "Sagittal T1", "2": "Sagittal T2/STIR", "3": "Axial T2"}


def test_the_table_decides():
    study = [candidate("1", **T1), candidate("2"), candidate("3", orientation=AXIAL, **T2)]
    chosen = choose_sagittal_t2(study, RSNA)
    assert chosen.series == "2" and "described as sagittal stir t2" in chosen.reason


def test_without_a_table_the_header_decides():
    study = [candidate("1", **T1), candidate("2", **T2), candidate("3", orientation=AXIAL, **T2)]
    chosen = choose_sagittal_t2(study, {})
    assert chosen.series == "2" and "TE 100 ms, TR 3500 ms" in chosen.reason


def test_words_decide_where_times_are_missing():
    study = [candidate("1", text="SAG T1 TSE"), candidate("2", text="t2_tse_sag")]
    assert choose_sagittal_t2(study, {}).series == "2"


@pytest.mark.parametrize(
    "wrong, why",
    [
        ({"orientation": AXIAL, **T2}, "axial"),
        ({"orientation": CORONAL, **T2}, "coronal"),
        (T1, "not T2"),
        ({}, "not T2"),
        ({"text": "t2 sag", **T1}, "contradictory"),
        ({**T2, "inversion_time_ms": 2200.0}, "not T2"),
        ({**T2, "modality": "SR"}, "not an image"),
        ({**T2, "image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
        ({**T2, "pixels": None}, "no pixel data"),
        ({"orientation": (), **T2}, "no orientation"),
    ],
)
def test_none_fits_and_the_error_says_why(wrong, why):
    with pytest.raises(InputError, match="no series of the study is a sagittal T2") as error:
        choose_sagittal_t2([candidate("7", **wrong)], {})
    assert "7: " in error.value.got and why in error.value.got


def test_a_description_that_the_slices_contradict():
    with pytest.raises(InputError) as error:
        choose_sagittal_t2([candidate("2", orientation=AXIAL)], RSNA)
    assert "described as sagittal, and its slices are axial" in error.value.got


@pytest.mark.parametrize(
    "better, worse, reason",
    [
        ({}, {"fat_suppressed": True, "images": 30}, "fat is not suppressed"),
        ({}, {"image_type": ("DERIVED", "SECONDARY"), "images": 30}, "original"),
        ({"images": 16}, {}, "most slices"),
    ],
)
def test_ties_are_broken_by_a_rule_that_is_named(better, worse, reason):
    study = [candidate("1", **T2, **worse), candidate("2", **T2, **better)]
    for order in itertools.permutations(study):
        chosen = choose_sagittal_t2(order, {})
        assert chosen.series == "2" and reason in chosen.reason


def test_series_alike_are_told_apart_by_id_whatever_their_order():
    study = [candidate(name, **T2) for name in ("10", "9", "11")]
    for order in itertools.permutations(study):
        chosen = choose_sagittal_t2(order, {})
        assert chosen.series == "9" and "order of the series ids" in chosen.reason


def test_the_table_comes_before_a_header():
    study = [candidate("1", images=40, **T2), candidate("2", **T2)]
    assert choose_sagittal_t2(study, {"2": "Sagittal T2/STIR"}).series == "2"


@pytest.mark.parametrize(
    "text, plane, weighting",
    [
        ("Sagittal T2/STIR", "sagittal", "t2"),
        ("Axial T2", "axial", "t2"),
        ("SAG T1", "sagittal", "t1"),
        ("t2_tse_sag_320", "sagittal", "t2"),
        ("STIR cor", "coronal", "t2"),
        ("sag t2* gre", "sagittal", "other"),
        ("T1 T2", None, None),
        ("Sag Ax", None, None),
        ("T22 of T1000", None, None),
        ("", None, None),
    ],
)
def test_words(text, plane, weighting):
    words = words_of(text)
    assert (plane_of(words), weighting_of(words)) == (plane, weighting)


def test_free_text_goes_no_further():
    assert spoken(words_of("Zebrafinch, Anna *1970-01-01 sag T2")) == "sagittal t2"
