"""Who looks at studies, and what if that process dies? One process, asked in turn, replaced."""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from analysis.one_spine.page import render_refused
from hpc.page.look import BROKEN, REFUSED, Answer, Question, serve
from jobs.dropped import Limits
from lamstore.config import StudyConfig
from lamstore.errors import EngineError, InputError, LamstoreError

PATIENCE_S = 120.0
"""A study takes one or two."""
STARTING_S = 300.0


class Looker:
    """The process, and the pipe to it.

    Parameters
    ----------
    config : StudyConfig
        With one engine, a localizer.
    limits : Limits
    patience_s : float
        After which a study is given up.
    """

    def __init__(self, config: StudyConfig, limits: Limits, patience_s: float = PATIENCE_S) -> None:
        self._config, self._limits, self._patience_s = config, limits, patience_s
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def begin(self) -> None:
        """Start the process; it loads by itself."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self._config, self._limits), daemon=True
        )
        process.start()
        theirs.close()
        self._process = process

    def wait(self) -> None:
        """Wait until it has loaded.

        Raises
        ------
        LamstoreError
            The engine cannot be loaded.
        """
        assert self._pipe is not None
        try:
            if not self._pipe.poll(STARTING_S):
                raise EngineError(f"the engine has not loaded within {STARTING_S:.0f} s")
            said = self._pipe.recv()
        except EOFError:
            raise EngineError("the process that looks at studies died while it loaded") from None
        if isinstance(said, LamstoreError):
            raise said

    async def ask(self, question: Question) -> Answer:
        """Answer a question; only one at a time."""
        return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Question) -> Answer:
        try:
            if self._process is None:
                self.begin()
                self.wait()
            assert self._pipe is not None
            self._pipe.send(question)
            if self._pipe.poll(self._patience_s):
                found: Answer = self._pipe.recv()
                return found
        except (EOFError, OSError):
            self.close()
            return Answer(BROKEN, render_refused(_died()), "the process that looks died")
        except LamstoreError as error:
            self.close()
            return Answer(BROKEN, render_refused(error), error.what)
        self.close()
        return Answer(REFUSED, render_refused(_slow(self._patience_s)))

    def close(self) -> None:
        """End the process, whatever it is at."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is not None:
            process.kill()
            process.join()
            process.close()
        if pipe is not None:
            pipe.close()


def _died() -> InputError:
    return InputError(
        "reading this study ended the process that reads",
        got="a decoder crashed, or more memory was wanted than there is",
        remedy="drop just the sagittal T2 series; uncompressed, made with gdcmconv --raw, if this "
        "happens again",
    )


def _slow(patience_s: float) -> InputError:
    return InputError(
        "this study took too long and was given up",
        expected=f"at most {patience_s:.0f} s",
        remedy="drop just the sagittal T2 series",
    )
