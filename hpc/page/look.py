"""What does the process do that looks at studies? A folder in, an answer out, for as long as asked.

It is apart from the server because what it reads is hostile: a decoder that crashes, or wants all
memory, takes this process along and nothing else. What libraries print may quote headers, so it
goes nowhere; of an unexpected error no message leaves, only where in the code it was.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import traceback
import warnings
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.one_spine.page import render_refused
from jobs.dropped import Limits
from lamstore.config import StudyConfig
from lamstore.errors import InputError, LamstoreError

if TYPE_CHECKING:
    from analysis.one_spine.answer import OneSpine
    from jobs.engines.base import Localizer
    from jobs.one_study import OneStudy

ROOM = 8 << 30
"""Bytes that this process may grow by once the networks are loaded."""
OK, REFUSED, BROKEN = 200, 422, 500
DROPPED = "dropped"
_READY = ("analysis.one_spine.answer", "jobs.dicom.pixels", "jobs.lumbar.write", "jobs.one_study")
SAMPLES = ("normal", "transitional")
SAMPLE_COHORT = 12
"""Spines of each kind; after the last comes the first."""


@dataclass(frozen=True)
class Question:
    """What is asked: `DROPPED`, or one of `SAMPLES` and which one.

    Attributes
    ----------
    kind : str
    folder : Path
        Of the files; of samples, where they may be written.
    number : int
    """

    kind: str
    folder: Path
    number: int = 0


@dataclass(frozen=True)
class Answer:
    """HTTP status, a part of the page, and what the terminal may hear of an unexpected error."""

    status: int
    html: str
    trouble: str = ""


def serve(pipe: Connection, config: StudyConfig, limits: Limits) -> None:
    """Load the engine, say None or what is wrong with it, then answer until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which ends the pipe
    _mute()
    try:
        engine = _engine(config)
    except LamstoreError as error:
        pipe.send(error)
        return
    _bound_memory()
    pipe.send(None)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(answered(question, engine, config, limits))
        gc.collect()


def _mute() -> None:
    """Warnings and whatever libraries of C write: values of headers may be in it."""
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _engine(config: StudyConfig) -> Localizer:
    from jobs.engines import load_engine
    from jobs.engines.base import Localizer

    (chosen,) = config.engines
    engine = load_engine(chosen.engine, chosen.options)
    if not isinstance(engine, Localizer):
        raise InputError(f"engine '{engine.name}' locates no levels", expected="a localizer")
    engine.load()
    for name in _READY:
        import_module(name)  # what the first question would wait for
    return engine


def _bound_memory() -> None:
    """A header, or a code stream, may claim any size; and no dump of a crash stays on disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = _data_bytes()
    if used:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = used + ROOM if hard == resource.RLIM_INFINITY else min(used + ROOM, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _data_bytes() -> int:
    """Bytes of data of this process; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData")), 0)


def answered(question: Question, engine: Localizer, config: StudyConfig, limits: Limits) -> Answer:
    """Whatever happens, an answer."""
    try:
        return Answer(OK, _html(question, engine, config, limits))
    except LamstoreError as error:
        return Answer(REFUSED, render_refused(error))
    except MemoryError:
        return Answer(REFUSED, render_refused(too_much_memory()))
    except Exception as error:
        return Answer(BROKEN, render_refused(_bug(error)), trouble(error))


def _html(question: Question, engine: Localizer, config: StudyConfig, limits: Limits) -> str:
    from analysis.one_spine.answer import render_answer
    from jobs.one_study import look_at

    folder, generated = question.folder, ""
    if question.kind in SAMPLES:
        folder, generated = _sample(question)
    seen = look_at(folder, engine, config.heatmaps, limits)
    return render_answer(_one_spine(seen, engine, config, generated))


def _one_spine(seen: OneStudy, engine: Localizer, config: StudyConfig, generated: str) -> OneSpine:
    from analysis.one_spine.answer import OneSpine
    from jobs.locate import mean_heatmap

    modality = engine.required_modalities[0]
    return OneSpine(
        image=seen.inputs.images[modality],
        grid=seen.inputs.grid,
        heatmap=mean_heatmap(seen.found),
        levels=engine.levels,
        measures=seen.measures,
        normals=engine.normals,
        config=config,
        reason=seen.reason,
        left_out=seen.left_out,
        engine=f"{engine.name}, {len(engine.members)} networks",
        own_weights=own_weights(config),
        generated=generated,
    )


def own_weights(config: StudyConfig) -> bool:
    """Whether the weights are those that come with lamstore, trained on generated spines."""
    (chosen,) = config.engines
    return chosen.engine == "vertebra-heatmap" and not chosen.options.get("weights")


def _sample(question: Question) -> tuple[Path, str]:
    """A generated study as DICOM files, and what it is."""
    from hpc.demo_spine import small
    from jobs.lumbar.write import default_lumbar_cohort, write_rsna

    cohort = default_lumbar_cohort(SAMPLE_COHORT, SAMPLE_COHORT)
    wanted = [one for one in cohort if (one.spec.kind == "normal") == (question.kind == "normal")]
    # The most pronounced first; all normals have none.
    wanted.sort(key=lambda one: -one.spec.severity)
    chosen = small(wanted[question.number % len(wanted)])
    write_rsna([chosen], question.folder)
    spec = chosen.spec
    return question.folder / "train_images", _truth(spec.kind, spec.castellvi, spec.severity)


def _truth(kind: str, castellvi: str, severity: float) -> str:
    if kind == "normal":
        return "It was drawn as a normal spine, and no network was trained on it."
    return (
        f"It was drawn with a transitional vertebra: {kind.replace('_', ' ')}, Castellvi "
        f"{castellvi}, severity {severity:.1f} of 1. What the localizer makes of that is below; it "
        "does not notice every one."
    )


def too_much_memory() -> InputError:
    """The error for what cannot be held."""
    return InputError(
        "this needs more memory than is given to one study",
        remedy="drop just the sagittal T2 series",
    )


def _bug(error: Exception) -> LamstoreError:
    return LamstoreError(
        "something went wrong that should not",
        got=type(error).__name__,
        remedy="tell who maintains lamstore what the terminal says; other studies can be tried",
    )


def trouble(error: BaseException) -> str:
    """Type and places of an error, without its message and without values."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([type(error).__name__, *places])
