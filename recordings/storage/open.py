"""From an address to the store behind it: a directory or a bucket."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from recordings.storage.base import Store, UnknownStoreError
from recordings.storage.directory import DirectoryStore


def open_store(url: str) -> Store:
    """The store at a URL: a directory, ``file:///path``, or a bucket and where in it, ``s3://bucket/prefix``.

    Raises:
        UnknownStoreError: No store is known for the scheme.
        OSError: Its folders cannot be made, or the bucket cannot be reached.
    """
    store = store_from_url(url)
    store.prepare()
    return store


def store_from_url(url: str) -> Store:
    """The store at a URL, without creating folders or contacting a server. For readers only.

    Raises:
        UnknownStoreError: No store is known for the scheme.
    """
    scheme, _, path = url.partition("://")
    if scheme == "s3" and path.strip("/"):
        from recordings.storage.s3 import bucket_store_from_url

        return bucket_store_from_url(url)
    if scheme != "file" or not path.startswith("/"):
        raise UnknownStoreError(
            f"No store is known for {url!r}. Give a directory as file:///absolute/path, or a bucket as s3://bucket/prefix."
        )
    return DirectoryStore(Path(unquote(path)))
