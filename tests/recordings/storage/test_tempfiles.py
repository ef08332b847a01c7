"""Temporary files are removed after their writer has ended, and never while it writes."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from recordings.layout import Folder
from recordings.storage.directory import DirectoryStore


def test_a_temporary_file_of_a_killed_writer_is_swept(store: DirectoryStore) -> None:
    scratch = store.root / Folder.NORMALIZED / ".tmp"
    scratch.mkdir()
    (scratch / "left").write_text("x")
    assert store.sweep(3600) == 0, "its writer may run on another machine, whose locks are not seen here"
    assert store.sweep(-1) == 1
    assert list(scratch.iterdir()) == []


def test_a_file_that_is_being_written_is_never_swept(store: DirectoryStore) -> None:
    """A copy takes over the times of its source, and a laptop may sleep for days while it writes."""
    key = f"{Folder.RAW}/x.wav"
    with store.create(key) as path:
        path.write_text("content")
        os.utime(path, (0, 0))
        assert store.sweep(3600) == 0
        assert store.sweep(-1) == 0
    with store.fetch(key) as path:
        assert path.read_text() == "content"


def test_without_locks_a_copied_modification_time_does_not_make_a_file_old(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.create(f"{Folder.RAW}/x.wav") as path:
        os.utime(path, (0, 0))
        assert store.sweep(3600) == 0
