"""Are the parts of the page right by themselves: who may ask, what comes to disk, what is drawn?"""

from __future__ import annotations

import base64
import io
import re
import stat
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from analysis.one_spine.charts import panels, passes, risk_chart
from analysis.one_spine.page import render_refused
from analysis.one_spine.viewer import chosen_slices, make_viewer
from analysis.one_spine.words import because, verdict
from hpc.commands.trying import _config
from hpc.page.guard import host_allowed, is_loopback, origin_allowed
from hpc.page.look import trouble
from hpc.page.parcels import Parcels
from jobs.dropped import Limits, dropped_root
from jobs.heatmaps import LEVELS
from lamstore.config import ScreeningConfig
from lamstore.errors import ConfigError, InputError, UnreadableInputError
from lamstore.grid import Grid
from tests.page.browsing import packed, zipped
from tests.running import write_study

SMALL = Limits(most_bytes=4096, most_files=5)


class TestGuard:
    @pytest.mark.parametrize(
        ("header", "bound", "allowed"),
        [
            ("127.0.0.1:8000", "127.0.0.1", True),
            ("LOCALHOST:1", "127.0.0.1", True),
            ("[::1]:8000", "127.0.0.1", True),
            ("localhost.evil.example", "127.0.0.1", False),
            ("127.0.0.1.nip.io:8000", "127.0.0.1", False),
            ("10.0.0.7:8000", "127.0.0.1", False),
            ("", "127.0.0.1", False),
            ("", "", False),
            ("10.0.0.7:8000", "10.0.0.7", True),
            ("10.0.0.7:8000", "0.0.0.0", True),
            ("evil.example:8000", "0.0.0.0", False),
        ],
    )
    def test_hosts(self, header, bound, allowed):
        assert host_allowed(header, bound) is allowed

    def test_origins(self):
        assert origin_allowed("http://localhost:1", "localhost:1")
        for other in (None, "", "null", "http://localhost", "https://localhost:1"):
            assert not origin_allowed(other, "localhost:1")

    def test_loopback(self):
        assert all(map(is_loopback, ("127.0.0.1", "127.0.0.9", "::1", "localhost")))
        assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.7", "example.org", "::")))


class TestParcels:
    @pytest.mark.parametrize("size", [1, 3, 8, 9, 1000])
    def test_files_are_whole_however_they_are_cut(self, tmp_path, size):
        files, parcels = [b"first", b"", bytes(range(256))], Parcels(tmp_path, SMALL)
        body = packed(files)
        for at in range(0, len(body), size):
            parcels.take(body[at : at + size])
        parcels.finish()
        found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert found == {f"{i + 1}.dcm": data for i, data in enumerate(files)}

    @pytest.mark.parametrize("files", [[b""] * 6, [bytes(4096), bytes(4096)]])
    def test_too_much_is_refused(self, tmp_path, files):
        with pytest.raises(UnreadableInputError, match="too many"):
            Parcels(tmp_path, SMALL).take(packed(files))

    def test_a_length_that_is_not_kept(self, tmp_path):
        parcels = Parcels(tmp_path, SMALL)
        parcels.take((1 << 63).to_bytes(8, "big") + b"little")
        with pytest.raises(InputError, match="whole"):
            parcels.finish()


class TestArchives:
    def put(self, folder: Path, data: bytes) -> Path:
        (folder / "1.dcm").write_bytes(data)
        return folder

    def test_an_archive_is_read_in_place(self, tmp_path):
        self.put(tmp_path, zipped({"a": b"1"}))
        assert dropped_root(tmp_path, SMALL) == tmp_path / "1.dcm"

    def test_more_entries_than_are_looked_at(self, tmp_path):
        self.put(tmp_path, zipped({str(i): b"" for i in range(6)}))
        with pytest.raises(UnreadableInputError, match="holds more") as error:
            dropped_root(tmp_path, SMALL)
        assert error.value.got == "6 entries"

    def test_entries_across_a_chunk_are_counted(self, tmp_path, monkeypatch):
        monkeypatch.setattr("jobs.dropped._CHUNK", 5)
        self.put(tmp_path, zipped({str(i): b"" for i in range(6)}))
        with pytest.raises(UnreadableInputError, match="holds more"):
            dropped_root(tmp_path, SMALL)

    def test_what_entries_claim_to_grow_to(self, tmp_path):
        self.put(tmp_path, zipped({"a": bytes(3 << 20)}))
        with pytest.raises(UnreadableInputError, match="holds more"):
            dropped_root(tmp_path, Limits(most_bytes=1 << 19))

    def test_a_link_reaches_nothing(self, tmp_path):
        from jobs.datasets.dicom import dicom

        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(link, "/etc/passwd")
        self.put(tmp_path, buffer.getvalue())
        with pytest.raises(ConfigError) as error:
            dicom(dropped_root(tmp_path, SMALL), allow_all_studies=True)
        assert "is a link" in str(error.value.got)


def spine(axes: str) -> tuple[np.ndarray, Grid, np.ndarray, dict[str, float]]:
    """An image with a bright voxel at each level, stored along any axes; its maps, its peaks."""
    image = np.zeros((9, 40, 80), np.float32)
    places = [(2 + i, 10 + 4 * i, 70 - 12 * i) for i in range(len(LEVELS))]
    for place in places:
        image[place] = 1
    affine = np.diag([4.0, 1.5, 1.0, 1.0])
    affine[:3, 3] = -20, -30, -40
    maps = np.stack([np.where(_only(image, place), 1, 0) for place in places])
    measures = {
        f"{level}_peak_{axis}_mm": float(v)
        for level, place in zip(LEVELS, places, strict=True)
        for axis, v in zip("xyz", affine[:3, :3] @ place + affine[:3, 3], strict=True)
    }
    stored = nib.Nifti1Image(image, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    turned = stored.as_reoriented(turn)
    return (
        np.asarray(turned.dataobj),
        Grid.of(turned.shape, turned.affine),
        np.stack([nib.orientations.apply_orientation(one, turn) for one in maps]),
        measures,
    )


def _only(image: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    found = np.zeros(image.shape, bool)
    found[place] = True
    return found


class TestViewer:
    @pytest.mark.parametrize("axes", ["RAS", "PIR", "LPS", "ASL", "IAR"])
    def test_a_level_is_named_where_it_is_however_it_is_stored(self, axes):
        image, grid, maps, measures = spine(axes)
        viewer = make_viewer(image, grid, maps, LEVELS, measures, "l5_s1")
        assert viewer.total == 9
        for place in viewer.places:
            shown = viewer.slices[viewer.position(place)]
            assert place.name in shown.levels
            scan, heat = (_picture(shown.drawing, cls) for cls in ("scan", "heat"))
            column, row = place.at_mm[0] / 1.5, place.at_mm[1]
            brightest = np.unravel_index(scan.argmax(), scan.shape)
            assert np.allclose(brightest, (row - 0.5, column - 0.5))
            densest = np.unravel_index(heat[..., 3].argmax(), heat.shape[:2])
            assert densest == brightest
        assert "L5/S1" in viewer.slices[viewer.first].levels

    def test_a_level_that_is_nowhere_has_no_place(self):
        image, grid, maps, measures = spine("RAS")
        measures = measures | {f"l5_s1_peak_{axis}_mm": float("nan") for axis in "xyz"}
        viewer = make_viewer(image, grid, maps, LEVELS, measures, "l5_s1")
        assert [place.name for place in viewer.places] == ["L1/L2", "L2/L3", "L3/L4", "L4/L5"]

    def test_of_many_slices_some_are_shown(self):
        assert chosen_slices(5, [2]) == [0, 1, 2, 3, 4]
        shown = chosen_slices(300, [7, 8])
        assert {7, 8} <= set(shown)
        assert len(shown) <= 34


def _picture(drawing: str, cls: str) -> np.ndarray:
    found = re.search(rf'href="data:image/\w+;base64,([^"]*)"[^>]*class="{cls}"', drawing)
    assert found
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))


class TestWordsAndCharts:
    def test_how_many_normals_are_passed(self):
        known = np.arange(10.0)
        assert (passes(7.5, known, True), passes(7.5, known, False)) == (8, 2)
        assert passes(3.0, known, True) == 3

    def test_bounds_are_those_that_were_set(self):
        measures = {"l5_s1_entropy": 3.0}
        for config, group in (
            (ScreeningConfig(), "Low"),
            (ScreeningConfig(medium_entropy=2), "Medium"),
            (ScreeningConfig(medium_entropy=1, high_entropy=2), "High"),
        ):
            assert verdict(measures, config) == f"{group} risk group: entropy 3.00 at L5/S1."
        assert "no entropy" in verdict({}, ScreeningConfig())

    def test_without_normals_nothing_is_said_of_them(self):
        measures = {"l5_s1_entropy": 3.0, "chain_levels": 4.0, "order_violations": 1.0}
        said = " ".join(because(measures, {}, LEVELS, ScreeningConfig()))
        assert "Nothing is known of normal spines" in said
        assert "Only 4 of 5 levels" in said
        assert "1 pair of neighbours" in said
        assert panels(measures, {}, LEVELS) == []
        assert "known" not in risk_chart(float("nan"), None, ScreeningConfig())

    def test_images_that_are_unlike_all_are_told_from_a_level_that_is(self):
        normals = {f"{level}_entropy": np.array([4.0, 5.0]) for level in LEVELS}
        measures = {"chain_levels": 5.0, "order_violations": 0.0}
        measures |= {f"{level}_entropy": 5.5 for level in LEVELS}
        said = because(measures, normals, LEVELS, ScreeningConfig())
        assert "nothing of a single vertebra" in said[-1]
        one = measures | {"l1_l2_entropy": 4.5}
        said = " ".join(because(one, normals, LEVELS, ScreeningConfig()))
        assert "single vertebra" not in said
        assert "do not fit these networks" in said

    def test_a_refusal_is_escaped_and_ends_with_what_to_do(self):
        html = render_refused(InputError("the study: <b>", got="<script>", remedy="do & be"))
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert "Do &amp; be." in html

    def test_of_a_bug_only_its_place_is_told(self):
        try:
            raise ValueError("Zebrafinch")
        except ValueError as error:
            said = trouble(error)
        assert "Zebrafinch" not in said
        assert "test_parts.py" in said


def test_a_study_without_a_localizer_is_none_to_try(tmp_path):
    made = write_study(tmp_path / "study", tmp_path, engines=[{"engine": "flair-zscore"}])
    with pytest.raises(ConfigError, match="locates levels"):
        _config(made.path)


def test_a_study_lends_its_bounds(tmp_path):
    made = write_study(
        tmp_path / "study", tmp_path, engines=[{"engine": "vertebra-heatmap"}],
        screening={"high_entropy": 6.5},
    )  # fmt: skip
    assert _config(made.path).screening.high_entropy == 6.5
