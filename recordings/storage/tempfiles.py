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
    """Create an empty file with a random name in a folder; the folder is created if it is missing.

    The file is removed when the context ends, unless it was moved away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / secrets.token_hex(8)
    try:
        with path.open("xb") as file:
            with suppress(OSError):  # on a file system without locks, only its age protects the file
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield path
    finally:
        path.unlink(missing_ok=True)


def sweep_files(folder: Path, oldest: float) -> int:
    """Remove files that were last changed before a time (seconds since the epoch) and are not being written.

    Returns:
        How many were removed.
    """
    return sum(_remove_if_stale(path, oldest) for path in folder.glob("*"))


def _remove_if_stale(path: Path, oldest: float) -> bool:
    try:
        with path.open("rb") as file:
            # Not mtime: a copy keeps the mtime of its source. No program can set ctime back.
            if os.fstat(file.fileno()).st_ctime >= oldest:
                return False
            with suppress(OSError):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            path.unlink()
    except OSError:
        return False  # the writer has just finished and moved it, or it belongs to another user
    return True
