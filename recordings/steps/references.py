"""References: what is said in a recording, word for word, in a text file ``NAME.ref.txt`` beside it. Never an input."""

from __future__ import annotations

from recordings.layout import Folder
from recordings.steps.companions import UnreadableTextError, read_companion
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
        return read_companion(store, reference_key(name), MAX_BYTES)
    except UnreadableTextError as error:
        raise InvalidReferenceError(f"its reference {error}") from error
