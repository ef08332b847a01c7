"""Infrastructure errors as sentences for a person: what failed, at which path, and what to do.

This module only makes the sentences; the callers decide whether an error belongs to a recording.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers for no space: disk full, quota exceeded, or file too large for the file system."""

NOT_WRITABLE_ERRNOS = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

_REMEDIES = (
    (NO_SPACE_ERRNOS, "Make room there"),
    (NOT_WRITABLE_ERRNOS, "Make it writable for this user, or set STT_DATA_DIR elsewhere"),
    (frozenset({errno.EMFILE, errno.ENFILE}), "Raise the limit of open files (ulimit -n)"),
    (frozenset({errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO}), "Check the disk or the mount"),
)


class StorageUnavailableError(OSError):
    """The server of a store refused, failed or could not be reached. The message says at which place and why.

    Attributes:
        remedy: What to do, as the beginning of a sentence.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@contextmanager
def add_path_to_errors(place: Path) -> Iterator[None]:
    """Add the path to an OSError about writing that has none, because the operating system does not report it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in NO_SPACE_ERRNOS | NOT_WRITABLE_ERRNOS:
            error.filename = str(place)
        raise


def explain(error: OSError) -> str:
    """One sentence with the place, and what to do about it."""
    if isinstance(error, StorageUnavailableError):
        return f"{error} {error.remedy}, then run again: nothing is lost."
    place = f" at {error.filename}" if error.filename else ""
    cause = error.strerror or str(error) or type(error).__name__
    remedy = next((advice for codes, advice in _REMEDIES if error.errno in codes), "Mend the cause")
    return f"{cause}{place}. {remedy}, then run again: nothing is lost."
