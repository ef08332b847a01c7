"""The stores, on a directory and in a bucket: what they list, and that a write is whole or not there."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recordings.intake.upload import UploadError, upload_files
from recordings.layout import Folder, encode_name
from recordings.storage.base import IgnoredEntry, InputEntry, InvalidRangeError, KeyExistsError, UnwritableKeyError
from recordings.storage.directory import DirectoryStore
from recordings.storage.errors import explain
from recordings.storage.open import open_store
from tests.recordings.backends import DirectoryPlace, Place, names

KEY = f"{Folder.TRANSCRIPTS}/a/x.mp3.json"


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryPlace:
    store = DirectoryStore(tmp_path / "data")
    store.prepare()
    return DirectoryPlace(store)


@pytest.fixture
def store(directory: DirectoryPlace) -> DirectoryStore:
    return directory.store


def read(place: Place, key: str) -> bytes:
    with place.store.fetch(key) as path:
        return path.read_bytes()


def write(place: Place, key: str, content: bytes, *, first: bool = False) -> None:
    with place.store.create(key, if_absent=first) as path:
        path.write_bytes(content)


# Both stores


def test_lists_inputs_of_all_folders_in_the_order_of_their_names(place: Place) -> None:
    for name in (b"b.wav", b"a/x.wav", b"a/b/c.wav", b"caf\xc3\xa9.wav", b"100%41 + x.wav"):
        place.put(name)
    assert names(place.store) == ["100%2541 + x.wav", "a/b/c.wav", "a/x.wav", "b.wav", "caf\u00e9.wav"]


def test_a_listing_goes_on_behind_whichever_name_it_stopped_at(place: Place) -> None:
    for name in (b"b.wav", b"a/x.wav", b"a.wav", b"a/b/c.wav", b"a/b.wav", b"a-1.wav", b"z/1.wav", b"a\n.wav"):
        place.put(name)
    whole = names(place.store)
    assert len(whole) == 8
    for i, name in enumerate(whole):
        assert names(place.store, after=name) == whole[i + 1 :]


def test_a_look_finds_what_a_listing_showed(place: Place) -> None:
    place.put(b"a/x.wav", b"content")
    (listed,) = place.store.list_inputs()
    assert isinstance(listed, InputEntry)
    seen = place.store.find_input("a/x.wav")
    assert seen is not None
    assert (seen.name, seen.size, seen.version) == (listed.name, 7, listed.version)
    for absent in ("a", "a/y.wav", "a/x.wav/z", "caf%E9.wav", "x" * 2000):
        assert place.store.find_input(absent) is None


def test_other_bytes_under_a_name_are_another_version(place: Place) -> None:
    place.put(b"x.wav", b"one")
    before = place.store.find_input("x.wav")
    place.put(b"x.wav", b"two")
    after = place.store.find_input("x.wav")
    assert before is not None
    assert after is not None
    assert before.version != after.version


def test_says_why_names_are_no_inputs(place: Place) -> None:
    for name in (b"real.wav", b".hidden.wav", b"half.wav.part", b"x.mp3.ref.txt", b"a/README.md"):
        place.put(name)
    ignored = {entry.name: entry.reason for entry in place.store.list_inputs() if isinstance(entry, IgnoredEntry)}
    assert ignored == {
        ".hidden.wav": "hidden name",
        "half.wav.part": "temporary name",
        "x.mp3.ref.txt": "reference transcript",
        "a/README.md": "documentation",
    }
    assert names(place.store) == ["real.wav"]


@pytest.mark.parametrize(
    ("byte_range", "start", "content"),
    [
        (None, 0, b"0123456789"),
        ("bytes=0-", 0, b"0123456789"),
        ("bytes=4-", 4, b"456789"),
        ("bytes=2-2", 2, b"2"),
        ("bytes=8-400", 8, b"89"),
        ("bytes=-3", 7, b"789"),
        ("bytes=-300", 0, b"0123456789"),
    ],
)
def test_a_stretch_is_read_with_what_is_known_of_the_whole(
    place: Place, byte_range: str | None, start: int, content: bytes
) -> None:
    write(place, KEY, b"0123456789")
    known = place.store.stat(KEY)
    assert known is not None
    reading = place.store.open_range(KEY, byte_range)
    assert (reading.size, reading.start, reading.length) == (10, start, len(content))
    assert reading.is_partial is (byte_range is not None)
    assert (known.key.endswith(KEY), known.size, known.etag) == (True, 10, reading.etag)
    assert b"".join(reading.blocks) == content
    write(place, KEY, b"9876543210x")
    assert place.store.open_range(KEY).etag != reading.etag


def test_there_is_nothing_to_read_behind_the_end_or_where_nothing_was_written(place: Place) -> None:
    write(place, KEY, b"0123456789")
    with pytest.raises(InvalidRangeError) as beyond:
        place.store.open_range(KEY, "bytes=10-")
    assert beyond.value.size == 10
    for key in (f"{Folder.TRANSCRIPTS}/a/y.json", f"{Folder.TRANSCRIPTS}/{'x' * 2000}"):
        assert place.store.stat(key) is None
        with pytest.raises(FileNotFoundError):
            place.store.open_range(key)


def test_a_write_replaces_what_was_there_and_leaves_no_litter(place: Place) -> None:
    for content in (b"old", b"", b"new" * 1000):
        write(place, KEY, content)
        assert read(place, KEY) == content
    assert place.store.exists(KEY)
    assert [each.rpartition("/")[2] for each in place.below(Folder.TRANSCRIPTS)] == ["x.mp3.json"]
    assert place.left_over() == []


def test_a_write_that_fails_leaves_what_was_there_and_no_litter(place: Place) -> None:
    write(place, KEY, b"old")
    with pytest.raises(RuntimeError), place.store.create(KEY) as path:
        path.write_text("new, but torn")
        raise RuntimeError
    assert read(place, KEY) == b"old"
    assert place.left_over() == []


def test_a_write_that_finds_no_room_says_where(place: Place, tmp_path: Path) -> None:
    """The operating system does not."""
    with pytest.raises(OSError, match="No space left") as caught, place.store.create(KEY) as path:
        path.write_bytes(b"begun")
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert f"No space left on device at {tmp_path}" in explain(caught.value)


def test_a_reader_of_the_old_bytes_reads_them_to_the_end(place: Place) -> None:
    """A write replaces the whole; it never changes what somebody has open."""
    write(place, KEY, b"old")
    with place.store.fetch(KEY) as path, path.open("rb") as reader:
        write(place, KEY, b"new")
        assert reader.read() == b"old"


def test_of_many_first_writers_one_succeeds_and_its_bytes_stay(place: Place) -> None:
    def attempt(number: int) -> bool:
        try:
            write(place, KEY, str(number).encode(), first=True)
        except KeyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(8)))
    assert sum(won) == 1
    assert read(place, KEY) == str(won.index(True)).encode()
    assert place.left_over() == []


def test_what_is_not_there_cannot_be_fetched(place: Place) -> None:
    for key in (KEY, f"{Folder.RAW}/caf%E9.wav", f"{Folder.RAW}/{'x' * 2000}"):
        assert not place.store.exists(key)
        with pytest.raises(FileNotFoundError), place.store.fetch(key):
            pass


def test_a_copy_has_the_bytes_and_can_be_verified(place: Place) -> None:
    write(place, KEY, b"content")
    other = f"{Folder.TRANSCRIPTS}/b \u00fc %41.json"
    place.store.copy(KEY, other)
    assert read(place, other) == b"content"
    with pytest.raises(FileNotFoundError):
        place.store.copy(f"{Folder.TRANSCRIPTS}/nothing.json", other)
    assert read(place, other) == b"content"
    assert place.left_over() == []


def test_a_key_that_can_never_hold_bytes_is_refused_with_the_reason(place: Place) -> None:
    key = f"{Folder.TRANSCRIPTS}/" + "/".join(["x" * 200] * 25)
    with pytest.raises(UnwritableKeyError, match=r"cannot be written: .*longer than"):
        write(place, key, b"x")
    assert place.store.get_unwritable_reason(KEY) is None
    assert place.left_over() == []


def test_reads_bytes_under_a_name_with_control_characters(place: Place) -> None:
    place.put("a/caf\u00e9\n%0A.wav".encode(), b"content")
    name = encode_name("a/caf\u00e9\n%0A.wav".encode())
    assert names(place.store) == [name]
    assert read(place, f"{Folder.RAW}/{name}") == b"content"


def test_work_in_progress_is_found_again_until_it_is_old(place: Place) -> None:
    place.store.temp_path(Folder.TRANSCRIPTS, "journal").write_text("half")
    assert place.store.temp_path(Folder.TRANSCRIPTS, "journal").read_text() == "half"
    assert place.store.sweep(3600) == 0
    assert place.store.sweep(-1) == 1
    assert not place.store.temp_path(Folder.TRANSCRIPTS, "journal").exists()


def test_files_are_delivered_once_and_never_over_other_bytes(place: Place, tmp_path: Path) -> None:
    """Two files of one name, delivered from two folders."""
    for folder, content in (("one", b"1"), ("two", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").write_bytes(content)
    assert upload_files(place.store, [tmp_path / "one" / "x.wav"]).names == ("x.wav",)
    first = place.store.find_input("x.wav")
    assert upload_files(place.store, [tmp_path / "one" / "x.wav"]).names == ("x.wav",)
    assert place.store.find_input("x.wav") == first
    with pytest.raises(UploadError, match=r"would overwrite .*raw_audio/x\.wav"):
        upload_files(place.store, [tmp_path / "two" / "x.wav"])
    assert read(place, f"{Folder.RAW}/x.wav") == b"1"


def test_a_name_that_has_no_place_is_no_trouble_of_the_machine(place: Place, tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(8):
        path /= "x" * 200
    path.mkdir(parents=True)
    (path / "x.wav").write_bytes(b"x")
    if place.store.folder is None:
        with pytest.raises(UploadError, match="1024 bytes"):
            upload_files(place.store, [tmp_path / ("x" * 200)])
    else:
        assert len(upload_files(place.store, [tmp_path / ("x" * 200)]).names) == 1


def test_a_probe_writes_and_leaves_nothing(place: Place) -> None:
    assert "writ" in place.store.probe()
    assert [each for folder in Folder for each in place.below(folder)] == []
    assert place.left_over() == []


# The directory


def test_the_directory_lists_in_the_order_of_bytes(directory: DirectoryPlace) -> None:
    written = [b"a\n.wav", b"a-1.wav", b"a.wav", b"a/b/c.wav", b"a/x.wav", b"b.wav", b"caf\xe9.wav"]
    for name in reversed(written):
        directory.put(name)
    assert names(directory.store) == [encode_name(name) for name in written]


def test_says_what_else_in_a_directory_is_no_input(directory: DirectoryPlace, tmp_path: Path) -> None:
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


def test_reads_bytes_under_a_name_that_is_no_text(directory: DirectoryPlace) -> None:
    store = directory.store
    directory.put(b"a/caf\xe9\n.wav", b"content")
    name = encode_name(b"a/caf\xe9\n.wav")
    with store.fetch(f"{Folder.RAW}/{name}") as path:
        assert path.read_bytes() == b"content"
    entry = store.find_input(name)
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
