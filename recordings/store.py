"""Where the bytes live: the interface every store has, and the one on a directory.

A store knows keys and bytes. It knows nothing of recordings' states, batches or audio.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from recordings.names import Folder, decode_name, encode_name
from recordings.trouble import FULL, NOT_WRITABLE

# Names that writers use while they write: browsers, rsync, editors, cloud clients, scp wrappers.
TEMPORARY_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")
REFERENCE_SUFFIX = ".ref.txt"
_DOCUMENTATION = re.compile(r"(readme|licen[cs]e|notice)(\.(md|txt|rst))?", re.IGNORECASE)
_TEMPORARY_FOLDER = ".tmp"

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_NO_PLACE = {
    errno.EISDIR: "a folder has that name",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.ENAMETOOLONG: "the path is longer than the file system allows",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the input folder as a listing shows it; nobody has read its bytes.

    Attributes:
        name: Its name (see ``recordings.names``).
        size: Bytes.
        version: What changes when the content may have: mtime in nanoseconds, or an ETag.
        modified: Last modification, seconds since the epoch.
    """

    name: str
    size: int
    version: str
    modified: float


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something in the input folder that is no input, and why."""

    name: str
    why: str


class UnknownStore(ValueError):  # noqa: N818 - reads as what it says
    """The address of the store names none that we know."""


class NoPlace(Exception):  # noqa: N818 - reads as what it says
    """No file of that name can ever stand there: a folder has the name, a file has a folder's, or the path is too long.

    The fault of a name, not of the machine, so it is no ``OSError``: trying again changes nothing.
    """


class Store(Protocol):
    """Bytes under keys. A key is a folder of ``recordings.names.Folder`` and a path below it."""

    def inputs(self, after: str = "") -> Iterator[Entry | Ignored]:
        """Everything in the input folder in the byte order of names, beginning behind ``after``."""

    def look(self, name: str) -> Entry | None:
        """The input of that name as it is now; None when there is none."""

    def fetch(self, key: str) -> AbstractContextManager[Path]:
        """A readable local path of the key's bytes, for as long as the context lasts.

        Raises:
            FileNotFoundError: No such key.
        """

    def create(self, key: str) -> AbstractContextManager[Path]:
        """A local path to write to; what stands there when the context ends well becomes the key's bytes, all or nothing.

        Raises:
            NoPlace: The key can never hold bytes.
            OSError: The machine's trouble, with the place if it is about writing.
        """

    def refusal(self, key: str) -> str | None:
        """Why the key could not hold bytes as things stand, as the end of a sentence; None when it can."""

    def exists(self, key: str) -> bool:
        """Whether the key holds bytes."""

    def copy(self, source: str, target: str) -> None:
        """Give ``target`` the bytes of ``source``, all or nothing."""

    def locate(self, key: str) -> str:
        """Where a person finds the key: a path or a URI."""

    def sweep(self, older_than_s: float) -> int:
        """Remove what a killed process left half written; returns how many."""


def open_store(url: str) -> Store:
    """The store at a URL; today a directory, ``file:///path``.

    Raises:
        UnknownStore: No store is known for the scheme.
        OSError: Its folders cannot be made.
    """
    scheme, _, path = url.partition("://")
    if scheme != "file" or not path.startswith("/"):
        raise UnknownStore(f"No store is known for {url!r}. Give a directory as file:///absolute/path.")
    store = DirectoryStore(Path(unquote(path)))
    store.prepare()
    return store


def why_ignored(base_name: str) -> str | None:
    """Why a file of that name is no input, or None. Pure: looks at the name alone."""
    if base_name.startswith("."):
        return "hidden name"
    lowered = base_name.lower()
    if lowered.endswith(TEMPORARY_SUFFIXES):
        return "temporary name"
    if lowered.endswith(REFERENCE_SUFFIX):
        return "reference transcript"
    if _DOCUMENTATION.fullmatch(base_name):
        return "documentation"
    return None


class DirectoryStore:
    """A store on a directory, local or mounted.

    Writes go to a temporary name below the same top folder (so that each top folder may be a volume of its own), are flushed
    to the disk and renamed. Symbolic links are never followed below the root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.root)!r})"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in Folder:
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        relative = os.fsdecode(decode_name(key)) if key.startswith(f"{Folder.RAW}/") else key
        return self.root / relative

    def inputs(self, after: str = "") -> Iterator[Entry | Ignored]:
        """See ``Store.inputs``. A folder that vanishes or cannot be read while we look is reported as ignored, not fatal."""
        yield from _walk(os.fsencode(self.root / Folder.RAW), after)

    def look(self, name: str) -> Entry | None:
        """See ``Store.look``."""
        try:
            status = os.lstat(self._path(f"{Folder.RAW}/{name}"))
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            return None
        return _entry(name, status) if stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def fetch(self, key: str) -> Iterator[Path]:
        """See ``Store.fetch``."""
        path = self._path(key)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileNotFoundError(f"{path} is no regular file")
        yield path

    @contextmanager
    def create(self, key: str) -> Iterator[Path]:
        """See ``Store.create``."""
        target = self._path(key)
        scratch = self.root / key.split("/", 1)[0] / _TEMPORARY_FOLDER
        scratch.mkdir(parents=True, exist_ok=True)
        temporary = scratch / secrets.token_hex(8)
        try:
            with temporary.open("xb") as ours:
                with suppress(OSError):  # without locks, the age alone protects it
                    fcntl.flock(ours, fcntl.LOCK_SH | fcntl.LOCK_NB)
                yield temporary
                _flush(temporary)
                _move(temporary, target)
        except OSError as error:
            if error.filename is None and error.errno in FULL | NOT_WRITABLE:
                error.filename = str(target)  # a failed write does not say where
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def refusal(self, key: str) -> str | None:
        """See ``Store.refusal``."""
        path = self._path(key)
        try:
            return _NO_PLACE[errno.EISDIR] if stat.S_ISDIR(os.lstat(path).st_mode) else None
        except OSError as error:
            return _NO_PLACE.get(error.errno or 0)

    def exists(self, key: str) -> bool:
        """See ``Store.exists``."""
        return self._path(key).is_file()

    def copy(self, source: str, target: str) -> None:
        """See ``Store.copy``."""
        with self.fetch(source) as path, self.create(target) as temporary:
            shutil.copyfile(path, temporary)

    def locate(self, key: str) -> str:
        """See ``Store.locate``."""
        return str(self._path(key))

    def sweep(self, older_than_s: float) -> int:
        """See ``Store.sweep``. What another process writes right now is locked, and young where there are no locks."""
        oldest = time.time() - older_than_s
        scratch = (self.root / folder / _TEMPORARY_FOLDER for folder in Folder)
        return sum(_swept(left, oldest) for each in scratch for left in each.glob("*"))


def _swept(left: Path, oldest: float) -> bool:
    """Remove a temporary file that nobody has open for writing and that was last touched before a time."""
    try:
        with left.open("rb") as file:
            # Not mtime: a copy brings the one of its source along. Nobody can set ctime back.
            if os.fstat(file.fileno()).st_ctime >= oldest:
                return False
            with suppress(OSError):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            left.unlink()
    except OSError:
        return False  # its writer has just finished, or it is another user's
    return True


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    except OSError as error:
        why = _NO_PLACE.get(error.errno or 0)
        if why is None:
            raise
        raise NoPlace(f"{target} cannot be written: {why}.") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name=name, size=status.st_size, version=str(status.st_mtime_ns), modified=status.st_mtime)


def _walk(top: bytes, after: str) -> Iterator[Entry | Ignored]:
    """Entries in the order of whole names: a folder sorts as its name with a slash, as object stores list it.

    Keeps its own stack, because a folder tree may be deeper than Python's.
    """
    stack = [_children(top, b"")]
    while stack:
        child, path = next(stack[-1], (None, b""))
        name = encode_name(path)
        if child is None:
            stack.pop()
            if path:
                yield Ignored(name, "folder not readable")
        elif child.is_dir(follow_symlinks=False):
            # "0" follows "/", so anything below the folder may still be behind `after`.
            if not child.name.startswith(b".") and name + "0" > after:
                stack.append(_children(top, path))
        elif name > after:
            why = _why_no_input(child)
            if why:
                yield Ignored(name, why)
                continue
            try:
                yield _entry(name, child.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue  # gone between the listing and the look: the next listing tells
            except OSError as error:
                yield Ignored(name, _NO_PLACE.get(error.errno or 0, "not readable"))


def _children(top: bytes, below: bytes) -> Iterator[tuple[os.DirEntry[bytes] | None, bytes]]:
    """The entries of a folder in order with their paths below ``top``; ``(None, below)`` when it cannot be read."""
    try:
        with os.scandir(os.path.join(top, below)) as listing:  # noqa: PTH118 - bytes, because a name may be no text
            children = sorted(listing, key=_sort_key)
    except OSError:
        yield None, below or b"."
        return
    for child in children:
        yield child, below + b"/" + child.name if below else child.name


def _sort_key(child: os.DirEntry[bytes]) -> str:
    return encode_name(child.name) + "/" * child.is_dir(follow_symlinks=False)


def _why_no_input(child: os.DirEntry[bytes]) -> str | None:
    if child.is_symlink():
        return "symbolic link"
    if not child.is_file(follow_symlinks=False):
        return "not a regular file"
    return why_ignored(os.fsdecode(child.name))
