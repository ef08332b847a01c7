"""Stores to test, and ways into them that the stores themselves do not offer."""

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

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - Linux' own, and only a parent for others
"""Where folders can be made whose files no disk has to flush, for properties that are tried a hundred times; None: the usual."""


@dataclass
class DirectoryPlace:
    """A store on a directory."""

    store: DirectoryStore

    def put(self, name: bytes, content: bytes = b"x") -> None:
        """As somebody else delivers."""
        path = os.path.join(os.fsencode(self.store.root / Folder.RAW), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def remove(self, name: bytes) -> None:
        os.unlink(os.path.join(os.fsencode(self.store.root / Folder.RAW), name))

    def below(self, folder: Folder) -> list[str]:
        """Everything in a folder, temporary files too."""
        return [p.name for p in (self.store.root / folder).rglob("*") if p.is_file()]

    def left_over(self) -> list[str]:
        """Files of unfinished work, anywhere."""
        return [p.name for p in self.store.root.rglob(".tmp/*")]


@dataclass
class BucketPlace:
    """A store below a prefix of a bucket on a real server."""

    store: BucketStore
    client: Any
    prefix: str
    local: Path

    def put(self, name: bytes, content: bytes = b"x") -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{Folder.RAW}/{name.decode()}", Body=content)

    def remove(self, name: bytes) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=f"{self.prefix}/{Folder.RAW}/{name.decode()}")

    def below(self, folder: Folder) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/{folder}/").get("Contents", [])
        return [each["Key"].removeprefix(f"{self.prefix}/{folder}/") for each in found]

    def left_over(self) -> list[str]:
        uploads = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=self.prefix).get("Uploads", [])
        return [each["Key"] for each in uploads] + [p.name for p in self.local.rglob("*") if p.is_file()]


Place = DirectoryPlace | BucketPlace


def names(store: Store, after: str = "") -> list[str]:
    """The names of the inputs, as listed."""
    return [entry.name for entry in store.list_inputs(after) if isinstance(entry, InputEntry)]
