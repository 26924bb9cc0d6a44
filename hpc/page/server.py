"""Who answers a browser? A tornado application: the page, its style and script, two questions.

Everything is below the token of the run. A request that is refused learns nothing; one that is
answered leaves nothing behind: its files lie in a folder that goes before the answer is sent.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from analysis.one_spine.page import render_page, render_refused, script, style
from hpc.page.guard import EVERYWHERE, HEADERS, host_allowed, origin_allowed, token_allowed
from hpc.page.look import DROPPED, SAMPLES, Answer, Question
from hpc.page.looker import Looker
from hpc.page.parcels import Parcels, too_large
from jobs.dropped import Limits
from lamstore.errors import InputError, LamstoreError, disk_full, means_no_space

BODY_S = 900
"""A transfer that takes longer is ended, so that it does not keep others out."""
Say = Callable[[str], None]


@dataclass
class Desk:
    """What the handlers share.

    Attributes
    ----------
    token : str
        Of the run; part of every path.
    bound : str
        Where the server listens.
    folder : Path
        Empty between requests.
    own_weights : bool
    say : callable
        To the terminal.
    busy : bool
        Whether a study is at hand.
    """

    token: str
    bound: str
    folder: Path
    limits: Limits
    looker: Looker
    own_weights: bool
    say: Say
    busy: bool = False
    samples: Any = field(default_factory=lambda: {kind: count() for kind in SAMPLES})


class _Handler(RequestHandler):
    """Checks and headers of every response."""

    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        host = self.request.headers.get("Host", "")
        token = self.path_kwargs.pop("token", "")
        if not host_allowed(host, self.desk.bound) or not token_allowed(token, self.desk.token):
            raise HTTPError(403)
        changes = self.request.method not in ("GET", "HEAD")
        if changes and not origin_allowed(self.request.headers.get("Origin"), host):
            raise HTTPError(403)

    def write_error(self, status_code: int, **_: Any) -> None:
        """No more than a number: what was asked for may be anything."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        hint = "Open the link that lam try-spine printed.\n" if status_code == 403 else ""
        self.finish(f"{status_code}\n{hint}")

    def log_exception(self, *_: Any) -> None:
        """Nothing: a message may quote what was asked for."""

    def part(self, answer: Answer) -> None:
        """Send a part of the page."""
        self.set_status(answer.status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(answer.html)


class _Nowhere(_Handler):
    """Every other path: indistinguishable from a wrong token."""

    def prepare(self) -> None:
        raise HTTPError(403)


class _Static(_Handler):
    """The page, its style, its script."""

    def initialize(self, desk: Desk, text: str = "", kind: str = "") -> None:
        super().initialize(desk)
        self._text, self._kind = text, kind

    def get(self) -> None:
        self.set_header("Content-Type", f"{self._kind}; charset=utf-8")
        self.finish(self._text)


class _Asking(_Handler):
    """A question has a folder, and the desk for itself, from its headers to its answer."""

    _folder: Path | None = None
    _asked = False

    def prepare(self) -> None:
        super().prepare()
        if self.request.method != "POST":
            raise HTTPError(405)
        if self.desk.busy:
            refused = InputError(
                "another study is being looked at", remedy="wait a moment, then drop it again"
            )
            self.part(Answer(409, render_refused(refused)))
            return
        self.desk.busy = True
        self._folder = Path(tempfile.mkdtemp(dir=self.desk.folder))

    async def answer(self, question: Question) -> None:
        """Ask, and send what is said."""
        self._asked = True
        found = await self.desk.looker.ask(question)
        if found.trouble:
            self.desk.say(found.trouble)
        self.part(found)

    def part(self, answer: Answer) -> None:
        """Tidy up, then send."""
        self._tidy()
        super().part(answer)

    def on_finish(self) -> None:
        """Whatever happened."""
        self._tidy()

    def on_connection_close(self) -> None:
        """The browser has gone; what is being looked at is looked at to its end."""
        if not self._asked:
            self._tidy()

    def _tidy(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self.desk.busy = None, False


@stream_request_body
class _Study(_Asking):
    """A study that was dropped."""

    _parcels: Parcels | None = None
    _error: LamstoreError | None = None

    def prepare(self) -> None:
        super().prepare()
        if self._folder is None:
            return
        if int(self.request.headers.get("Content-Length", 0)) > largest_body(self.desk.limits):
            self.part(Answer(413, render_refused(too_large(self.desk.limits))))
            return
        self._parcels = Parcels(self._folder, self.desk.limits)

    def data_received(self, chunk: bytes) -> None:
        if self._parcels is None or self._error is not None:
            return
        try:
            self._parcels.take(chunk)
        except LamstoreError as error:
            self._error = error
        except OSError as error:
            self._error = _disk(error)

    async def post(self) -> None:
        assert self._parcels is not None and self._folder is not None
        try:
            self._parcels.finish()
        except LamstoreError as error:
            self._error = self._error or error
        if self._error is not None:
            self.part(Answer(422, render_refused(self._error)))
            return
        await self.answer(Question(DROPPED, self._folder))

    def _tidy(self) -> None:
        if self._parcels is not None:
            self._parcels.close()
        super()._tidy()


class _Sample(_Asking):
    """A generated spine; the next of its kind each time."""

    async def post(self, kind: str) -> None:
        assert self._folder is not None
        number = next(self.desk.samples[kind])
        await self.answer(Question(kind, self._folder, number))


def largest_body(limits: Limits) -> int:
    """Bytes of the files, and of their lengths."""
    return limits.most_bytes + 8 * limits.most_files


def _disk(error: OSError) -> LamstoreError:
    if means_no_space(error):
        return disk_full("keep the files while they are looked at", error)
    return InputError("the files cannot be kept while they are looked at", remedy="see TMPDIR")


def application(desk: Desk) -> Application:
    """The paths of a run."""
    page = render_page(desk.limits.most_bytes >> 20, desk.limits.most_files, desk.own_weights)
    token = r"/(?P<token>[A-Za-z0-9_-]+)"
    static = [("/", page, "text/html"), ("/page.css", style(), "text/css")]
    static += [("/page.js", script(), "text/javascript")]
    shared = {"desk": desk}
    return Application(
        [
            *(
                (f"{token}{path}", _Static, {**shared, "text": text, "kind": kind})
                for path, text, kind in static
            ),
            (f"{token}/study", _Study, shared),
            (f"{token}/sample/(?P<kind>{'|'.join(SAMPLES)})", _Sample, shared),
        ],
        default_handler_class=_Nowhere,
        default_handler_args=shared,
        log_function=lambda _: None,  # paths hold the token
    )


async def serve_page(desk: Desk, port: int) -> None:
    """Listen until the terminal or the system says stop; says where.

    Raises
    ------
    OSError
        The address is taken, or not this machine's.
    """
    sockets = bind_sockets(port, desk.bound)
    server = HTTPServer(
        application(desk),
        max_body_size=largest_body(desk.limits),
        body_timeout=BODY_S,
        idle_connection_timeout=BODY_S,
    )
    server.add_sockets(sockets)
    name = socket.gethostname() if desk.bound in EVERYWHERE else desk.bound
    shown = f"[{name}]" if ":" in name else name
    desk.say("Open this in a browser; Ctrl-C ends it. For research only, not for diagnosis.")
    desk.say(f"http://{shown}:{sockets[0].getsockname()[1]}/{desk.token}/")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.stop()
    desk.looker.close()  # whoever still waits for it is told at once
    await server.close_all_connections()
