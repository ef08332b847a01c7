"""The storage interface, ``Store``. ``recordings.storage.directory`` and ``recordings.storage.s3`` implement it.

A store knows keys and bytes. It knows nothing of recordings' states, batches or audio.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from recordings.batches import OPTIONS_MARK
from recordings.layout import Folder

# Names that writers use while they write: browsers, rsync, editors, cloud clients, scp wrappers.
TEMPORARY_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")
REFERENCE_SUFFIX = ".ref.txt"
OPTIONS_SUFFIX = ".options.yaml"
"""Of the file beside a recording that holds options of its own; see ``recordings.steps.sidecar``."""
BLOCK_BYTES = 2**20
"""How much is read and handed on at a time."""

_DOCUMENTATION = re.compile(r"(readme|licen[cs]e|notice)(\.(md|txt|rst))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class InputEntry:
    """A file in the input folder as a listing shows it; nobody has read its bytes.

    Attributes:
        name: Its name (see ``recordings.layout``).
        size: Bytes.
        version: Version of the content: mtime in nanoseconds, or ETag. It changes when the file is written. Where a file of
            options lies beside it, the size and version of that file are part of it; see ``with_options_file``.
        modified: Last modification, seconds since the epoch; of the file of options if that is later.
    """

    name: str
    size: int
    version: str
    modified: float

    def with_options_file(self, size: int, version: str, modified: float) -> InputEntry:
        """The same input with a file of options beside it, so that a new or changed one makes a new delivery."""
        return replace(
            self, version=f"{self.version}{OPTIONS_MARK}{size}-{version}", modified=max(self.modified, modified)
        )


@dataclass(frozen=True, slots=True)
class IgnoredEntry:
    """An entry of the input folder that is not an input, with the reason and, if known, its modification time."""

    name: str
    reason: str
    modified: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What is stored under a key.

    Attributes:
        key: The key.
        size: Bytes.
        etag: Without quotes; it changes with the content.
        modified: Last modification, seconds since the epoch.
    """

    key: str
    size: int
    etag: str
    modified: float


@dataclass(frozen=True, slots=True)
class RangeStream:
    """The answer to a read: what is under the key, and an iterator over the requested bytes.

    Attributes:
        size: Bytes of the whole object.
        start: Position of the first byte in ``blocks``.
        length: Number of bytes in ``blocks``.
        is_partial: Whether only the requested range is sent; a server may ignore the range and send everything.
        etag: Which version, without quotes.
        modified: Last modification, seconds since the epoch.
        blocks: The bytes, at most ``BLOCK_BYTES`` at a time; each block is read when it is asked for.
    """

    size: int
    start: int
    length: int
    is_partial: bool
    etag: str
    modified: float
    blocks: Iterator[bytes]


class InvalidRangeError(Exception):
    """The requested range begins behind the last byte.

    Attributes:
        size: Bytes of the whole object.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"there are {size} bytes")
        self.size = size


class UnknownStoreError(ValueError):
    """The address of the store names none that we know."""


class UnwritableKeyError(Exception):
    """The key can never be written: a folder has this name, a file has the name of a needed folder, or the path is too long.

    The name is at fault, not the machine, so this is no ``OSError``: another try fails in the same way.
    """


class KeyExistsError(Exception):
    """The key already exists, and ``if_absent`` was given."""


class Store(Protocol):
    """Bytes under keys. A key is a folder of ``recordings.layout.Folder`` and a path below it."""

    @property
    def folder(self) -> Path | None:
        """The local folder that holds everything; None when the store is not on this machine."""

    @property
    def has_atomic_writes(self) -> bool:
        """Whether a listing shows only complete objects (true for S3, false for a directory)."""

    def prepare(self) -> None:
        """Create the folders, or check that the bucket exists. Call it once, before anything is written.

        Raises:
            OSError: Its folders cannot be made, or the bucket cannot be reached.
        """

    def probe(self) -> str:
        """Write and remove something small, and say in a few words what was found.

        Raises:
            OSError: It cannot be written.
        """

    def list_inputs(self, after: str = "") -> Iterator[InputEntry | IgnoredEntry]:
        """Everything in the input folder in the store's own order, beginning behind the name ``after``.

        A directory and S3 order by the bytes of names; some servers that speak S3 order folder by folder.
        """

    def find_input(self, name: str) -> InputEntry | None:
        """The input of that name as it is now; None when there is none."""

    def fetch(self, key: str) -> AbstractContextManager[Path]:
        """A readable local path of the key's bytes, for as long as the context lasts.

        Raises:
            FileNotFoundError: No such key.
        """

    def stat(self, key: str) -> ObjectStat | None:
        """What is under a key; None when it holds no bytes. In a directory a symbolic link below the top folder holds none."""

    def open_range(self, key: str, byte_range: str | None = None) -> RangeStream:
        """Begin to read a key's bytes, or a range of them; all come from one version.

        Args:
            key: Which key, under the same rule as ``stat``.
            byte_range: One range as HTTP writes it, such as ``bytes=100-`` or ``bytes=-500``; None: everything.

        Raises:
            FileNotFoundError: No such key.
            InvalidRangeError: The range lies behind the end.
        """

    def create(self, key: str, *, if_absent: bool = False) -> AbstractContextManager[Path]:
        """A local path to write to; when the context ends without an error, the file atomically becomes the content of the key.

        Args:
            key: Which key; what it held is replaced.
            if_absent: Do not replace an existing key: of several writers at the same time exactly one succeeds.

        Raises:
            KeyExistsError: ``if_absent`` was asked for and the key holds bytes; a bucket lets the same bytes pass.
            UnwritableKeyError: The key can never hold bytes.
            OSError: An infrastructure error; for a failed write it names the path.
        """

    def get_unwritable_reason(self, key: str) -> str | None:
        """The reason why the key cannot be written now, for the end of a sentence; None if it can."""

    def exists(self, key: str) -> bool:
        """Whether the key holds bytes."""

    def copy(self, source: str, target: str) -> None:
        """Give ``target`` the bytes of ``source``, all or nothing."""

    def locate(self, key: str) -> str:
        """Where a person finds the key: a path or a URI."""

    def temp_path(self, folder: Folder, name: str) -> Path:
        """A local path for work in progress.

        A later process on this machine can continue the work; ``sweep`` removes the file when it is old.
        """

    def sweep(self, older_than_s: float) -> int:
        """Remove files and uploads that a killed process left unfinished; returns how many."""


def get_ignore_reason(base_name: str) -> str | None:
    """Why a file of that name is no input, or None. Pure: looks at the name alone."""
    if base_name.startswith("."):
        return "hidden name"
    lowered = base_name.lower()
    if lowered.endswith(TEMPORARY_SUFFIXES):
        return "temporary name"
    if lowered.endswith(REFERENCE_SUFFIX):
        return "reference transcript"
    if base_name.endswith(OPTIONS_SUFFIX):
        return "options of a recording"
    if _DOCUMENTATION.fullmatch(base_name):
        return "documentation"
    return None
