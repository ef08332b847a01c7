"""References: what is said in a recording, word for word, in a text file ``NAME.ref.txt`` beside it. Never an input."""

from __future__ import annotations

import errno

from recordings.layout import Folder
from recordings.storage.base import REFERENCE_SUFFIX, Store

MAX_BYTES = 4 * 1024**2
"""A day of speech is some 1.5 MB of text; what is larger is no reference."""


class InvalidReferenceError(Exception):
    """The file beside a recording is no text to compare with. Says why."""


def reference_key(name: str) -> str:
    """Where the reference of a recording lies in the store."""
    return f"{Folder.RAW}/{name}{REFERENCE_SUFFIX}"


def read_reference(store: Store, name: str) -> str | None:
    """The reference of a recording; None when it has none.

    Raises:
        InvalidReferenceError: The file is too large, or no UTF-8.
        OSError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    try:
        with store.fetch(reference_key(name)) as path, path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        # A folder has become a file, or the name is too long with the suffix: nobody can have put it there.
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        raise
    if len(content) > MAX_BYTES:
        raise InvalidReferenceError(f"its reference is larger than {MAX_BYTES // 1024**2} MiB and was not read")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidReferenceError(f"its reference is no UTF-8 text (byte {error.start})") from error
