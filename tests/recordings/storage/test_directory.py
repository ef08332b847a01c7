"""The directory store: order of names, links and special files, deep trees, names that are not text."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from recordings.layout import Folder, encode_name
from recordings.storage.base import IgnoredEntry
from recordings.storage.directory import DirectoryStore
from tests.recordings.backends import DirectoryBackend, list_names


def test_names_are_listed_in_the_order_of_their_bytes(directory: DirectoryBackend) -> None:
    written = [b"a\n.wav", b"a-1.wav", b"a.wav", b"a/b/c.wav", b"a/x.wav", b"b.wav", b"caf\xe9.wav"]
    for name in reversed(written):
        directory.put(name)
    assert list_names(directory.store) == [encode_name(name) for name in written]


def test_links_and_special_files_are_ignored_with_the_reason(directory: DirectoryBackend, tmp_path: Path) -> None:
    store = directory.store
    directory.put(b"real.wav")
    raw = store.root / Folder.RAW
    (raw / "link.wav").symlink_to(raw / "real.wav")
    (raw / "folder-link").symlink_to(tmp_path)
    os.mkfifo(raw / "pipe.wav")
    ignored = {entry.name: entry.reason for entry in store.list_inputs() if isinstance(entry, IgnoredEntry)}
    assert ignored == {
        "link.wav": "symbolic link",
        "folder-link": "symbolic link",
        "pipe.wav": "not a regular file",
    }
    assert list_names(store) == ["real.wav"]


def test_a_tree_deeper_than_the_recursion_limit_is_listed(store: DirectoryStore) -> None:
    deep = b"/".join([b"d"] * 1100) + b"/x.wav"
    descriptor = os.open(store.root / Folder.RAW, os.O_RDONLY)
    for part in deep.split(b"/")[:-1]:
        os.mkdir(part, dir_fd=descriptor)
        inner = os.open(part, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open(b"x.wav", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    try:
        assert list_names(store) == [deep.decode()]
    finally:  # pytest's clean-up would exceed the recursion limit
        subprocess.run(["rm", "-rf", str(store.root)], check=True)


def test_a_name_that_is_not_text_can_be_read(directory: DirectoryBackend) -> None:
    store = directory.store
    directory.put(b"a/caf\xe9\n.wav", b"content")
    name = encode_name(b"a/caf\xe9\n.wav")
    with store.fetch(f"{Folder.RAW}/{name}") as path:
        assert path.read_bytes() == b"content"
    entry = store.find_input(name)
    assert entry is not None
    assert entry.size == 7
