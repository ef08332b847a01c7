"""Delivering by hand: files from elsewhere copied into the input folder, as ``stt run PATH`` does."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from recordings.names import Folder, encode_name
from recordings.references import reference_key
from recordings.store import REFERENCE_SUFFIX, Store, why_ignored

log = logging.getLogger("stt")


class CannotDeliver(Exception):  # noqa: N818 - reads as what it says
    """A path that was named cannot be taken in. Says which, why and what to do."""


def deliver(store: Store, paths: Sequence[Path]) -> list[str]:
    """Copy files, and folders with all that is in them, into the input folder.

    A file goes under its own name, a folder under its own name with the paths inside it kept. Modification times are kept too,
    so delivering the same file twice is one delivery. What a look at the input folder would ignore (hidden and temporary
    names, symbolic links) is not copied; only a recording's reference comes along, and replaces an older one.

    Args:
        store: Where to.
        paths: Files and folders outside the input folder; a path inside it is delivered already.

    Returns:
        The names under which the files now stand, in the order given.

    Raises:
        CannotDeliver: A path does not exist, is no file or folder, or its name is taken by other bytes.
    """
    inside, root = Path(store.locate(Folder.RAW)), Path(store.locate(""))
    names: list[str] = []
    for path in paths:
        # Not resolve(): a link that a person names stands under the link's name.
        absolute = Path(os.path.abspath(path))  # noqa: PTH100
        if absolute.is_relative_to(inside):
            continue
        if absolute.is_relative_to(root):
            raise CannotDeliver(
                f"{path} lies in the data folder {root}. Recordings to be taken in lie under {inside}, or elsewhere."
            )
        if not absolute.exists():
            raise CannotDeliver(f"{path} does not exist.")
        if absolute.is_dir():
            names += [_copy(store, file, absolute.parent) for file in _files(absolute, root)]
        elif absolute.is_file():
            why = why_ignored(absolute.name)
            if why:
                log.warning("%s is not taken in: %s.", path, why)
            else:
                names.append(_copy(store, absolute, absolute.parent))
        else:
            raise CannotDeliver(f"{path} is neither a file nor a folder.")
    return names


def _files(folder: Path, leave_out: Path) -> Iterator[Path]:
    """The files below a folder that are inputs. The data folder may lie below it, or be it: copies are not copied again."""
    for parent, folders, files in os.walk(folder):
        if Path(parent).samefile(leave_out):  # under whichever name
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if why_ignored(name) is None and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:  # not there, or a name longer than the file system allows, which nobody can have made
        return False


def _copy(store: Store, source: Path, base: Path) -> str:
    name = encode_name(os.fsencode(source.relative_to(base)))
    key = f"{Folder.RAW}/{name}"
    if store.look(name) is not None:
        with store.fetch(key) as here:
            if not filecmp.cmp(source, here, shallow=False):
                raise CannotDeliver(
                    f"{source} would overwrite {here}, which holds other bytes. Rename it, or put it into a folder and name that."
                )
    else:
        with store.create(key) as target:
            shutil.copyfile(source, target)
            shutil.copystat(source, target)
    reference = source.with_name(source.name + REFERENCE_SUFFIX)
    if _is_regular(reference):
        with store.create(reference_key(name)) as target:
            shutil.copyfile(reference, target)
    return name
