"""``stt ui``: Dagster's webserver and daemon, and beside them the server of the recordings' pages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

from recordings.storage.open import open_store, store_from_url
from stt_orchestration import pages
from stt_orchestration.instance import dagster_home, open_instance
from stt_orchestration.ports import check_free, listen
from stt_orchestration.settings import PROJECT_ROOT, Settings


def run_ui(settings: Settings, host: str, port: int) -> int:
    """Run until interrupted; returns Dagster's exit code.

    The pages are served where ``STT_PAGES_URL`` points, when that is this machine's loopback.

    Raises:
        PortUnavailableError: The port of the UI or that of the pages is taken.
        OSError: The store cannot be reached.
    """
    # Dagster's webserver says that it serves before it finds the port taken.
    check_free(host, port, "The Dagster UI", "Name another port: stt ui --port PORT.")
    home = dagster_home()
    if not (home / "history").exists():
        with open_instance():  # makes its databases before Dagster's processes do, and a `stt run` beside them
            pass
    open_store(settings.store)
    where = urlsplit(settings.pages_url)
    if where.hostname in pages.LOOPBACK and where.scheme == "http":
        remedy = "Name another one in STT_PAGES_URL, such as http://127.0.0.1:PORT."
        listening = listen(where.hostname, where.port or 80, "The pages", remedy)
        application = pages.build_app(store_from_url(settings.store), settings.pages_path, pages.LOOPBACK)
        pages.serve_beside(application, listening)
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT_ROOT / "workspace.yaml")]
    command += ["-h", host, "-p", str(port)]
    # It advises another command line that this project does not need, on every start.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore:Function `dev_command`"}
    # A shell starts background processes with SIGINT ignored, and child processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=home, env=environment) as dagster:
        # Dagster ends its children only on SIGINT, so SIGTERM is forwarded as SIGINT.
        signal.signal(signal.SIGTERM, lambda *_: dagster.send_signal(signal.SIGINT))
        while True:
            try:
                return dagster.wait()
            except KeyboardInterrupt:
                continue  # the terminal sent it to Dagster as well, which is on its way out
