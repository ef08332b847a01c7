"""The store in a directory of this machine, or of a network file system."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recordings.layout import Folder, decode_name, encode_name
from recordings.storage.base import (
    BLOCK_BYTES,
    OPTIONS_SUFFIX,
    IgnoredEntry,
    InputEntry,
    InvalidRangeError,
    KeyExistsError,
    ObjectStat,
    RangeStream,
    UnwritableKeyError,
    get_ignore_reason,
)
from recordings.storage.errors import add_path_to_errors
from recordings.storage.tempfiles import sweep_files, temporary_file

_Child = os.DirEntry[bytes]

_TEMPORARY_FOLDER = ".tmp"
_OPTIONS_SUFFIX = OPTIONS_SUFFIX.encode()
_BYTE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


_NOT_FOUND_ERRNOS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


_NO_HARD_LINK_ERRNOS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)  # FAT, some network and FUSE mounts


_UNWRITABLE_REASONS = {
    errno.EISDIR: "a folder has that name",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.ENAMETOOLONG: "the path is longer than the file system allows",
}


class DirectoryStore:
    """A store on a directory, local or mounted.

    Writes go to a temporary name below the same top folder (so that each top folder may be a volume of its own), are flushed
    to the disk and renamed. Symbolic links are never followed below the root.
    """

    has_atomic_writes = False

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.root)!r})"

    def prepare(self) -> None:
        """See ``Store.prepare``."""
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

    def list_inputs(self, after: str = "") -> Iterator[InputEntry | IgnoredEntry]:
        """See ``Store.list_inputs``. A folder that vanishes or cannot be read is reported as ignored; the listing goes on."""
        yield from _walk(os.fsencode(self.root / Folder.RAW), after)

    def find_input(self, name: str) -> InputEntry | None:
        """See ``Store.find_input``."""
        status = self._stat_regular(f"{Folder.RAW}/{name}")
        return _entry(name, status, self._stat_regular(f"{Folder.RAW}/{name}{OPTIONS_SUFFIX}")) if status else None

    def _stat_regular(self, key: str) -> os.stat_result | None:
        try:
            status = os.lstat(self._path(key))
        except OSError as error:
            if error.errno not in _NOT_FOUND_ERRNOS:
                raise
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def fetch(self, key: str) -> Iterator[Path]:
        """See ``Store.fetch``."""
        path = self._path(key)
        try:
            regular = stat.S_ISREG(os.lstat(path).st_mode)
        except OSError as error:
            if error.errno not in _NOT_FOUND_ERRNOS:
                raise
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        if not regular:
            raise FileNotFoundError(f"{path} is no regular file")
        yield path

    def stat(self, key: str) -> ObjectStat | None:
        """See ``Store.stat``."""
        path = self._resolve_file(key)
        return _object_stat(key, path.stat()) if path else None

    def open_range(self, key: str, byte_range: str | None = None) -> RangeStream:
        """See ``Store.open_range``."""
        path = self._resolve_file(key)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.locate(key))
        file = path.open("rb")
        object_stat = _object_stat(key, os.fstat(file.fileno()))
        try:
            byte_span = _parse_range(byte_range, object_stat.size) if byte_range else None
        except InvalidRangeError:
            file.close()
            raise
        start, length = byte_span or (0, object_stat.size)
        blocks = _read_blocks(file, start, length)
        return RangeStream(
            object_stat.size, start, length, byte_span is not None, object_stat.etag, object_stat.modified, blocks
        )

    def _resolve_file(self, key: str) -> Path | None:
        """The file of a key; None when there is none, or when a part of the path below the top folder is a symbolic link.

        The top folder itself may be a symbolic link, for example to another volume.
        """
        top, _, below = key.partition("/")
        try:
            top_folder = (self.root / top).resolve(strict=True)
            path = (top_folder / below).resolve(strict=True)
            return path if path == top_folder / below and stat.S_ISREG(path.lstat().st_mode) else None
        except (OSError, ValueError, RuntimeError) as error:
            # ValueError: the name contains NUL. RuntimeError: a loop of symbolic links, before Python 3.13.
            if isinstance(error, OSError) and error.errno not in {*_NOT_FOUND_ERRNOS, errno.ELOOP}:
                raise
            return None

    @contextmanager
    def create(self, key: str, *, if_absent: bool = False) -> Iterator[Path]:
        """See ``Store.create``."""
        target = self._path(key)
        with add_path_to_errors(target), temporary_file(self._temp_folder(key.split("/", 1)[0])) as temporary:
            yield temporary
            _flush(temporary)
            _publish(temporary, target, if_absent)

    def get_unwritable_reason(self, key: str) -> str | None:
        """See ``Store.get_unwritable_reason``."""
        path = self._path(key)
        try:
            return _UNWRITABLE_REASONS[errno.EISDIR] if stat.S_ISDIR(os.lstat(path).st_mode) else None
        except OSError as error:
            return _UNWRITABLE_REASONS.get(error.errno or 0)

    def exists(self, key: str) -> bool:
        """See ``Store.exists``."""
        try:
            return self._path(key).is_file()
        except OSError as error:
            if error.errno not in _NOT_FOUND_ERRNOS:  # a name that is too long, for example, means "not found"
                raise
            return False

    def copy(self, source: str, target: str) -> None:
        """See ``Store.copy``."""
        with self.fetch(source) as path, self.create(target) as temporary:
            shutil.copyfile(path, temporary)

    def locate(self, key: str) -> str:
        """See ``Store.locate``."""
        return str(self._path(key))

    def temp_path(self, folder: Folder, name: str) -> Path:
        """See ``Store.temp_path``."""
        path = self._temp_folder(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def sweep(self, older_than_s: float) -> int:
        """See ``Store.sweep``. A file that another process is writing is locked; without locks, its age protects it."""
        oldest = time.time() - older_than_s
        return sum(sweep_files(self._temp_folder(folder), oldest) for folder in Folder)

    def _temp_folder(self, folder: str) -> Path:
        return self.root / folder / _TEMPORARY_FOLDER


def _publish(source: Path, target: Path, if_absent: bool) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if if_absent and _link_exclusively(source, target):
            return
        source.replace(target)
    except OSError as error:
        reason = _UNWRITABLE_REASONS.get(error.errno or 0)
        if reason is None:
            raise
        raise UnwritableKeyError(f"{target} cannot be written: {reason}.") from error


def _link_exclusively(source: Path, target: Path) -> bool:
    """Hard-link the file to a new name.

    Returns:
        False if the file system has no hard links and the name is free.

    Raises:
        KeyExistsError: The name exists.
        IsADirectoryError: The name is that of a folder.
    """
    try:
        os.link(source, target)
    except FileExistsError as error:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target)) from error
        raise KeyExistsError(f"{target} is there already.") from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINK_ERRNOS:
            raise
        if target.exists():
            raise KeyExistsError(f"{target} is there already.") from error
        return False
    return True


def _object_stat(key: str, status: os.stat_result) -> ObjectStat:
    return ObjectStat(key, status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}", status.st_mtime)


def _parse_range(byte_range: str, size: int) -> tuple[int, int] | None:
    """First byte and length of a range as HTTP writes it (RFC 9110, section 14.1.2); None for a range that must be ignored."""
    parts = _BYTE_RANGE.fullmatch(byte_range)
    if parts is None or parts[1] == parts[2] == "":
        return None
    if not parts[1]:
        start, end = max(0, size - int(parts[2])), size
    else:
        start, end = int(parts[1]), min(size, int(parts[2]) + 1) if parts[2] else size
        if parts[2] and int(parts[2]) < start:
            return None
    if start >= size:
        raise InvalidRangeError(size)
    return start, end - start


def _read_blocks(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while length and (block := file.read(min(BLOCK_BYTES, length))):
            length -= len(block)
            yield block


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(name: str, status: os.stat_result, options_file: os.stat_result | None) -> InputEntry:
    entry = InputEntry(name=name, size=status.st_size, version=str(status.st_mtime_ns), modified=status.st_mtime)
    if options_file is None:
        return entry
    return entry.with_options_file(options_file.st_size, str(options_file.st_mtime_ns), options_file.st_mtime)


def _walk(top: bytes, after: str) -> Iterator[InputEntry | IgnoredEntry]:
    """Entries in the order of their paths' bytes: a folder sorts as its name with a slash, as S3 lists it.

    Keeps its own stack, because a folder tree may be deeper than Python's.
    """
    after_path = decode_name(after)
    stack = [_list_children(top, b"")]
    while stack:
        child, path, options_file = next(stack[-1], (None, b"", None))
        name = encode_name(path)
        if child is None:
            stack.pop()
            if path:
                yield IgnoredEntry(name, "folder not readable")
        elif child.is_dir(follow_symlinks=False):
            # "0" follows "/", so if this holds, something below the folder may still sort behind ``after``.
            if not child.name.startswith(b".") and path + b"0" > after_path:
                stack.append(_list_children(top, path))
        elif path > after_path:
            reason = _get_entry_ignore_reason(child)
            if reason:
                yield IgnoredEntry(name, reason)
                continue
            try:
                yield _entry(name, child.stat(follow_symlinks=False), _stat_if_regular(options_file))
            except FileNotFoundError:
                continue  # deleted between listing and stat: the next scan will notice
            except OSError as error:
                yield IgnoredEntry(name, _UNWRITABLE_REASONS.get(error.errno or 0, "not readable"))


def _list_children(top: bytes, below: bytes) -> Iterator[tuple[_Child | None, bytes, _Child | None]]:
    """The entries of a folder in order, with their paths below ``top`` and the file of options beside them.

    One ``(None, below, None)`` when the folder cannot be read.
    """
    try:
        with os.scandir(os.path.join(top, below)) as listing:  # noqa: PTH118 - bytes, because a name may not be valid text
            children = sorted(listing, key=_sort_key)
    except OSError:
        yield None, below or b".", None
        return
    options_files = {child.name: child for child in children if child.name.endswith(_OPTIONS_SUFFIX)}
    for child in children:
        options_file = options_files.get(child.name + _OPTIONS_SUFFIX)
        yield child, below + b"/" + child.name if below else child.name, options_file


def _stat_if_regular(child: _Child | None) -> os.stat_result | None:
    return child.stat(follow_symlinks=False) if child and child.is_file(follow_symlinks=False) else None


def _sort_key(child: _Child) -> bytes:
    return child.name + b"/" * child.is_dir(follow_symlinks=False)


def _get_entry_ignore_reason(child: _Child) -> str | None:
    if child.is_symlink():
        return "symbolic link"
    if not child.is_file(follow_symlinks=False):
        return "not a regular file"
    return get_ignore_reason(os.fsdecode(child.name))
