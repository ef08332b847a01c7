"""The directory store: what it lists, and that a write is whole or not there."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from recordings.names import Folder, encode_name
from recordings.store import DirectoryStore, Entry, Ignored, open_store


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    made = DirectoryStore(tmp_path / "data")
    made.prepare()
    return made


def put(store: DirectoryStore, name: bytes, content: bytes = b"x") -> None:
    path = os.path.join(os.fsencode(store.root / Folder.RAW), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def names(store: DirectoryStore, after: str = "") -> list[str]:
    return [entry.name for entry in store.inputs(after) if isinstance(entry, Entry)]


def test_lists_regular_files_of_all_folders_in_one_order(store: DirectoryStore) -> None:
    for name in (b"b.wav", b"a/x.wav", b"a.wav", b"a/b/c.wav", b"a-1.wav", b"caf\xe9.wav"):
        put(store, name)
    listed = names(store)
    assert listed == sorted(listed)
    assert set(listed) == {"b.wav", "a/x.wav", "a.wav", "a/b/c.wav", "a-1.wav", "caf%E9.wav"}


def test_a_listing_can_go_on_behind_any_name(store: DirectoryStore) -> None:
    for name in (b"b.wav", b"a/x.wav", b"a.wav", b"a/b/c.wav", b"a/b.wav", b"a-1.wav", b"z/1.wav"):
        put(store, name)
    whole = names(store)
    for i, name in enumerate(whole):
        assert names(store, after=name) == whole[i + 1 :]


def test_says_why_it_ignores_what_is_no_input(store: DirectoryStore, tmp_path: Path) -> None:
    put(store, b"real.wav")
    for name in (b".hidden.wav", b"half.wav.part", b"x.mp3.ref.txt", b"README.md"):
        put(store, name)
    raw = store.root / Folder.RAW
    (raw / "link.wav").symlink_to(raw / "real.wav")
    (raw / "folder-link").symlink_to(tmp_path)
    os.mkfifo(raw / "pipe.wav")
    ignored = {entry.name: entry.why for entry in store.inputs() if isinstance(entry, Ignored)}
    assert ignored == {
        ".hidden.wav": "hidden name",
        "half.wav.part": "temporary name",
        "x.mp3.ref.txt": "reference transcript",
        "README.md": "documentation",
        "link.wav": "symbolic link",
        "folder-link": "symbolic link",
        "pipe.wav": "not a regular file",
    }
    assert names(store) == ["real.wav"]


def test_a_tree_deeper_than_pythons_stack_is_listed(store: DirectoryStore) -> None:
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
        assert names(store) == [deep.decode()]
    finally:  # pytest's own clean-up would run out of stack
        subprocess.run(["rm", "-rf", str(store.root)], check=True)


def test_a_write_that_fails_leaves_what_was_there_and_no_litter(store: DirectoryStore) -> None:
    key = f"{Folder.TRANSCRIPTS}/x.json"
    with store.create(key) as path:
        path.write_text("old")
    with pytest.raises(RuntimeError), store.create(key) as path:
        path.write_text("new, but torn")
        raise RuntimeError
    with store.fetch(key) as path:
        assert path.read_text() == "old"
    assert [p.name for p in (store.root / Folder.TRANSCRIPTS).rglob("*") if p.is_file()] == ["x.json"]


def test_a_reader_of_the_old_bytes_reads_them_to_the_end(store: DirectoryStore) -> None:
    """A write replaces the file as a whole; it never changes one that somebody has open."""
    key = f"{Folder.TRANSCRIPTS}/x.json"
    with store.create(key) as path:
        path.write_text("old")
    with store.fetch(key) as path, path.open() as reader:
        with store.create(key) as replacement:
            replacement.write_text("new")
        assert reader.read() == "old"


def test_reads_bytes_under_a_name_that_is_no_text(store: DirectoryStore) -> None:
    put(store, b"a/caf\xe9\n.wav", b"content")
    name = encode_name(b"a/caf\xe9\n.wav")
    with store.fetch(f"{Folder.RAW}/{name}") as path:
        assert path.read_bytes() == b"content"
    entry = store.look(name)
    assert entry is not None
    assert entry.size == 7


def test_sweeps_what_a_killed_writer_left(store: DirectoryStore) -> None:
    scratch = store.root / Folder.NORMALIZED / ".tmp"
    scratch.mkdir()
    (scratch / "left").write_text("x")
    assert store.sweep(3600) == 0, "it may have a writer on a machine whose locks do not reach here"
    assert store.sweep(-1) == 1
    assert list(scratch.iterdir()) == []


def test_what_is_being_written_is_never_swept_whatever_its_age_and_times(store: DirectoryStore) -> None:
    """A copy brings the times of its source along, and a laptop may sleep for days in the middle of it."""
    key = f"{Folder.RAW}/x.wav"
    with store.create(key) as path:
        path.write_text("content")
        os.utime(path, (0, 0))
        assert store.sweep(3600) == 0
        assert store.sweep(-1) == 0
    with store.fetch(key) as path:
        assert path.read_text() == "content"


def test_where_there_are_no_locks_a_copied_time_makes_nothing_old(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.create(f"{Folder.RAW}/x.wav") as path:
        os.utime(path, (0, 0))
        assert store.sweep(3600) == 0


def test_an_unknown_scheme_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="file:///"):
        open_store("ftp://somewhere")
