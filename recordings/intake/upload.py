"""Copy files given by a person (``stt run PATH``) into the input folder."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recordings.layout import Folder, encode_name
from recordings.storage.base import (
    OPTIONS_SUFFIX,
    REFERENCE_SUFFIX,
    KeyExistsError,
    Store,
    UnwritableKeyError,
    get_ignore_reason,
)
from recordings.storage.errors import explain

log = logging.getLogger("stt")


class UploadError(Exception):
    """A given path cannot be taken in. The message says which one, why and what to do."""


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The result of ``upload_files``.

    Attributes:
        names: The names under which the files now stand, in the order given.
        already_inside: Names of given paths that are already in the input folder and were not copied. The empty string is the
            input folder itself.
        refused: A sentence for every file that could not be taken in; the others were.
    """

    names: tuple[str, ...]
    already_inside: tuple[str, ...]
    refused: tuple[str, ...]


def upload_files(store: Store, paths: Sequence[Path]) -> UploadResult:
    """Copy files, and folders with all that is in them, into the input folder.

    A file goes under its own name, a folder under its own name with the paths inside it kept. Modification times are kept too, so
    delivering the same file twice is one delivery. Files that a scan of the input folder would ignore (hidden or temporary names,
    symbolic links) are not copied. A reference text and an options file beside a recording are copied too, and replace older ones.

    Args:
        store: The store whose input folder receives the files.
        paths: Files and folders outside the input folder; a path inside it is delivered already.

    Raises:
        UploadError: A path does not exist or recordings may not be taken from there, and then nothing was copied; or every given
            path was refused, because it cannot be read or its name is taken by other bytes.
        OSError: The input folder cannot be written.
    """
    root = store.folder
    # Not resolve(): if the given path is a symbolic link, the recording gets the name of the link.
    absolute_paths = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100
    for path, absolute in zip(paths, absolute_paths, strict=True):
        _check_uploadable(path, absolute, root)
    names: list[str] = []
    already_inside: list[str] = []
    refused: list[str] = []
    for path, absolute in zip(paths, absolute_paths, strict=True):
        if root is not None and absolute.is_relative_to(root / Folder.RAW):
            below = absolute.relative_to(root / Folder.RAW)
            already_inside.append(encode_name(os.fsencode(below)) if below.parts else "")
            continue
        if absolute.is_file() and (reason := get_ignore_reason(absolute.name)):
            log.warning("%s is not taken in: %s.", path, reason)
            continue
        for file in _walk_files(absolute, root, refused) if absolute.is_dir() else (absolute,):
            try:
                names.append(_upload_file(store, file, absolute.parent))
                _upload_beside(store, file, names[-1], REFERENCE_SUFFIX)
            except UploadError as error:
                refused.append(str(error))
    if refused and not names and not already_inside:
        raise UploadError("\n".join(refused))
    return UploadResult(tuple(names), tuple(already_inside), tuple(refused))


def _check_uploadable(path: Path, absolute: Path, root: Path | None) -> None:
    if root is not None and absolute.is_relative_to(root) and not absolute.is_relative_to(root / Folder.RAW):
        raise UploadError(
            f"{path} lies in the data folder {root}. Recordings to be taken in lie under {root / Folder.RAW}, or elsewhere."
        )
    if not absolute.exists():
        raise UploadError(f"{path} does not exist.")
    if not (absolute.is_dir() or absolute.is_file()):
        raise UploadError(f"{path} is neither a file nor a folder.")


def _walk_files(folder: Path, leave_out: Path | None, refused: list[str]) -> Iterator[Path]:
    """The files below a folder that are inputs; folders that cannot be read are added to ``refused``.

    ``leave_out`` is skipped: the given folder may contain the data folder, whose files must not be copied into itself.
    """

    def unreadable(error: OSError) -> None:
        refused.append(f"The folder {error.filename} cannot be taken in: {explain(error)}")

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        if leave_out is not None and Path(parent).samefile(leave_out):  # it may have several names
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if get_ignore_reason(name) is None and _is_regular(path, otherwise=True):
                yield path  # if lstat failed, opening the file will raise the real error


def _is_regular(path: Path, otherwise: bool) -> bool:
    """Whether it is a regular file; ``otherwise`` if that cannot be found out."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return otherwise


def _upload_file(store: Store, source: Path, base: Path) -> str:
    name = encode_name(os.fsencode(source.relative_to(base)))
    key = f"{Folder.RAW}/{name}"
    if store.find_input(name) is None:
        # Before the recording, so that nobody sees the recording without its options.
        _upload_beside(store, source, name, OPTIONS_SUFFIX)
        try:
            _copy_to_store(store, source, key, if_absent=True)
        except KeyExistsError:
            log.info("%s was delivered by somebody else in this moment.", name)
        else:
            return name
    with _open_readable(source), store.fetch(key) as stored:
        if not filecmp.cmp(source, stored, shallow=False):
            raise UploadError(
                f"{source} would overwrite {store.locate(key)}, which holds other bytes. "
                "Rename it, or put it into a folder and name that."
            )
    if not _upload_beside(store, source, name, OPTIONS_SUFFIX) and store.exists(f"{key}{OPTIONS_SUFFIX}"):
        log.warning(
            "%s keeps the options that came with it before, in %s. Remove that file if they no longer hold.",
            name,
            store.locate(f"{key}{OPTIONS_SUFFIX}"),
        )
    return name


def _upload_beside(store: Store, source: Path, name: str, suffix: str) -> bool:
    """Copy the file that bears the recording's name and this suffix, if there is one beside it. Returns whether there is."""
    companion = source.with_name(source.name + suffix)
    if not _is_regular(companion, otherwise=False):  # a name that is too long cannot exist, so there is no such file
        return False
    _copy_to_store(store, companion, f"{Folder.RAW}/{name}{suffix}")
    return True


def _copy_to_store(store: Store, source: Path, key: str, *, if_absent: bool = False) -> None:
    with _open_readable(source) as source_file:
        status_before = _get_size_and_mtime(os.fstat(source_file.fileno()))
        try:
            with store.create(key, if_absent=if_absent) as target:
                with target.open("wb") as target_file:
                    shutil.copyfileobj(source_file, target_file)
                shutil.copystat(source, target)
                if _get_size_and_mtime(os.fstat(source_file.fileno())) != status_before:
                    raise UploadError(f"{source} is being written to right now. Deliver it again when it is whole.")
        except UnwritableKeyError as error:
            raise UploadError(f"{source} has no place: {error} Rename it.") from error


def _open_readable(source: Path) -> BinaryIO:
    """Open the file for reading. An unreadable file raises ``UploadError``, so the other files are still copied."""
    try:
        return source.open("rb")
    except OSError as error:
        raise UploadError(f"{source} cannot be taken in: {explain(error)}") from error


def _get_size_and_mtime(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
