"""Dagster's instance on this machine: where its home is, and that the home has the project's configuration."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from stt_orchestration.settings import PROJECT_ROOT


def dagster_home() -> Path:
    """``DAGSTER_HOME`` if it is set, else ``.dagster/`` in the project, made and given ``dagster.yaml`` if need be."""
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        return Path(chosen)
    home = PROJECT_ROOT / ".dagster"
    home.mkdir(exist_ok=True)
    ours, theirs = PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml"
    if not theirs.exists() or theirs.read_bytes() != ours.read_bytes():
        shutil.copyfile(ours, theirs)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """This machine's Dagster instance, the one the UI shows."""
    dagster_home()
    with dg.DagsterInstance.get() as opened:
        yield opened
