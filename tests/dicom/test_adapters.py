"""Do studies come out of trees and archives, only those that may, and without anyone's name?"""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary

from jobs.datasets import load_dataset
from jobs.datasets.check import check_cohort
from jobs.datasets.cohort_ids import leakage_warning, read_ids
from jobs.datasets.load import iter_arrays
from jobs.datasets.manifest import Manifest, survey
from jobs.dicom.pseudonym import make_key
from jobs.ingest import ingest
from jobs.workbench import Workbench
from lamstore.build import ensure
from lamstore.config import DatasetConfig, StudyConfig, render_config
from lamstore.errors import ConfigError
from lamstore.schema import Layout
from lamstore.study import create_study
from lamstore.units import Unit
from tests.dicom.writing import (
    AXIAL,
    SECRET,
    affine_of,
    base,
    directions,
    sagittal_t2,
    save,
    slices,
    volume,
)

DESCRIPTIONS = {"1": "Sagittal T1", "2": "Sagittal T2/STIR", "3": "Axial T2"}


@pytest.fixture
def rsna(tmp_path):
    """Three studies of three series; the CSV beside."""
    root, rows = tmp_path / "train_images", ["study_id,series_id,series_description"]
    for number, study in enumerate(("100", "200", "300")):
        save(slices(volume(seed=7)), root / study / "1")
        save(slices(volume(seed=number)), root / study / "2")
        save(slices(volume(seed=8), AXIAL), root / study / "3")
        rows += [f"{study},{series},{text}" for series, text in DESCRIPTIONS.items()]
    (tmp_path / "series.csv").write_text("\n".join(rows))
    return root


def options(root, **more):
    return {"series_csv": root.parent / "series.csv"} | more


def listed(root, ids):
    path = root.parent / "ids.txt"
    path.write_text("\n".join(ids))
    return path


def arrays(sources):
    check = check_cohort([sources], ("t2w",)).subjects[0]
    assert check.ok, check.problems
    return check, list(iter_arrays(sources, check))


def test_rsna_layout(rsna):
    found = load_dataset("rsna-lumbar", rsna, options(rsna, ids=listed(rsna, ["300", "100"])))
    assert [s.subject for s in found] == ["300", "100"]
    assert "series 2 of 3: described as sagittal stir t2" in found[0].decisions["t0 t2w"]
    check, ((name, timepoint, modality, voxels),) = arrays(found[0])
    assert (name, timepoint, modality) == ("volume", "t0", "t2w") and not check.has_brainmask
    np.testing.assert_array_equal(voxels, volume(seed=2))
    expected = affine_of((0, 1, 0, 0, 0, -1), (0.7, 0.8), 4.0, (1, 2, 3))
    np.testing.assert_allclose(check.grid.matrix, expected, atol=1e-9)
    assert check.dtype == np.uint16


def test_only_the_studies_of_the_list_are_touched(rsna, monkeypatch):
    from jobs.dicom import storage

    opened, original = [], storage.Folder.head
    monkeypatch.setattr(
        storage.Folder, "head", lambda s, n, c: opened.append(n) or original(s, n, c)
    )
    # Whatever looks into another study fails.
    for study in ("200", "300"):
        (rsna / study).rename(rsna / f"_{study}")
        (rsna / study).symlink_to(rsna / study)
    found = load_dataset("rsna-lumbar", rsna, options(rsna, ids=listed(rsna, ["100"])))
    arrays(found[0])
    assert opened and all(name.startswith("100/") for name in opened)


def test_without_a_list_nothing_happens_unless_all_are_meant(rsna):
    with pytest.raises(ConfigError, match="which studies") as error:
        load_dataset("rsna-lumbar", rsna, options(rsna))
    assert "--allow-all-studies" in error.value.remedy
    every = options(rsna, allow_all_studies=True)
    assert len(load_dataset("rsna-lumbar", rsna, every)) == 3
    assert "too good" in leakage_warning(every)
    assert "training ids" in leakage_warning(every | {"training_ids": "x"})
    assert leakage_warning({"ids": "x"}) is leakage_warning({}) is None


def test_training_and_evaluation_must_not_overlap(rsna):
    trained = rsna.parent / "trained.json"
    trained.write_text(json.dumps([200, 999]))
    for more in ({"ids": listed(rsna, ["100", "200"])}, {"allow_all_studies": True}):
        with pytest.raises(ConfigError, match="trained on"):
            load_dataset("rsna-lumbar", rsna, options(rsna, training_ids=trained, **more))
    fine = options(rsna, training_ids=trained, ids=listed(rsna, ["100"]))
    assert len(load_dataset("rsna-lumbar", rsna, fine)) == 1


def test_ids_of_every_form(tmp_path):
    np.save(tmp_path / "a.npy", np.array([3, 1, 3]))
    np.save(tmp_path / "s.npy", np.array(["3", "1"]))
    (tmp_path / "t.txt").write_text("3 # first\n\n1\n")
    (tmp_path / "c.csv").write_text("x,study_id\n0,3\n0,1\n")
    (tmp_path / "o.csv").write_text("3\n1\n")
    (tmp_path / "j.json").write_text('["3", 1]')
    for path in tmp_path.iterdir():
        assert read_ids(path) == ("3", "1"), path.name


@pytest.mark.parametrize(
    "name, body",
    [
        ("up.txt", b"../100"), ("abs.txt", b"/etc"), ("empty.txt", b""), ("a.csv", b"a,b\n1,2\n"),
        ("a.json", b'{"1": 2}'), ("a.npy", b"\x93NUMPY"), ("a.pkl", b"1"), ("b.txt", b"\xff"),
        ("half.json", b"[1.5]"),
    ],
)  # fmt: skip
def test_ids_that_are_none(name, body, tmp_path):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(ConfigError, match="no study ids"):
        read_ids(tmp_path / name)
    with pytest.raises(ConfigError, match="no study ids"):
        read_ids(tmp_path / "absent.txt")


def test_pickled_ids_are_not_loaded(tmp_path):
    np.save(tmp_path / "o.npy", np.array(["3", 1], dtype=object))
    with pytest.raises(ConfigError):
        read_ids(tmp_path / "o.npy")


def test_one_bad_study_does_not_stop_the_others(rsna):
    (rsna / "200" / "2" / "3.dcm").write_bytes(b"no dicom")
    ids = listed(rsna, ["100", "200", "400"])
    found = check_cohort(load_dataset("rsna-lumbar", rsna, options(rsna, ids=ids)), ("t2w",))
    assert [c.ok for c in found.subjects] == [True, False, False]
    assert "200: series 2: file 3.dcm is not a DICOM file" in found.subjects[1].problems[0]
    assert "400: the study is not there" in found.subjects[2].problems[0]


def heap(folder, count=2):
    """Studies in one folder of oddly named files, with a report and a text among them."""
    datasets = []
    for number in range(count):
        t2 = sagittal_t2(seed=number, StudyInstanceUID=f"1.2.{number}")
        t1 = slices(volume(), StudyInstanceUID=f"1.2.{number}", EchoTime="9", RepetitionTime="500")
        report = base("1.2.840.10008.5.1.4.1.1.88.11", "1.9", f"1.2.{number}")
        report.Modality = "SR"
        datasets += [*t2, *t1, report]
    names = [f"{SECRET}_{n:03d}" for n in np.random.default_rng(0).permutation(len(datasets))]
    save(datasets, folder, names)
    (folder / "notes.txt").write_text("no image")
    return folder


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"../../{SECRET}/{file.name}")
    return path


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("pseudonymize", [False, True])
def test_a_heap_of_files(archive, pseudonymize, tmp_path):
    root = heap(tmp_path / "heap")
    if archive:
        root = zipped(root, tmp_path / "heap.zip")
    key = tmp_path / "key"
    make_key(key)
    hidden = {"pseudonymize": True, "key_file": key} if pseudonymize else {}
    found = load_dataset("dicom", root, {"allow_all_studies": True, **hidden})
    assert "1 × a file is not a DICOM file" in found.pop().left_out
    assert [s.subject for s in found] == ["1.2.0", "1.2.1"] or pseudonymize
    by_seed = [arrays(one)[1][0][3] for one in found]
    for seed, voxels in enumerate(by_seed):
        np.testing.assert_array_equal(voxels, volume(seed=seed))
    assert "not T2" not in str(found) and "by its header" in found[0].decisions["t0 t2w"]
    if pseudonymize:
        assert SECRET not in repr(found) and "1.2.0" not in repr(found)
        assert found == load_dataset("dicom", root, {"allow_all_studies": True, **hidden})[:-1]


def test_a_heap_by_ids(tmp_path):
    root = heap(tmp_path / "heap")
    found = load_dataset("dicom", root, {"ids": listed(root, ["1.2.1", "1.5"])})
    assert [s.subject for s in found[:2]] == ["1.2.1", "1.5"] and "not there" in found[1].problems[
        0
    ]


def bomb(archive):
    archive.writestr("zeros", bytes(2 << 20))


def link(archive):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def nested(archive):
    archive.writestr("inner.zip", b"PK\x03\x04")


def other_method(archive):
    archive.writestr("b", b"1" * 999, zipfile.ZIP_BZIP2)


@pytest.mark.parametrize(
    "add, reason",
    [(bomb, "ZIP bomb"), (link, "is a link"), (nested, "not a DICOM"), (other_method, "is comp")],
)
def test_hostile_entries_are_left_out(add, reason, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.dicom.storage.SUSPICIOUS_BYTES", 1 << 20)
    path = zipped(heap(tmp_path / "heap", 1), tmp_path / "heap.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        add(archive)
    one, rest = load_dataset("dicom", path, {"allow_all_studies": True})
    arrays(one)
    assert reason in rest.left_out


def test_encrypted_and_broken_archives(tmp_path):
    path = zipped(heap(tmp_path / "heap", 1), tmp_path / "heap.zip")
    body = bytearray(path.read_bytes())
    start = body.index(b"PK\x01\x02")
    body[start + 8] |= 1
    path.write_bytes(body)
    assert "encrypted" in load_dataset("dicom", path, {"allow_all_studies": True})[-1].left_out
    path.write_bytes(body[:-40])
    with pytest.raises(ConfigError, match="no ZIP archive"):
        load_dataset("dicom", path, {"allow_all_studies": True})


def test_the_key(rsna, tmp_path):
    asked = options(rsna, allow_all_studies=True, pseudonymize=True)
    for key in (None, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="key"):
            load_dataset("rsna-lumbar", rsna, asked | {"key_file": key})
    key = tmp_path / "key"
    make_key(key)
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError):
        make_key(key)
    first = load_dataset("rsna-lumbar", rsna, asked | {"key_file": key})
    assert "100" not in {s.subject for s in first}
    make_key(tmp_path / "other")
    second = load_dataset("rsna-lumbar", rsna, asked | {"key_file": tmp_path / "other"})
    assert not {s.subject for s in first} & {s.subject for s in second}
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        load_dataset("rsna-lumbar", rsna, asked | {"key_file": key})
    make_key(rsna / "key")
    with pytest.raises(ConfigError, match="among the images"):
        load_dataset("rsna-lumbar", rsna, asked | {"key_file": rsna / "key"})


def planted():
    """A name in every tag of a person or free text that a classic MR file may have."""
    found = pydicom.Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if (
            2 < tag >> 16 < 0x7FE0
            and vr in ("PN", "LO", "SH", "LT", "ST", "UT")
            and keyword
            and not retired
        ):
            found.add_new(tag, vr, SECRET)
    return found


def named_series(seed, **tags):
    datasets = sagittal_t2(seed=seed, **tags)
    names = planted()
    for ds in datasets:
        meta = ds.file_meta
        ds.update(names)
        ds.file_meta = meta
    return datasets


def shifted(datasets):
    datasets[1].ImagePositionPatient = list(
        np.array([float(v) for v in datasets[1].ImagePositionPatient])
        + 0.7 * directions((0, 1, 0, 0, 0, -1))[2]
    )
    return datasets


def broken(datasets):
    datasets[2].add(pydicom.DataElement("ImagePositionPatient", "LO", [SECRET, "0", "0"]))
    return datasets


def test_no_name_leaves(tmp_path, caplog, capfd):
    """A study of named patients, good and bad, through check, manifest, ledger result and store."""
    root = tmp_path / SECRET
    for number, spoil in enumerate((list, shifted, broken)):
        datasets = spoil(named_series(number, StudyInstanceUID=f"1.2.{number}"))
        save(datasets, root / f"{SECRET}_{number}", [f"{SECRET}{n}" for n in range(len(datasets))])
    key = tmp_path / "key"
    make_key(key)
    # The root is the user's own word; it stands in study.yaml and nowhere else.
    plain = tmp_path / "cohort"
    root.rename(plain)
    asked = {"allow_all_studies": True, "pseudonymize": True, "key_file": str(key)}
    dataset = DatasetConfig(
        adapter="dicom", root=plain, options=asked, modalities=("t2w",), optional_modalities=()
    )
    study = create_study(tmp_path / "study", render_config(StudyConfig(dataset=dataset)))
    manifest = survey(load_dataset("dicom", plain, asked), dataset, Manifest({}))
    manifest.write(study.path / "cohort.json")
    assert [c.ok for c in manifest.check.subjects].count(True) == 1
    assert Manifest.read(study.path / "cohort.json") == manifest
    (good,) = manifest.check.usable
    layout = Layout(
        (good.subject,), ("t0",), ("t2w",), good.grid.shape, good.grid.spacing_mm,
        str(good.dtype), brainmask=False,
    )  # fmt: skip
    ensure(study.store_path, layout, {good.subject: good.grid}, {good.subject: good.available}, {})
    bench = Workbench(study)
    outcome = ingest(bench, Unit("ingest", subject=good.subject))
    stored = bench.store.read("volume", subject=good.subject, timepoint="t0")[0, 0, 0]
    np.testing.assert_array_equal(stored, volume(seed=0))
    assert "TE 100 ms" in outcome.result["decisions"]["t0 t2w"]
    again = survey(load_dataset("dicom", plain, asked), dataset, manifest)
    assert again == manifest
    texts = [repr(manifest), repr(outcome), str(manifest.check.table()), caplog.text]
    texts += capfd.readouterr()
    for path in study.path.rglob("*"):
        texts.append(str(path.relative_to(tmp_path)))
        if path.is_file():
            texts.append(path.read_bytes().decode("latin-1"))
    assert not [text for text in texts if SECRET.lower() in text.lower()]


def test_messages_of_a_heap_name_no_path(tmp_path):
    datasets = named_series(0)
    save(datasets, tmp_path / SECRET, [f"{SECRET}{n}" for n in range(4)])
    folder = tmp_path / SECRET
    cut = folder / f"{SECRET}2"
    cut.write_bytes(cut.read_bytes()[:-30])
    found = load_dataset("dicom", tmp_path, {"allow_all_studies": True})
    (check,) = check_cohort(found, ("t2w",)).subjects
    assert "truncated" in check.problems[0] and SECRET not in check.problems[0]


def test_a_changed_slice_is_noticed(rsna):
    asked = options(rsna, ids=listed(rsna, ["100", "200"]))
    dataset = DatasetConfig(adapter="rsna-lumbar", root=rsna, modalities=("t2w",))
    first = survey(load_dataset("rsna-lumbar", rsna, asked), dataset, Manifest({}))
    save(slices(volume(seed=5)), rsna / "100" / "2")
    second = survey(load_dataset("rsna-lumbar", rsna, asked), dataset, first)
    changed = [first.entries[s].fingerprint != second.entries[s].fingerprint for s in first.entries]
    assert changed == [True, False]
