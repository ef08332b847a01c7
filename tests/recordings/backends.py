"""Stores under test, with direct access to the directory or the bucket below them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recordings.layout import Folder
from recordings.storage.base import InputEntry, Store
from recordings.storage.directory import DirectoryStore
from recordings.storage.s3 import BucketStore
from tests.servers import BUCKET

MEMORY_DIR = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - only the parent of temporary folders
"""Parent for temporary folders in memory, for property tests that make a hundred of them; None: the default."""


@dataclass
class DirectoryBackend:
    """A store on a directory."""

    store: DirectoryStore

    def put(self, name: bytes, content: bytes = b"x") -> None:
        """Write an input past the store, as other programs do."""
        path = os.path.join(os.fsencode(self.store.root / Folder.RAW), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def remove(self, name: bytes) -> None:
        """Remove an input past the store."""
        os.unlink(os.path.join(os.fsencode(self.store.root / Folder.RAW), name))

    def list_files(self, folder: Folder) -> list[str]:
        """Names of all files in a folder, temporary files too."""
        return [p.name for p in (self.store.root / folder).rglob("*") if p.is_file()]

    def list_leftovers(self) -> list[str]:
        """Names of temporary files, in all folders."""
        return [p.name for p in self.store.root.rglob(".tmp/*")]


@dataclass
class BucketBackend:
    """A store on a prefix of a bucket on a real server.

    Attributes:
        store: The store.
        client: A boto3 client.
        prefix: The prefix.
        local: Folder for local temporary files of the store.
    """

    store: BucketStore
    client: Any
    prefix: str
    local: Path

    def put(self, name: bytes, content: bytes = b"x") -> None:
        """Write an input past the store, as other programs do."""
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{Folder.RAW}/{name.decode()}", Body=content)

    def remove(self, name: bytes) -> None:
        """Remove an input past the store."""
        self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{Folder.RAW}/{name.decode()}")

    def list_files(self, folder: Folder) -> list[str]:
        """Names of all objects in a folder."""
        page = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/{folder}/")
        return [entry["Key"].removeprefix(f"{self.prefix}/{folder}/") for entry in page.get("Contents", [])]

    def list_leftovers(self) -> list[str]:
        """Keys of unfinished multipart uploads, and names of local temporary files."""
        uploads = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=self.prefix).get("Uploads", [])
        return [upload["Key"] for upload in uploads] + [p.name for p in self.local.rglob("*") if p.is_file()]


StoreBackend = DirectoryBackend | BucketBackend


def list_names(store: Store, after: str = "") -> list[str]:
    """The names of the inputs, as the store lists them."""
    return [entry.name for entry in store.list_inputs(after) if isinstance(entry, InputEntry)]
