"""``stt ui`` and ``stt pages``: what is shown in a browser.

The processes of the UI are in ``stt_orchestration.cli.dagster_ui``, the server of pages is ``stt_orchestration.pages``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from recordings.storage.open import store_from_url
from stt_orchestration.cli.console import make_console
from stt_orchestration.cli.exit_codes import ExitCode, errors_to_exit_codes, exit_with
from stt_orchestration.settings import Settings

serve_app = typer.Typer()


@serve_app.command()
@errors_to_exit_codes
def ui(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI with its daemon, sensors and schedules, and serve the recordings' pages. Ctrl-C ends it."""
    from stt_orchestration.cli.dagster_ui import run_ui
    from stt_orchestration.instance import InstanceUnusableError

    try:
        raise typer.Exit(run_ui(Settings.read(), host, port))
    except InstanceUnusableError as error:
        exit_with(str(error), ExitCode.MACHINE)


@serve_app.command()
@errors_to_exit_codes
def pages(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3001,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the recordings' pages alone, read-only, with their sound. `stt ui` does it by itself. Ctrl-C ends it."""
    from stt_orchestration.pages import LOOPBACK, build_app, serve
    from stt_orchestration.ports import listen

    settings = Settings.read()
    hosts = LOOPBACK if host in LOOPBACK else ("*",)
    application = build_app(store_from_url(settings.store), settings.pages_path, hosts)
    listening = listen(host, port, "The pages", "Name another port: stt pages --port PORT.")
    make_console().print(f"The page of a recording a/x.mp3 is http://{host}:{port}{settings.pages_path}/a/x.mp3.html")
    serve(application, listening)
