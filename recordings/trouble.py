"""The machine's trouble in words: what the operating system refused, at which place, and what to do.

Here belong sentences only; whether an error is the machine's or a recording's is decided where it is caught.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room: on the device, in the quota, or below the largest size that a file may have here."""

NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

_REMEDIES = (
    (FULL, "Make room there"),
    (NOT_WRITABLE, "Make it writable for this user, or set STT_DATA_DIR elsewhere"),
    (frozenset({errno.EMFILE, errno.ENFILE}), "Raise the limit of open files (ulimit -n)"),
    (frozenset({errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO}), "Check the disk or the mount"),
)


class ServerTrouble(OSError):  # noqa: N818 - reads as what it says
    """A server that holds bytes refused, failed or could not be reached. Its message says at which place and why.

    Attributes:
        remedy: What to do, as the beginning of a sentence.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Name the place in an error about writing that leaves the block without one: a failed write does not say where."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in FULL | NOT_WRITABLE:
            error.filename = str(place)
        raise


def in_words(error: OSError) -> str:
    """One sentence with the place, and what to do about it."""
    if isinstance(error, ServerTrouble):
        return f"{error} {error.remedy}, then run again: nothing is lost."
    place = f" at {error.filename}" if error.filename else ""
    cause = error.strerror or str(error) or type(error).__name__
    remedy = next((words for codes, words in _REMEDIES if error.errno in codes), "Mend the cause")
    return f"{cause}{place}. {remedy}, then run again: nothing is lost."
