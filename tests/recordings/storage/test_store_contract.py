"""The contract of every store, tested on a directory and in a bucket: listings, and writes that are complete or absent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recordings.batches import split_version
from recordings.layout import Folder, encode_name
from recordings.storage import s3
from recordings.storage.base import (
    IgnoredEntry,
    InputEntry,
    InvalidRangeError,
    KeyExistsError,
    UnwritableKeyError,
)
from recordings.storage.errors import explain
from tests.recordings.backends import StoreBackend, list_names

KEY = f"{Folder.TRANSCRIPTS}/a/x.mp3.json"


def read(backend: StoreBackend, key: str) -> bytes:
    with backend.store.fetch(key) as path:
        return path.read_bytes()


def write(backend: StoreBackend, key: str, content: bytes, *, if_absent: bool = False) -> None:
    with backend.store.create(key, if_absent=if_absent) as path:
        path.write_bytes(content)


def test_inputs_of_all_folders_are_listed_in_the_order_of_their_names(backend: StoreBackend) -> None:
    for name in (b"b.wav", b"a/x.wav", b"a/b/c.wav", b"caf\xc3\xa9.wav", b"100%41 + x.wav"):
        backend.put(name)
    assert list_names(backend.store) == ["100%2541 + x.wav", "a/b/c.wav", "a/x.wav", "b.wav", "caf\u00e9.wav"]


def test_a_listing_can_continue_after_any_name(backend: StoreBackend) -> None:
    for name in (b"b.wav", b"a/x.wav", b"a.wav", b"a/b/c.wav", b"a/b.wav", b"a-1.wav", b"z/1.wav", b"a\n.wav"):
        backend.put(name)
    all_names = list_names(backend.store)
    assert len(all_names) == 8
    for i, name in enumerate(all_names):
        assert list_names(backend.store, after=name) == all_names[i + 1 :]


def test_find_input_returns_the_entry_of_the_listing(backend: StoreBackend) -> None:
    backend.put(b"a/x.wav", b"content")
    (listed,) = backend.store.list_inputs()
    assert isinstance(listed, InputEntry)
    found_entry = backend.store.find_input("a/x.wav")
    assert found_entry is not None
    assert (found_entry.name, found_entry.size, found_entry.version) == (listed.name, 7, listed.version)
    for missing in ("a", "a/y.wav", "a/x.wav/z", "caf%E9.wav", "x" * 2000):
        assert backend.store.find_input(missing) is None


def test_other_bytes_under_the_same_name_have_another_version(backend: StoreBackend) -> None:
    backend.put(b"x.wav", b"one")
    first = backend.store.find_input("x.wav")
    backend.put(b"x.wav", b"two")
    second = backend.store.find_input("x.wav")
    assert first is not None
    assert second is not None
    assert first.version != second.version


def test_names_that_are_not_inputs_are_listed_with_the_reason(backend: StoreBackend) -> None:
    for name in (b"real.wav", b".hidden.wav", b"half.wav.part", b"x.mp3.ref.txt", b"a/README.md"):
        backend.put(name)
    ignored = {entry.name: entry.reason for entry in backend.store.list_inputs() if isinstance(entry, IgnoredEntry)}
    assert ignored == {
        ".hidden.wav": "hidden name",
        "half.wav.part": "temporary name",
        "x.mp3.ref.txt": "reference transcript",
        "a/README.md": "documentation",
    }
    assert list_names(backend.store) == ["real.wav"]


def test_an_options_file_is_no_input_and_belongs_to_the_version_of_its_recording(backend: StoreBackend) -> None:
    between = (b"a/x.mp3 (1).mp3", b"a/x.mp3-2.mp3", b"a/x.mp3.bak", b"a/x.mp3.ref.txt")
    for name in (b"a/x.mp3", *between, b"a/y.mp3", b"alone.options.yaml"):
        backend.put(name)
    before = {entry.name: entry for entry in backend.store.list_inputs() if isinstance(entry, InputEntry)}
    assert [split_version(entry.version)[1] for entry in before.values()] == [""] * 5
    versions = {before["a/x.mp3"].version}
    for content in (b"language: en", b"language: vi"):
        backend.put(b"a/x.mp3.options.yaml", content)
        listed = {entry.name: entry for entry in backend.store.list_inputs()}
        assert list(listed) == sorted(listed), "the order of a listing stays"
        entry = listed["a/x.mp3"]
        assert isinstance(entry, InputEntry)
        assert entry == backend.store.find_input("a/x.mp3")
        assert split_version(entry.version)[0] == before["a/x.mp3"].version
        versions.add(entry.version)
        sidecar = backend.store.stat(f"{Folder.RAW}/a/x.mp3.options.yaml")
        assert sidecar is not None
        assert entry.modified >= sidecar.modified, "a scan that looks at what is new alone sees it"
        others = {name: listed[name] for name in before if name != "a/x.mp3"}
        assert others == {name: before[name] for name in others}
        assert listed["alone.options.yaml"] == IgnoredEntry("alone.options.yaml", "options of a recording")
    assert len(versions) == 3
    backend.remove(b"a/x.mp3.options.yaml")
    entry = backend.store.find_input("a/x.mp3")
    assert entry is not None
    assert entry.version == before["a/x.mp3"].version


@pytest.mark.parametrize("most", [1, 2, 3, 1000])
def test_options_files_are_found_however_many_names_lie_between(
    backend: StoreBackend, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(s3, "_MAX_HELD_BACK", most)
    names = ["x", *(f"x{i}" for i in range(5)), "x-", "y", "y.options.yaml.mp3", "yy"]
    for name in names:
        backend.put(name.encode())
    for name in ("x", "x3", "yy"):
        backend.put(f"{name}.options.yaml".encode())
    entries = [entry for entry in backend.store.list_inputs() if isinstance(entry, InputEntry)]
    assert [entry.name for entry in entries] == sorted(names)
    assert {entry.name for entry in entries if split_version(entry.version)[1]} == {"x", "x3", "yy"}
    assert entries == [backend.store.find_input(entry.name) for entry in entries]


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
def test_a_range_is_read_with_size_and_etag_of_the_whole_object(
    backend: StoreBackend, byte_range: str | None, start: int, content: bytes
) -> None:
    write(backend, KEY, b"0123456789")
    stat = backend.store.stat(KEY)
    assert stat is not None
    stream = backend.store.open_range(KEY, byte_range)
    assert (stream.size, stream.start, stream.length) == (10, start, len(content))
    assert stream.is_partial is (byte_range is not None)
    assert (stat.key.endswith(KEY), stat.size, stat.etag) == (True, 10, stream.etag)
    assert b"".join(stream.blocks) == content
    write(backend, KEY, b"9876543210x")
    assert backend.store.open_range(KEY).etag != stream.etag


def test_a_range_behind_the_end_and_a_missing_key_are_errors(backend: StoreBackend) -> None:
    write(backend, KEY, b"0123456789")
    with pytest.raises(InvalidRangeError) as caught:
        backend.store.open_range(KEY, "bytes=10-")
    assert caught.value.size == 10
    for key in (f"{Folder.TRANSCRIPTS}/a/y.json", f"{Folder.TRANSCRIPTS}/{'x' * 2000}"):
        assert backend.store.stat(key) is None
        with pytest.raises(FileNotFoundError):
            backend.store.open_range(key)


def test_a_write_replaces_the_old_content_and_leaves_no_temporary_files(backend: StoreBackend) -> None:
    for content in (b"old", b"", b"new" * 1000):
        write(backend, KEY, content)
        assert read(backend, KEY) == content
    assert backend.store.exists(KEY)
    assert [name.rpartition("/")[2] for name in backend.list_files(Folder.TRANSCRIPTS)] == ["x.mp3.json"]
    assert backend.list_leftovers() == []


def test_a_failed_write_keeps_the_old_content_and_leaves_no_temporary_files(backend: StoreBackend) -> None:
    write(backend, KEY, b"old")
    with pytest.raises(RuntimeError), backend.store.create(KEY) as path:
        path.write_text("new, but torn")
        raise RuntimeError
    assert read(backend, KEY) == b"old"
    assert backend.list_leftovers() == []


def test_a_write_to_a_full_disk_names_the_path(backend: StoreBackend, tmp_path: Path) -> None:
    """The error of the operating system does not name it."""
    with pytest.raises(OSError, match="No space left") as caught, backend.store.create(KEY) as path:
        path.write_bytes(b"begun")
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert f"No space left on device at {tmp_path}" in explain(caught.value)


def test_a_reader_can_read_the_old_content_to_the_end_during_a_write(backend: StoreBackend) -> None:
    """A write replaces the file; it never changes one that somebody has open."""
    write(backend, KEY, b"old")
    with backend.store.fetch(KEY) as path, path.open("rb") as reader:
        write(backend, KEY, b"new")
        assert reader.read() == b"old"


def test_one_of_several_conditional_writes_succeeds_and_its_content_stays(backend: StoreBackend) -> None:
    def attempt(number: int) -> bool:
        try:
            write(backend, KEY, str(number).encode(), if_absent=True)
        except KeyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        succeeded = list(pool.map(attempt, range(8)))
    assert sum(succeeded) == 1
    assert read(backend, KEY) == str(succeeded.index(True)).encode()
    assert backend.list_leftovers() == []


def test_a_missing_key_cannot_be_fetched(backend: StoreBackend) -> None:
    for key in (KEY, f"{Folder.RAW}/caf%E9.wav", f"{Folder.RAW}/{'x' * 2000}"):
        assert not backend.store.exists(key)
        with pytest.raises(FileNotFoundError), backend.store.fetch(key):
            pass


def test_a_copy_has_the_same_content(backend: StoreBackend) -> None:
    write(backend, KEY, b"content")
    copy = f"{Folder.TRANSCRIPTS}/b \u00fc %41.json"
    backend.store.copy(KEY, copy)
    assert read(backend, copy) == b"content"
    with pytest.raises(FileNotFoundError):
        backend.store.copy(f"{Folder.TRANSCRIPTS}/nothing.json", copy)
    assert read(backend, copy) == b"content"
    assert backend.list_leftovers() == []


def test_a_key_that_cannot_be_written_is_refused_with_the_reason(backend: StoreBackend) -> None:
    key = f"{Folder.TRANSCRIPTS}/" + "/".join(["x" * 200] * 25)
    with pytest.raises(UnwritableKeyError, match=r"cannot be written: .*longer than"):
        write(backend, key, b"x")
    assert backend.store.get_unwritable_reason(KEY) is None
    assert backend.list_leftovers() == []


def test_a_name_with_control_characters_can_be_read(backend: StoreBackend) -> None:
    backend.put("a/caf\u00e9\n%0A.wav".encode(), b"content")
    name = encode_name("a/caf\u00e9\n%0A.wav".encode())
    assert list_names(backend.store) == [name]
    assert read(backend, f"{Folder.RAW}/{name}") == b"content"


def test_a_temporary_file_can_be_found_again_until_it_is_swept(backend: StoreBackend) -> None:
    backend.store.temp_path(Folder.TRANSCRIPTS, "journal").write_text("half")
    assert backend.store.temp_path(Folder.TRANSCRIPTS, "journal").read_text() == "half"
    assert backend.store.sweep(3600) == 0
    assert backend.store.sweep(-1) == 1
    assert not backend.store.temp_path(Folder.TRANSCRIPTS, "journal").exists()


def test_a_probe_writes_and_leaves_no_files(backend: StoreBackend) -> None:
    assert "writ" in backend.store.probe()
    assert [name for folder in Folder for name in backend.list_files(folder)] == []
    assert backend.list_leftovers() == []
