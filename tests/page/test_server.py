"""Does the real server answer the page, and nobody and nothing else?"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from analysis.report.words import number
from hpc.describe import describe
from lamstore.config import render_config
from lamstore.study import create_study
from tests.dicom.writing import AXIAL, SAGITTAL, sagittal_t2, slices, volume
from tests.page.browsing import packed, written, zipped
from tests.running import lam

pytestmark = pytest.mark.xdist_group("page")  # one server for all

DATA = Path(__file__).parents[3] / "shared" / "data"
DICOM, LUMBAR = DATA / "dicom", DATA / "spine" / "t2_lumbar.nii.gz"


def real_spine() -> list[pydicom.Dataset]:
    """The real volume as the sagittal T2 series that it is."""
    image = nib.as_closest_canonical(nib.load(LUMBAR))
    voxels = np.asarray(image.dataobj).astype(np.uint16)[:, ::-1, ::-1].transpose(1, 2, 0)
    right, front, up = image.affine[:3, 3] + [0, voxels.shape[0] - 1, voxels.shape[1] - 1]
    at = {"origin": (-right, -front, up), "spacing": (1.0, 1.0), "gap": 1.0}
    return slices(voxels, SAGITTAL, **at, EchoTime="100", RepetitionTime="3500")


def text_of(html: str) -> str:
    """What a reader sees."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def table_of(html: str) -> dict[str, list[str]]:
    """Cells of every level."""
    rows = re.findall(r'<tr><th class="text" scope="row">(.*?)</th>(.*?)</tr>', html)
    return {level: re.findall(r"<td>(.*?)</td>", cells) for level, cells in rows}


class TestPage:
    def test_it_loads_nothing_from_elsewhere_and_has_no_script_or_style_inside(self, server):
        page = server.get()
        assert page.status == 200
        assert not re.search(r"https?://|<style|\son\w+=|\sstyle=|<script>", page.text)
        assert server.get("page.css").headers["Content-Type"].startswith("text/css")
        assert server.get("page.js").headers["Content-Type"].startswith("text/javascript")
        assert "url(" not in server.get("page.css").text
        for said in ("not for diagnosis", "trained on generated spines only", "generated"):
            assert said in text_of(page.text)

    @pytest.mark.parametrize("path", ["", "page.js", "nothing"])
    def test_every_response_forbids_what_it_can(self, server, path):
        headers = server.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in headers


class TestStrangers:
    def test_without_the_token_there_is_nothing(self, server):
        for path in ("/", "/page.js", "/study", f"/{'x' * 32}/", f"/{'x' * 32}/page.js"):
            assert server.ask("GET", path).status == 403
        own = {"Origin": f"http://{server.host}"}
        assert server.ask("POST", f"/{'x' * 32}/sample/normal", headers=own).status == 403

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.2", ""])
    def test_another_host_is_refused(self, server, host):
        name = host.format(port=server.host.rpartition(":")[2])
        assert server.get(Host=name).status in (400, 403)

    def test_a_tunnel_may_have_another_port(self, server):
        assert server.get(Host="localhost:9999").status == 200

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://{host}", ""])
    def test_another_origin_is_refused(self, server, origin):
        reply = server.post("sample/normal", Origin=origin.format(host=server.host))
        assert reply.status == 403

    def test_the_study_cannot_be_asked_for_by_a_link(self, server):
        assert server.get("study").status == 405
        assert server.get("sample/normal").status == 405


class TestAnswer:
    def test_files_and_their_zip_give_one_answer(self, server, study):
        files = server.drop(study)
        assert files.status == 200
        assert len(table_of(files.text)) == 5
        entries = {f"Zebrafinch/<b>{i}.dcm": data for i, data in enumerate(study)}
        assert server.drop([zipped(entries)]).text == files.text
        said = text_of(files.text)
        assert "of 3: by its header" in said
        assert "trained on generated normal spines, never on patients" in said
        assert "no diagnosis" in said
        assert not re.search(r"\sstyle=|<script|https?://", files.text)

    @pytest.mark.slow
    def test_its_numbers_are_those_of_lam_run(self, server, study, study_folder, tmp_path):
        config = describe("dicom", study_folder, {"allow_all_studies": True})
        made = create_study(tmp_path / "study", render_config(config))
        lam("run", made.path, "--workers", 1)
        (row,) = pd.read_csv(made.tables / "lstv_uncertainty_metrics.csv").to_dict("records")
        (risk,) = pd.read_csv(made.tables / "audit_queue.csv")["risk"]
        reply = server.drop(study)
        for level, cells in table_of(reply.text).items():
            at = level.replace("/", "_").lower()
            assert cells == [
                number(row[f"{at}_confidence"], 3),
                *(number(row[f"{at}_{m}"]) for m in ("entropy", "spatial_entropy")),
                *(number(row[f"{at}_{m}"]) for m in ("label_entropy", "surprise")),
            ]
        assert f"{risk} risk group" in text_of(reply.text).lower()
        assert f"series {row['series_id']} of 3" in text_of(reply.text).lower()

    @pytest.mark.parametrize("kind", ["normal", "transitional"])
    def test_a_sample_says_that_it_is_generated(self, server, kind):
        reply = server.post(f"sample/{kind}")
        assert reply.status == 200
        assert "This spine is generated, no person was scanned." in text_of(reply.text)
        assert kind in text_of(reply.text)

    def test_samples_are_of_two_kinds(self, server):
        assert server.post("sample/other").status == 403


def tilted() -> list[bytes]:
    """Sagittal slices that each lie lower than the one before."""
    found = sagittal_t2()
    for i, ds in enumerate(found):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + 2 * i]
    return written(found)


def colour() -> list[bytes]:
    return written(sagittal_t2(), SamplesPerPixel=3, PhotometricInterpretation="RGB")


REFUSED = {
    "gantry": (tilted, "tilted gantry"),
    "one slice": (lambda: written(sagittal_t2()[:1]), "too few slices"),
    "localizer": (
        lambda: written(sagittal_t2(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "localizer",
    ),
    "text": (lambda: [b"Zebrafinch was here, and this is no image"], "no DICOM image"),
    "empty file": (lambda: [b""], "no DICOM image"),
    "nothing": (list, "nothing was dropped"),
    "axial": (
        lambda: written([*slices(volume(), AXIAL), *slices(volume(), AXIAL)]),
        "several studies",
    ),
    "none sagittal T2": (
        lambda: written(
            [
                *slices(volume(), AXIAL, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1"),
                *slices(volume(), SAGITTAL, StudyInstanceUID="1.2.3", EchoTime="9",
                        RepetitionTime="500"),
            ]
        ),
        "no series of the study is a sagittal T2",
    ),
    "script": (
        lambda: written(slices(volume(), AXIAL), SeriesDescription="<script>alert(1)</script>"),
        "no series of the study is a sagittal T2",
    ),
    "blank": (lambda: written(sagittal_t2(), PixelData=bytes(60)), "blank"),
    "colour": (colour, "colour"),
    "truncated slice": (
        lambda: [data[:-20] for data in written(sagittal_t2())],
        "truncated",
    ),
    "two series in one": (lambda: written([*sagittal_t2(), *sagittal_t2(1)]), "several studies"),
    "truncated ZIP": (lambda: [zipped({"1": written(sagittal_t2())[0]})[:-30]], "truncated"),
    "empty ZIP": (lambda: [zipped({})], "no DICOM image"),
    "ZIP in a ZIP": (
        lambda: [zipped({"in.zip": zipped({"1": written(sagittal_t2())[0]})})],
        "no DICOM image",
    ),
    "ZIP and files": (
        lambda: [zipped({"1": b"1"}), *written(sagittal_t2())],
        "together with other files",
    ),
    "ZIP of secrets": (
        lambda: [zipped({"../../Zebrafinch": b"1", "/etc/Zebrafinch": b"2", "C:\\a": b""})],
        "no DICOM image",
    ),
    "bomb": (
        lambda: [zipped({str(i): bytes(80 << 20) for i in range(4)})],
        "more than is looked at",
    ),
}  # fmt: skip


class TestRefusals:
    @pytest.mark.parametrize("what", REFUSED)
    def test_a_refusal_says_what_why_and_what_to_do(self, server, what):
        make, said = REFUSED[what]
        reply = server.drop(make())
        assert reply.status == 422
        assert said.lower() in text_of(reply.text).lower()
        assert re.search(r"What to do \w+.+\. $", text_of(reply.text))
        assert "<script" not in reply.text
        assert str(server.folder) not in reply.text

    @pytest.mark.real_data
    @pytest.mark.skipif(not DICOM.exists(), reason="needs ../shared/data")
    @pytest.mark.parametrize(
        "series", sorted(p.relative_to(DICOM) for p in DICOM.glob("*/*/0*") if p.is_dir()), ids=str
    )
    def test_real_series_of_other_parts_are_refused(self, server, series):
        reply = server.drop([p.read_bytes() for p in sorted((DICOM / series).iterdir())])
        assert reply.status == 422
        assert "What to do" in text_of(reply.text)

    @pytest.mark.real_data
    @pytest.mark.skipif(not LUMBAR.exists(), reason="needs ../shared/data")
    def test_a_real_spine_is_unlike_the_generated_ones(self, server):
        reply = server.drop(written(real_spine()))
        assert reply.status == 200
        assert "its header&#39;s words: nothing" in reply.text
        assert "unlike those that the networks know" in text_of(reply.text)

    def test_a_transfer_that_ends_too_early(self, server, study):
        body = packed(study[:2])
        for cut in (4, 20, len(body) - 5):
            reply = server.post("study", body[:cut])
            assert reply.status == 422
            assert "did not arrive whole" in text_of(reply.text)

    def test_a_transfer_that_is_too_large_is_not_begun(self, server):
        with raw(server) as connection:
            connection.sendall(head(server, 1 << 40))
            assert b" 413 " in connection.recv(1 << 16).split(b"\r\n")[0]
        assert list(server.folder.iterdir()) == []


def raw(server) -> socket.socket:
    address, port = server.host.rsplit(":", 1)
    return socket.create_connection((address, int(port)), timeout=10)


def head(server, length: int) -> bytes:
    return (
        f"POST {server.path}study HTTP/1.1\r\nHost: {server.host}\r\n"
        f"Origin: http://{server.host}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def wait_until(true) -> None:
    """Until something is so; 10 s at most."""
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


class TestOneAtATime:
    def test_a_second_study_is_told_to_wait_and_a_browser_that_leaves_makes_room(self, server):
        connection = raw(server)
        connection.sendall(head(server, 1000) + (500).to_bytes(8, "big") + b"part")
        wait_until(lambda: any(server.folder.rglob("*.dcm")))
        second = raw(server)
        second.sendall(head(server, 0))
        refused = second.recv(1 << 16)
        assert b" 409 " in refused.split(b"\r\n")[0]
        assert b"wait a moment" in refused.lower()
        second.close()
        connection.close()
        wait_until(lambda: not any(server.folder.iterdir()))
        assert server.drop([b"no image"]).status == 422


def looker_of(pid: int) -> int:
    """The process that looks, child of the server."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("there is no such process")


@pytest.mark.slow
class TestDeath:
    def test_the_process_that_looks_may_die(self, server):
        os.kill(looker_of(server.pid), signal.SIGKILL)
        reply = server.post("sample/normal")
        assert reply.status == 500
        assert "ended the process that reads" in text_of(reply.text)
        assert server.post("sample/normal").status == 200
