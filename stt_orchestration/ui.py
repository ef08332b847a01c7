"""``stt ui``: Dagster's webserver and daemon, and beside them a small server for the recordings' pages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from recordings.names import Folder
from recordings.store import open_store
from stt_orchestration.instance import dagster_home, instance
from stt_orchestration.settings import PROJECT_ROOT, Settings


class _Pages(SimpleHTTPRequestHandler):
    """Serves the outputs folder. Says nothing on the terminal: Dagster's lines are what an operator reads there."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


def serve(settings: Settings, host: str, port: int) -> int:
    """Run until interrupted; returns Dagster's exit code.

    The pages are served where ``STT_PAGES_URL`` points, when that is this machine and they lie on it.

    Raises:
        OSError: The pages' port is taken.
    """
    home = dagster_home()
    if not (home / "history").exists():
        with instance():  # makes its databases before Dagster's processes do, and a `stt run` beside them
            pass
    pages = urlsplit(settings.pages_url)
    folder = open_store(settings.store).folder
    if folder is not None and pages.hostname in ("127.0.0.1", "localhost"):
        handler = partial(_Pages, directory=str(folder / Folder.ENRICHED))
        server = ThreadingHTTPServer((pages.hostname, pages.port or 80), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT_ROOT / "workspace.yaml")]
    command += ["-h", host, "-p", str(port)]
    # It advises another command line that this project does not need, on every start.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore:Function `dev_command`"}
    # Started in the background of a shell we ignore interrupts, and would pass that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=home, env=environment) as dagster:
        # Dagster ends its own children on an interrupt alone; whoever stops this process, and however, must stop them too.
        signal.signal(signal.SIGTERM, lambda *_: dagster.send_signal(signal.SIGINT))
        while True:
            try:
                return dagster.wait()
            except KeyboardInterrupt:
                continue  # the terminal sent it to Dagster as well, which is on its way out
