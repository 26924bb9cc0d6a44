"""How do tests ask the real server what a browser would ask? Plain HTTP over loopback."""

from __future__ import annotations

import http.client
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pydicom

from tests.dicom.writing import SECRET

KIND = "application/x-lamstore-files"
"""What the page says that it sends."""


@dataclass(frozen=True)
class Reply:
    """Status, headers and text of a response."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Browser:
    """One run of the page, as its link says.

    Attributes
    ----------
    link : str
    folder : Path
        Where the server keeps files while it looks at them.
    pid : int
    """

    link: str
    folder: Path
    pid: int

    @property
    def host(self) -> str:
        """Address and port."""
        return urlsplit(self.link).netloc

    @property
    def path(self) -> str:
        """With the token, between slashes."""
        return urlsplit(self.link).path

    def get(self, path: str = "", **headers: str) -> Reply:
        """Get something below the link."""
        return self.ask("GET", self.path + path, headers=headers)

    def post(self, path: str, body: bytes = b"", **headers: str) -> Reply:
        """Post as the page does; `headers` replace its own, an empty one is left out."""
        own = {"Origin": f"http://{self.host}", "Content-Type": KIND} | headers
        return self.ask("POST", self.path + path, body, own)

    def drop(self, files: Iterable[bytes]) -> Reply:
        """Drop files."""
        return self.post("study", packed(files))

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Any request; whatever comes back names nobody, and nothing stays behind."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        sent = {"Host": self.host, "Content-Length": str(len(body))} | dict(headers or {})
        connection.putrequest(method, path, skip_host=True)
        for name, value in sent.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(body)
        got = connection.getresponse()
        reply = Reply(got.status, dict(got.getheaders()), got.read().decode())
        connection.close()
        assert SECRET.lower() not in f"{reply.headers} {reply.text}".lower()
        assert list(self.folder.iterdir()) == []
        return reply


def packed(files: Iterable[bytes]) -> bytes:
    """Files as the page sends them."""
    return b"".join(len(data).to_bytes(8, "big") + data for data in files)


def zipped(entries: Mapping[str, bytes], **options: int) -> bytes:
    """A ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def written(datasets: Iterable[pydicom.Dataset], **tags: object) -> list[bytes]:
    """DICOM files whose headers name a person."""
    found = []
    for ds in datasets:
        ds.PatientName, ds.PatientID = f"{SECRET}^Generated", f"id-{SECRET}"
        ds.PatientBirthDate, ds.InstitutionName = "19700101", f"{SECRET} hospital"
        for keyword, value in tags.items():
            setattr(ds, keyword, value)
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
        found.append(buffer.getvalue())
    return found
