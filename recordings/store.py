"""The storage interface (``Store``) and its implementation on a directory. ``recordings.bucket`` has the one on S3.

A store knows keys and bytes. It knows nothing of recordings' states, batches or audio.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from recordings.names import Folder, decode_name, encode_name
from recordings.scratch import sweep_files, temporary
from recordings.trouble import writing_to

if TYPE_CHECKING:
    from recordings.bucket import BucketStore

# Names that writers use while they write: browsers, rsync, editors, cloud clients, scp wrappers.
TEMPORARY_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp", "~")
REFERENCE_SUFFIX = ".ref.txt"
_DOCUMENTATION = re.compile(r"(readme|licen[cs]e|notice)(\.(md|txt|rst))?", re.IGNORECASE)
_TEMPORARY_FOLDER = ".tmp"

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})  # FAT, some network and FUSE mounts
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
        version: Version of the content: mtime in nanoseconds, or ETag. It changes when the file is written.
        modified: Last modification, seconds since the epoch.
    """

    name: str
    size: int
    version: str
    modified: float


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry of the input folder that is not an input, with the reason and, if known, its modification time."""

    name: str
    why: str
    modified: float = field(default=0.0, compare=False)


class UnknownStore(ValueError):  # noqa: N818 - reads as what it says
    """The address of the store names none that we know."""


class NoPlace(Exception):  # noqa: N818 - reads as what it says
    """The key can never be written: a folder has this name, a file has the name of a needed folder, or the path is too long.

    The fault of a name, not of the machine, so it is no ``OSError``: trying again changes nothing.
    """


class AlreadyThere(Exception):  # noqa: N818 - reads as what it says
    """The key already exists, and ``first`` was given."""


class Store(Protocol):
    """Bytes under keys. A key is a folder of ``recordings.names.Folder`` and a path below it."""

    @property
    def folder(self) -> Path | None:
        """Where everything lies on this machine; None when it lies elsewhere."""

    @property
    def lists_whole(self) -> bool:
        """Whether a listing shows only complete objects (true for S3, false for a directory)."""

    def probe(self) -> str:
        """Write and remove something small, and say in a few words what was found.

        Raises:
            OSError: It cannot be written.
        """

    def inputs(self, after: str = "") -> Iterator[Entry | Ignored]:
        """Everything in the input folder in the store's own order, beginning behind the name ``after``.

        A directory and S3 order by the bytes of names; some servers that speak S3 order folder by folder.
        """

    def look(self, name: str) -> Entry | None:
        """The input of that name as it is now; None when there is none."""

    def fetch(self, key: str) -> AbstractContextManager[Path]:
        """A readable local path of the key's bytes, for as long as the context lasts.

        Raises:
            FileNotFoundError: No such key.
        """

    def create(self, key: str, *, first: bool = False) -> AbstractContextManager[Path]:
        """A local path to write to; when the context ends without an error, the file atomically becomes the content of the key.

        Args:
            key: Which key; what it held is replaced.
            first: Do not replace an existing key: of several writers at the same time exactly one succeeds.

        Raises:
            AlreadyThere: ``first`` was asked for and the key holds bytes; a bucket lets the same bytes pass.
            NoPlace: The key can never hold bytes.
            OSError: An infrastructure error; for a failed write it names the path.
        """

    def refusal(self, key: str) -> str | None:
        """The reason why the key cannot be written now, for the end of a sentence; None if it can."""

    def exists(self, key: str) -> bool:
        """Whether the key holds bytes."""

    def copy(self, source: str, target: str) -> None:
        """Give ``target`` the bytes of ``source``, all or nothing."""

    def locate(self, key: str) -> str:
        """Where a person finds the key: a path or a URI."""

    def scratch(self, folder: Folder, name: str) -> Path:
        """A local path for work in progress, which a later process on this machine can go on with; swept when it is old."""

    def sweep(self, older_than_s: float) -> int:
        """Remove what a killed process left half written; returns how many."""


def open_store(url: str) -> Store:
    """The store at a URL: a directory, ``file:///path``, or a bucket and where in it, ``s3://bucket/prefix``.

    Raises:
        UnknownStore: No store is known for the scheme.
        OSError: Its folders cannot be made, or the bucket cannot be reached.
    """
    store = store_at(url)
    store.prepare()
    return store


def store_at(url: str) -> DirectoryStore | BucketStore:
    """The store at a URL, without creating folders or contacting a server. For readers only.

    Raises:
        UnknownStore: No store is known for the scheme.
    """
    scheme, _, path = url.partition("://")
    if scheme == "s3" and path.strip("/"):
        from recordings.bucket import bucket_at

        return bucket_at(url)
    if scheme != "file" or not path.startswith("/"):
        raise UnknownStore(
            f"No store is known for {url!r}. Give a directory as file:///absolute/path, or a bucket as s3://bucket/prefix."
        )
    return DirectoryStore(Path(unquote(path)))


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

    lists_whole = False

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.root)!r})"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in Folder:
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """See ``Store.folder``."""
        return self.root

    def probe(self) -> str:
        """See ``Store.probe``."""
        for folder in Folder:
            with tempfile.TemporaryFile(dir=self.root / folder):
                pass
        return f"{self.root} is writable, {shutil.disk_usage(self.root).free / 1024**3:.1f} GiB free"

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
        try:
            regular = stat.S_ISREG(os.lstat(path).st_mode)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        if not regular:
            raise FileNotFoundError(f"{path} is no regular file")
        yield path

    def file(self, key: str) -> Path | None:
        """The key's own file; None when there is none, or when a symbolic link stands anywhere below the top folder.

        The top folder itself may be one, to a volume of its own.
        """
        top, _, below = key.partition("/")
        try:
            home = (self.root / top).resolve(strict=True)
            path = (home / below).resolve(strict=True)
            return path if path == home / below and stat.S_ISREG(path.lstat().st_mode) else None
        except (OSError, ValueError, RuntimeError) as error:
            # ValueError: the name contains NUL. RuntimeError: a loop of symbolic links, before Python 3.13.
            if isinstance(error, OSError) and error.errno not in {*_NOT_THERE, errno.ELOOP}:
                raise
            return None

    @contextmanager
    def create(self, key: str, *, first: bool = False) -> Iterator[Path]:
        """See ``Store.create``."""
        target = self._path(key)
        with writing_to(target), temporary(self._scratch(key.split("/", 1)[0])) as ours:
            yield ours
            _flush(ours)
            _move(ours, target, first)

    def refusal(self, key: str) -> str | None:
        """See ``Store.refusal``."""
        path = self._path(key)
        try:
            return _NO_PLACE[errno.EISDIR] if stat.S_ISDIR(os.lstat(path).st_mode) else None
        except OSError as error:
            return _NO_PLACE.get(error.errno or 0)

    def exists(self, key: str) -> bool:
        """See ``Store.exists``."""
        try:
            return self._path(key).is_file()
        except OSError as error:
            if error.errno not in _NOT_THERE:  # a name that is too long, say, is no trouble
                raise
            return False

    def copy(self, source: str, target: str) -> None:
        """See ``Store.copy``."""
        with self.fetch(source) as path, self.create(target) as temporary:
            shutil.copyfile(path, temporary)

    def locate(self, key: str) -> str:
        """See ``Store.locate``."""
        return str(self._path(key))

    def scratch(self, folder: Folder, name: str) -> Path:
        """See ``Store.scratch``."""
        path = self._scratch(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def sweep(self, older_than_s: float) -> int:
        """See ``Store.sweep``. What another process writes right now is locked, and young where there are no locks."""
        oldest = time.time() - older_than_s
        return sum(sweep_files(self._scratch(folder), oldest) for folder in Folder)

    def _scratch(self, folder: str) -> Path:
        return self.root / folder / _TEMPORARY_FOLDER


def _move(source: Path, target: Path, first: bool) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if first and _linked(source, target):
            return
        source.replace(target)
    except OSError as error:
        why = _NO_PLACE.get(error.errno or 0)
        if why is None:
            raise
        raise NoPlace(f"{target} cannot be written: {why}.") from error


def _linked(source: Path, target: Path) -> bool:
    """Hard-link the file to a new name.

    Raises AlreadyThere if the name exists; returns False if the file system has no hard links and the name is free.
    """
    try:
        os.link(source, target)
    except FileExistsError as error:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target)) from error
        raise AlreadyThere(f"{target} is there already.") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise AlreadyThere(f"{target} is there already.") from error
        return False
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name=name, size=status.st_size, version=str(status.st_mtime_ns), modified=status.st_mtime)


def _walk(top: bytes, after: str) -> Iterator[Entry | Ignored]:
    """Entries in the order of their paths' bytes: a folder sorts as its name with a slash, as S3 lists it.

    Keeps its own stack, because a folder tree may be deeper than Python's.
    """
    behind = decode_name(after)
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
            if not child.name.startswith(b".") and path + b"0" > behind:
                stack.append(_children(top, path))
        elif path > behind:
            why = _why_no_input(child)
            if why:
                yield Ignored(name, why)
                continue
            try:
                yield _entry(name, child.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue  # deleted between listing and stat: the next scan will notice
            except OSError as error:
                yield Ignored(name, _NO_PLACE.get(error.errno or 0, "not readable"))


def _children(top: bytes, below: bytes) -> Iterator[tuple[os.DirEntry[bytes] | None, bytes]]:
    """The entries of a folder in order with their paths below ``top``; ``(None, below)`` when it cannot be read."""
    try:
        with os.scandir(os.path.join(top, below)) as listing:  # noqa: PTH118 - bytes, because a name may not be valid text
            children = sorted(listing, key=_sort_key)
    except OSError:
        yield None, below or b"."
        return
    for child in children:
        yield child, below + b"/" + child.name if below else child.name


def _sort_key(child: os.DirEntry[bytes]) -> bytes:
    return child.name + b"/" * child.is_dir(follow_symlinks=False)


def _why_no_input(child: os.DirEntry[bytes]) -> str | None:
    if child.is_symlink():
        return "symbolic link"
    if not child.is_file(follow_symlinks=False):
        return "not a regular file"
    return why_ignored(os.fsdecode(child.name))
