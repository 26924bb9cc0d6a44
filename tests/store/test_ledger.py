"""Does the ledger say what was done, whatever was killed or full while it was written?"""

from __future__ import annotations

import errno
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamstore.errors import DiskFullError, StoreError
from lamstore.ledger import Ledger, LedgerFile, Record, done, failed, head, started
from lamstore.units import Unit, parse_key, parse_shift_label

UNIT = Unit("infer", "zed", "anna", "t0", "none", "f1")


def write(folder: Path, task: str, *records: Record) -> Path:
    with LedgerFile(folder, task, {"host": task}) as file:
        for record in records:
            file.append(record)
    return file.path


def at(record: Record, finished: float) -> Record:
    return Record(
        record.unit, record.state, finished, record.seconds, record.arrays, record.result,
        record.error,
    )  # fmt: skip


def test_a_record_reads_back_whole(tmp_path: Path):
    made = done(UNIT, {"dice": 0.5, "n": np.int64(3), "x": np.float32(0.25)}, {"mask": "xxh3:0"}, 1)
    write(tmp_path, "a", made)
    (found,) = Ledger(tmp_path).records()
    assert found.unit == UNIT
    assert found.unit.fingerprint == "f1"
    assert found.result == {"dice": 0.5, "n": 3, "x": 0.25}
    assert found.arrays == {"mask": "xxh3:0"}
    assert Ledger(tmp_path).headers() == [{"host": "a"}]


def test_nan_comes_back_as_null(tmp_path: Path):
    write(tmp_path, "a", done(UNIT, {"dice": float("nan")}, {}, 1))
    (found,) = Ledger(tmp_path).records()
    assert found.result == {"dice": None}


def test_no_ledger_is_an_empty_one(tmp_path: Path):
    assert Ledger(tmp_path / "none").latest() == {}
    assert list(Ledger(tmp_path / "none").records()) == []


@pytest.mark.parametrize("cut", [1, 2, 30, 0.5, 0.9])
def test_a_torn_last_line_is_a_unit_not_done(tmp_path: Path, cut: float):
    other = UNIT._replace(subject="bjørn")
    path = write(tmp_path, "a", done(UNIT, {}, {}, 1), done(other, {"text": "ü" * 50}, {}, 1))
    body = path.read_bytes()
    last = len(body.split(b"\n")[-2]) + 1
    path.write_bytes(body[: len(body) - (round(last * cut) if cut < 1 else round(cut))])
    found = Ledger(tmp_path).latest()
    # Only the newline may be missing without harm: then the record itself is whole.
    assert set(found) == ({UNIT.key, other.key} if cut == 1 else {UNIT.key})


def test_zeros_left_by_a_crash_are_no_records(tmp_path: Path):
    path = write(tmp_path, "a", done(UNIT, {}, {}, 1))
    path.write_bytes(path.read_bytes() + b"\x00" * 500)
    assert set(Ledger(tmp_path).latest()) == {UNIT.key}


def test_the_latest_word_counts_whatever_file_it_is_in(tmp_path: Path):
    now = time.time()
    write(tmp_path, "b", at(done(UNIT, {"v": 1}, {}, 1), now))
    write(tmp_path, "a", at(failed(UNIT._replace(fingerprint="f2"), {"type": "E"}, 1), now + 1))
    assert Ledger(tmp_path).latest()[UNIT.key].state == "failed"
    assert Ledger(tmp_path).latest()[UNIT.key].fingerprint == "f2"
    write(tmp_path, "0", at(done(UNIT, {"v": 3}, {}, 1), now + 2))
    (found,) = Ledger(tmp_path).records()
    assert found.result == {"v": 3}
    assert not list(Ledger(tmp_path).records(state="failed"))


def test_in_one_file_the_later_line_wins_a_tie(tmp_path: Path):
    write(tmp_path, "a", at(done(UNIT, {}, {}, 1), 5.0), at(started(UNIT), 5.0))
    assert Ledger(tmp_path).latest()[UNIT.key].state == "started"


def test_started_withdraws(tmp_path: Path):
    write(tmp_path, "a", done(UNIT, {}, {}, 1))
    write(tmp_path, "b", started(UNIT))
    assert Ledger(tmp_path).latest()[UNIT.key].state == "started"
    assert not list(Ledger(tmp_path).records(state="done"))


def test_records_of_one_job(tmp_path: Path):
    for i, job in enumerate(("infer", "compare", "inferior")):
        write(tmp_path, str(i), done(UNIT._replace(job=job), {}, {}, 1))
    assert [r.unit.job for r in Ledger(tmp_path).records("infer")] == ["infer"]


def test_a_file_is_of_one_task_alone(tmp_path: Path):
    write(tmp_path, "a", done(UNIT, {}, {}, 1))
    with pytest.raises(StoreError, match="cannot write the ledger"):
        write(tmp_path, "a", done(UNIT, {}, {}, 1))


def test_a_task_without_work_leaves_no_file(tmp_path: Path):
    write(tmp_path, "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_cuts_the_file_back_to_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    with LedgerFile(tmp_path, "a", {}) as file:
        file.append(done(UNIT, {}, {}, 1))
        before = file.path.read_bytes()
        real = os.write

        def half(descriptor: int, line: bytes) -> int:
            real(descriptor, line[: len(line) // 2])
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(DiskFullError, match="no space left to record"):
                file.append(done(UNIT._replace(subject="b"), {}, {}, 1))
        assert file.path.read_bytes() == before
        file.append(done(UNIT._replace(subject="c"), {}, {}, 1))
    assert len(Ledger(tmp_path).latest()) == 2


def test_a_short_write_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with LedgerFile(tmp_path, "a", {}) as file:
        file.append(done(UNIT, {}, {}, 1))
        real = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, line: real(fd, line[:10]))
            with pytest.raises(DiskFullError):
                file.append(done(UNIT, {}, {}, 1))
    assert file.path.read_bytes().endswith(b"}\n")


label = st.text(
    st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc")), min_size=0, max_size=20
)


@given(label, label, label, label)
def test_keys_read_back(engine: str, subject: str, timepoint: str, shift: str):
    unit = Unit("infer", engine, subject, timepoint, shift, "f")
    assert parse_key(unit.key, "f") == unit
    assert pickle.loads(pickle.dumps(unit)) == unit


def test_a_units_name_leaves_out_what_it_spans():
    assert str(Unit("compare", "zed", "anna", "", "gamma-1", "f")) == "compare zed anna gamma-1"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("none", ("none", 0, "t1_only")),
        ("gamma-1", ("gamma", 1, "t1_only")),
        ("blur-2-both", ("blur", 2, "both")),
    ],
)
def test_shift_labels(text: str, parts: tuple[str, int, str]):
    assert parse_shift_label(text) == parts


def test_the_clock_of_a_node_that_is_behind_hides_nothing(tmp_path: Path):
    ahead = time.time() + 3600
    write(tmp_path, "a-ahead", at(done(UNIT, {}, {}, 1.0), ahead))
    with LedgerFile(tmp_path, "b-behind", {}) as file:
        file.append(started(UNIT), after=ahead)
        assert Ledger(tmp_path).latest()[UNIT.key].state == "started"
        file.append(done(UNIT._replace(fingerprint="f2"), {}, {}, 1.0))
    assert Ledger(tmp_path).latest()[UNIT.key][:2] == ("done", "f2")


def test_times_within_a_file_never_go_back(tmp_path: Path):
    records = [at(started(UNIT), 200.0), at(done(UNIT, {}, {}, 1.0), 100.0)]
    write(tmp_path, "a", *records)
    assert Ledger(tmp_path).latest()[UNIT.key] == ("done", "f1", 200.0)


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=5),
    st.sampled_from(["done", "failed", "started"]),
    st.floats(0, 1e10),
    st.floats(0, 1e6),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9)),
)
def test_the_head_of_a_line_is_what_the_whole_line_says(subject, state, finished, seconds, result):
    unit = Unit("infer", "zed", subject, "t0", "none", "f1")
    line = Record(unit, state, finished, seconds, result=result).to_json()
    assert head(line) == (unit.key, "f1", state, finished, round(seconds, 4))
    assert head(line[:-1]) in (None, head(line))
    assert head(line[:-2]) is None
