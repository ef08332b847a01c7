"""Text files that lie beside a recording and belong to it, read within a limit."""

from __future__ import annotations

from recordings.storage.base import Store


class UnreadableTextError(Exception):
    """The file is too large, or no UTF-8 text. The message is the end of a sentence about it."""


def read_companion(store: Store, key: str, max_bytes: int) -> str | None:
    """The text under a key; None where there is none. What is too large is not fetched from a bucket.

    Raises:
        UnreadableTextError: It has more than ``max_bytes``, or is no UTF-8.
        OSError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    found = store.stat(key)
    if found is None:
        return None
    if found.size > max_bytes:
        limit = f"{max_bytes // 1024**2} MiB" if max_bytes >= 1024**2 else f"{max_bytes // 1024} KiB"
        raise UnreadableTextError(f"is larger than {limit} and was not read")
    try:
        with store.fetch(key) as path, path.open("rb") as file:
            return file.read(max_bytes).decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UnreadableTextError(f"is no UTF-8 text (byte {error.start})") from error
