"""Dagster's instance on this machine: where its home is, and that the home has the project's configuration."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg

from recordings.locks import FileLock, held
from stt_orchestration.settings import PROJECT_ROOT

log = logging.getLogger("stt")


def dagster_home() -> Path:
    """``DAGSTER_HOME`` if it is set, else ``.dagster/`` in the project, made and given ``dagster.yaml`` if need be."""
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        return Path(chosen)
    home = PROJECT_ROOT / ".dagster"
    home.mkdir(exist_ok=True)
    ours, theirs = PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml"
    if not theirs.exists() or theirs.read_bytes() != ours.read_bytes():
        ours_there = home / f"{secrets.token_hex(8)}.tmp"  # renamed as a whole: another process may be reading it
        ours_there.write_bytes(ours.read_bytes())
        ours_there.replace(theirs)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """This machine's Dagster instance, the one the UI shows."""
    home = dagster_home()
    # The first to open it makes its databases. Dagster does not keep two at it apart: one fails, or both leave a database that
    # can never be opened again ("more than one head").
    with ExitStack() as making:
        if os.access(home, os.W_OK):
            making.enter_context(held(FileLock(home / "opening.lock"), f"The Dagster instance in {home}", log.info))
        opened = dg.DagsterInstance.get()
    with opened:
        yield opened
