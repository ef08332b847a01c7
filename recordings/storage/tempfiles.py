"""Temporary local files of a store: locked while the writing process lives, deleted later if it died."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """An empty file of our own in a folder, made if need be; gone when the context ends, unless somebody moved it away."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / secrets.token_hex(8)
    try:
        with path.open("xb") as ours:
            with suppress(OSError):  # without locks, the age alone protects it
                fcntl.flock(ours, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield path
    finally:
        path.unlink(missing_ok=True)


def sweep_files(folder: Path, oldest: float) -> int:
    """Remove what was last touched before a time (seconds since the epoch) and is not being written; returns how many."""
    return sum(_remove_if_stale(left, oldest) for left in folder.glob("*"))


def _remove_if_stale(left: Path, oldest: float) -> bool:
    try:
        with left.open("rb") as file:
            # Not mtime: a copy brings the one of its source along. Nobody can set ctime back.
            if os.fstat(file.fileno()).st_ctime >= oldest:
                return False
            with suppress(OSError):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            left.unlink()
    except OSError:
        return False  # its writer has just finished, or it is another user's
    return True
