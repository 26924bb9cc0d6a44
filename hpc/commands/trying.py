"""What does the localizer make of one study? `lam try-spine`, a page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamstore.errors import ConfigError

if TYPE_CHECKING:
    from lamstore.config import StudyConfig


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("try-spine", rich_help_panel="Begin")(try_spine)


def try_spine(
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY]", help="Whose engine, bounds and parameters; the usual ones without."
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, show_default=False, help="Where to listen (default: any free port)."
        ),
    ] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than 127.0.0.1 let the network in.")
    ] = "127.0.0.1",
    max_mb: Annotated[int, typer.Option(min=1, help="Largest study that may be dropped.")] = 1000,
) -> None:
    """A page to try one DICOM study of a spine on, or a generated one; nothing is kept.

    Prints a link for the browser of this machine; from another one: ssh -L 8000:localhost:8000
    and --port 8000.
    """
    import asyncio
    import secrets
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from hpc.page.guard import is_loopback
    from hpc.page.look import own_weights
    from hpc.page.looker import Looker
    from hpc.page.server import Desk, serve_page
    from jobs.dropped import Limits

    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    config, limits = _config(study), Limits(most_bytes=max_mb << 20)
    if not is_loopback(host):
        say(
            f"Warning: listening on {host}. Whoever reads the link on its way can use it: there is "
            "no encryption. ssh -L does without --host."
        )
    say("Loading the networks …")
    looker = Looker(config, limits)
    try:
        with TemporaryDirectory(prefix="lam-try-spine-") as folder:
            looker.begin()
            looker.wait()
            desk = Desk(
                secrets.token_urlsafe(24), host, Path(folder), limits, looker,
                own_weights(config), say,
            )  # fmt: skip
            asyncio.run(serve_page(desk, port))
    except OSError as error:
        raise ConfigError(
            f"nothing can listen on {host}, port {port}",
            got=error.strerror or type(error).__name__,
            remedy="choose another --port, or leave it out",
        ) from error
    finally:
        looker.close()


def _config(study: Path | None) -> StudyConfig:
    """The configuration with one engine, the localizer: of a study, or what is usual."""
    from hpc.describe import describe
    from jobs.engines import load_engine
    from jobs.engines.base import Localizer
    from lamstore.study import Study

    if study is None:
        return describe("dicom", Path())
    config = Study.at(study).config
    for one in config.engines:
        if isinstance(load_engine(one.engine, one.options), Localizer):
            return config.model_copy(update={"engines": (one,)})
    raise ConfigError(
        f"{study} has no engine that locates levels",
        got=", ".join(one.engine for one in config.engines) or "no engine",
        expected="vertebra-heatmap, for instance",
        remedy="lam try-spine, without a study",
    )
