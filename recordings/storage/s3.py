"""The store in a bucket of S3, or of a server that speaks it: names to keys, and local files for as long as they are needed."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from recordings.layout import Folder, decode_name, encode_name
from recordings.storage.base import (
    OPTIONS_SUFFIX,
    IgnoredEntry,
    InputEntry,
    KeyExistsError,
    ObjectStat,
    RangeStream,
    UnwritableKeyError,
    get_ignore_reason,
)
from recordings.storage.errors import add_path_to_errors
from recordings.storage.s3_client import (
    InvalidKeyError,
    PreconditionFailedError,
    S3Client,
)
from recordings.storage.tempfiles import sweep_files, temporary_file

_MAX_HELD_BACK = 1000
"""Objects that a listing holds back until the files of options beside them are known; a page of a listing has as many."""

_MAX_KEY_BYTES = 1024  # bytes of UTF-8; S3's limit
_TEMPORARY_FOLDER = ".tmp"


def bucket_store_from_url(url: str) -> BucketStore:
    """Create the store for ``s3://bucket/prefix``. This does not check that the bucket exists."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return BucketStore(S3Client(bucket), unquote(prefix))


class BucketStore:
    """A store below a prefix of a bucket.

    S3 shows an object only when it is complete, so writes need no temporary keys. An object that is read or written is kept in a
    local file meanwhile (below ``TMPDIR``). Temporary work files are only on this machine. If they are lost, the step starts again
    for that recording.
    """

    has_atomic_writes = True

    def __init__(self, objects: S3Client, prefix: str = "") -> None:
        self._objects = objects
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        address = hashlib.sha256(self.locate("").encode()).hexdigest()[:16]
        self._local = Path(tempfile.gettempdir(), f"stt-{os.getuid()}", address)

    def __repr__(self) -> str:
        return f"BucketStore({self.locate('')!r})"

    def prepare(self) -> None:
        """See ``Store.prepare``. The local folder for work in progress can be read by this user only."""
        self._objects.check_bucket()
        self._local.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._local.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._local} belongs to another user: set TMPDIR elsewhere.")

    @property
    def folder(self) -> None:
        """See ``Store.folder``."""
        return

    def probe(self) -> str:
        """See ``Store.probe``."""
        key = f"{self._prefix}.stt-probe-{secrets.token_hex(8)}"
        with temporary_file(self._temp_folder("")) as path:
            path.write_bytes(b"probe")
            self._objects.upload(path, key)
            try:
                self._objects.download(key, path)
                next(self._objects.list(f"{self._prefix}{Folder.RAW}/"), None)
            finally:
                self._objects.remove(key)
        return f"{self.locate('')} can be listed, read and written"

    def list_inputs(self, after: str = "") -> Iterator[InputEntry | IgnoredEntry]:
        """See ``Store.list_inputs``."""
        top = f"{self._prefix}{Folder.RAW}/"
        start_after = self._key(f"{Folder.RAW}/{after}") if after else ""
        for stat, options_file in self._pair_with_options(self._objects.list(top, start_after)):
            below = stat.key.removeprefix(top)
            if not below:
                continue  # the input folder itself, as consoles make it
            name = encode_name(below.encode())
            reason = _get_key_ignore_reason(below)
            yield IgnoredEntry(name, reason, stat.modified) if reason else _entry(name, stat, options_file)

    def _pair_with_options(self, listing: Iterable[ObjectStat]) -> Iterator[tuple[ObjectStat, ObjectStat | None]]:
        """Every object with the file of options beside it, in the listing's order.

        A file of options comes later in a listing than its recording, and all keys between them begin with the recording's. So an
        object is held back only while keys that begin with its own are listed, and no more than ``_MAX_HELD_BACK`` are.
        """
        held_back: deque[ObjectStat] = deque()
        options_files: dict[str, ObjectStat] = {}  # recording's key -> the file beside it, of those held back
        for stat in listing:
            if stat.key.endswith(OPTIONS_SUFFIX):
                key = stat.key.removesuffix(OPTIONS_SUFFIX)
                if any(recording.key == key for recording in held_back):
                    options_files[key] = stat
            while held_back and not stat.key.startswith(held_back[0].key):
                first = held_back.popleft()
                yield first, options_files.pop(first.key, None)
            if len(held_back) >= _MAX_HELD_BACK:
                first = held_back.popleft()
                yield first, options_files.pop(first.key, None) or self._objects.stat(first.key + OPTIONS_SUFFIX)
            held_back.append(stat)
        for stat in held_back:
            yield stat, options_files.pop(stat.key, None)

    def find_input(self, name: str) -> InputEntry | None:
        """See ``Store.find_input``."""
        key = f"{Folder.RAW}/{name}"
        stat = self.stat(key)
        return _entry(name, stat, self.stat(key + OPTIONS_SUFFIX)) if stat else None

    @contextmanager
    def fetch(self, key: str) -> Iterator[Path]:
        """See ``Store.fetch``."""
        if self.get_unwritable_reason(key):
            raise FileNotFoundError(f"There is no {self.locate(key)}.")
        with self._temporary(key) as path:
            self._objects.download(self._key(key), path)
            yield path

    def stat(self, key: str) -> ObjectStat | None:
        """See ``Store.stat``."""
        return None if self.get_unwritable_reason(key) else self._objects.stat(self._key(key))

    def open_range(self, key: str, byte_range: str | None = None) -> RangeStream:
        """See ``Store.open_range``. After a broken connection a new one reads the rest."""
        if self.get_unwritable_reason(key):
            raise FileNotFoundError(f"There is no {self.locate(key)}.")
        return self._objects.open_range(self._key(key), byte_range)

    @contextmanager
    def create(self, key: str, *, if_absent: bool = False) -> Iterator[Path]:
        """See ``Store.create``."""
        self._check_writable(key)
        with self._temporary(key) as path:
            yield path
            with self._translate_errors(key):
                self._objects.upload(path, self._key(key), if_absent=if_absent)

    def get_unwritable_reason(self, key: str) -> str | None:
        """See ``Store.get_unwritable_reason``."""
        try:
            full_key = self._key(key)
        except UnicodeDecodeError:
            return "its name is no UTF-8, and S3 has no other"
        if len(full_key.encode()) > _MAX_KEY_BYTES:
            return f"the key is longer than the {_MAX_KEY_BYTES} bytes that S3 allows"
        return None

    def exists(self, key: str) -> bool:
        """See ``Store.exists``."""
        return self.get_unwritable_reason(key) is None and self._objects.stat(self._key(key)) is not None

    def copy(self, source: str, target: str) -> None:
        """See ``Store.copy``."""
        self._check_writable(target)
        with self._translate_errors(target):
            self._objects.copy(self._key(source), self._key(target))

    def locate(self, key: str) -> str:
        """See ``Store.locate``."""
        with suppress(UnicodeDecodeError):
            return f"s3://{self._objects.bucket}/{self._key(key)}"
        return f"s3://{self._objects.bucket}/{self._prefix}{key}"

    def temp_path(self, folder: Folder, name: str) -> Path:
        """See ``Store.temp_path``."""
        path = self._temp_folder(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def sweep(self, older_than_s: float) -> int:
        """See ``Store.sweep``: local files, and uploads in parts that nobody will complete."""
        oldest = time.time() - older_than_s
        local = sum(sweep_files(self._temp_folder(folder), oldest) for folder in ("", *Folder))
        return local + sum(self._objects.abort_uploads(f"{self._prefix}{folder}/", oldest) for folder in Folder)

    def _key(self, key: str) -> str:
        """The full object key. A delivered file keeps the original bytes of its name; an output uses the encoded name."""
        path = decode_name(key).decode() if key.startswith(f"{Folder.RAW}/") else key
        return self._prefix + path

    def _temp_folder(self, folder: str) -> Path:
        return self._local / folder / _TEMPORARY_FOLDER

    @contextmanager
    def _temporary(self, key: str) -> Iterator[Path]:
        folder = self._temp_folder(key.split("/", 1)[0])
        with add_path_to_errors(folder), temporary_file(folder) as path:
            yield path

    def _check_writable(self, key: str) -> None:
        reason = self.get_unwritable_reason(key)
        if reason is not None:
            raise UnwritableKeyError(f"{self.locate(key)} cannot be written: {reason}.")

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except InvalidKeyError as error:
            raise UnwritableKeyError(f"{self.locate(key)} cannot be written: {error}.") from error
        except PreconditionFailedError as error:
            raise KeyExistsError(str(error)) from error


def _entry(name: str, stat: ObjectStat, options_file: ObjectStat | None) -> InputEntry:
    entry = InputEntry(name=name, size=stat.size, version=stat.etag, modified=stat.modified)
    if options_file is None:
        return entry
    return entry.with_options_file(options_file.size, options_file.etag, options_file.modified)


def _get_key_ignore_reason(below: str) -> str | None:
    *folders, base_name = below.split("/")
    if any(folder.startswith(".") for folder in folders):
        return "hidden name"
    return get_ignore_reason(base_name) if base_name else "stands for a folder"
