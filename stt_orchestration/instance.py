"""Dagster's instance on this machine: where its home is, and that the home has the project's configuration."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import shorten

import dagster as dg
from dagster._check import CheckError
from sqlalchemy.exc import SQLAlchemyError
from yaml import YAMLError

from recordings.ledger.locks import FileLock, LocksUnavailableError, hold_lock
from recordings.storage.errors import NOT_WRITABLE_ERRNOS
from stt_orchestration.settings import PROJECT_ROOT, SettingsError

log = logging.getLogger("stt")


def dagster_home() -> Path:
    """``DAGSTER_HOME`` if it is set, else ``.dagster/`` in the project, made and given ``dagster.yaml`` if need be.

    Raises:
        SettingsError: ``DAGSTER_HOME`` is not the absolute path of a folder, or the project's own cannot be written.
        OSError: The project's own cannot be made.
    """
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        if not Path(chosen).is_absolute() or not Path(chosen).is_dir():
            raise SettingsError(
                f"DAGSTER_HOME={chosen!r} is not allowed. Allowed: the absolute path of a folder that exists; or unset it, and "
                f"{PROJECT_ROOT / '.dagster'} is used."
            )
        return Path(chosen)
    home = PROJECT_ROOT / ".dagster"
    try:
        _make_home(home)
    except OSError as error:
        if error.errno not in NOT_WRITABLE_ERRNOS:
            raise
        raise SettingsError(
            f"Dagster's storage has no place: {home} cannot be written ({error.strerror}). "
            "Set DAGSTER_HOME to a folder that can be."
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _make_home(home: Path) -> None:
    home.mkdir(exist_ok=True)
    ours, theirs = PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml"
    if not theirs.exists() or theirs.read_bytes() != ours.read_bytes():
        ours_there = home / f"{secrets.token_hex(8)}.tmp"  # renamed as a whole: another process may be reading it
        ours_there.write_bytes(ours.read_bytes())
        ours_there.replace(theirs)


class InstanceUnusableError(Exception):
    """Dagster's own storage on this machine is broken."""


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """This machine's Dagster instance, the one the UI shows.

    Raises:
        SettingsError: ``DAGSTER_HOME`` or the ``dagster.yaml`` in it is not what Dagster can work with.
        InstanceUnusableError: Its storage cannot be opened.
    """
    home = dagster_home()
    try:
        opening = _get_or_create_instance(home)
    except (dg.DagsterError, CheckError, YAMLError, ImportError) as error:
        raise SettingsError(
            f"{home / 'dagster.yaml'} cannot be used: {_short(error)} Put {PROJECT_ROOT / 'dagster.yaml'} in its place, "
            "or set DAGSTER_HOME elsewhere."
        ) from error
    except LocksUnavailableError as error:
        raise InstanceUnusableError(str(error.strerror)) from error
    except (SQLAlchemyError, OSError) as error:
        raise InstanceUnusableError(
            f"Dagster's storage in DAGSTER_HOME={home} cannot be opened: {_short(error)} Make it readable and writable, or move "
            "it away: the recordings' states are in the ledger, so nothing is lost but the history of runs."
        ) from error
    with opening as opened:
        yield opened


def _get_or_create_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance under a file lock.

    The first process creates the databases, and Dagster does not lock: two at once can fail, or leave a database that can never be
    opened again ("more than one head").
    """
    with ExitStack() as making:
        if os.access(home, os.W_OK):
            making.enter_context(
                hold_lock(FileLock(home / "opening.lock"), f"The Dagster instance in {home}", log.info)
            )
        return dg.DagsterInstance.get()


def _short(error: Exception) -> str:
    """Dagster lists every allowed key; the beginning names the wrong one."""
    return shorten(str(error) or type(error).__name__, 250, placeholder=" ...")
