"""Uploading files and folders into the input folder of a store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from recordings.intake.upload import UploadError, upload_files
from recordings.layout import Folder
from recordings.storage.directory import DirectoryStore
from tests.recordings.backends import StoreBackend
from tests.recordings.step_pipeline import (
    StepPipeline,
)


def test_uploaded_folders_keep_their_paths_and_other_files_are_left_out(pipeline: StepPipeline, inbox: Path) -> None:
    os.utime(inbox / "single.wav", (1_000_000_000, 1_000_000_000))
    names = list(upload_files(pipeline.workspace.store, [inbox / "calls", inbox / "single.wav"]).names)
    assert names == ["calls/1.wav", "calls/monday/1.wav", "single.wav"]
    raw_audio = pipeline.raw
    uploaded = {str(p.relative_to(raw_audio)) for p in raw_audio.rglob("*") if p.is_file()}
    assert uploaded == {*names, "calls/1.wav.ref.txt"}
    assert all((raw_audio / name).read_text() == name for name in uploaded)
    assert (raw_audio / "single.wav").stat().st_mtime == 1_000_000_000


def test_a_second_upload_changes_nothing_and_other_bytes_under_the_same_name_are_refused(
    pipeline: StepPipeline, inbox: Path
) -> None:
    single = inbox / "single.wav"
    for _ in range(2):
        assert upload_files(pipeline.workspace.store, [single]).names == ("single.wav",)
    target = pipeline.raw / "single.wav"
    single.write_text("other.wav!")  # the same size as before
    with pytest.raises(UploadError, match=r"single\.wav would overwrite .*which holds other bytes\. Rename it"):
        upload_files(pipeline.workspace.store, [single])
    assert target.read_text() == "single.wav"


def test_a_reference_is_uploaded_with_its_recording_and_a_new_one_replaces_it(
    pipeline: StepPipeline, inbox: Path
) -> None:
    reference, target = inbox / "single.wav.ref.txt", pipeline.raw / "single.wav.ref.txt"
    for text in (None, "what was said", "what was really said"):
        if text:
            reference.write_text(text)
        assert upload_files(pipeline.workspace.store, [inbox / "single.wav"]).names == ("single.wav",)
        assert (target.read_text() if target.exists() else None) == text
    # The name of its reference would be too long, so none is looked for.
    longest = inbox / f"{'x' * 251}.wav"
    longest.write_text("sound")
    assert upload_files(pipeline.workspace.store, [longest]).names == (longest.name,)


def test_a_refused_file_does_not_stop_the_upload_of_its_folder(pipeline: StepPipeline, inbox: Path) -> None:
    (pipeline.raw / "calls").mkdir()
    (pipeline.raw / "calls" / "1.wav").write_text("other bytes")
    reference = inbox / "calls" / "monday" / "1.wav.ref.txt"
    reference.unlink()
    reference.write_text("what was said")
    (pipeline.raw / "calls" / "monday" / "1.wav.ref.txt").mkdir(parents=True)
    result = upload_files(pipeline.workspace.store, [inbox / "calls"])
    assert result.names == ("calls/monday/1.wav",)
    overwrite, no_room = result.refused
    assert "1.wav would overwrite" in overwrite
    assert "1.wav.ref.txt has no place" in no_room


def test_missing_files_are_refused_and_files_in_the_input_folder_need_no_upload(
    pipeline: StepPipeline, inbox: Path
) -> None:
    with pytest.raises(UploadError, match=r"nothing\.wav does not exist"):
        upload_files(pipeline.workspace.store, [inbox / "nothing.wav"])
    os.mkfifo(inbox / "pipe.wav")
    with pytest.raises(UploadError, match="neither a file nor a folder"):
        upload_files(pipeline.workspace.store, [inbox / "pipe.wav"])
    pipeline.write_silence("a.wav")
    inside = pipeline.raw
    assert upload_files(pipeline.workspace.store, [inside / "a.wav", inside]).names == ()


@pytest.mark.parametrize("name", ["calls/.hidden.wav", "calls/2.wav.part", "calls/1.wav.ref.txt", "calls/README.md"])
def test_files_named_one_by_one_are_filtered_as_in_a_folder(pipeline: StepPipeline, inbox: Path, name: str) -> None:
    """With ``stt run calls/*`` the shell names every file, also references and unfinished downloads."""
    with suppress(UploadError):
        assert upload_files(pipeline.workspace.store, [inbox / name]).names == ()
    assert list(pipeline.raw.iterdir()) == []


@pytest.mark.parametrize("path", ["..", "../calls", "../single.wav"])
def test_a_path_with_dots_never_leads_out_of_the_input_folder(
    pipeline: StepPipeline, inbox: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inbox / "calls")
    entries = sorted(pipeline.data.iterdir())
    with suppress(UploadError):
        names = upload_files(pipeline.workspace.store, [Path(path)]).names
        assert not any(".." in name.split("/") for name in names), names
    assert sorted(pipeline.data.iterdir()) == entries


def test_a_path_that_only_passes_the_input_folder_is_not_inside_it(pipeline: StepPipeline, inbox: Path) -> None:
    path = pipeline.raw / ".." / ".." / "inbox" / "single.wav"
    assert upload_files(pipeline.workspace.store, [path]).names == ("single.wav",)


@pytest.mark.parametrize("case", ["a folder above it", "the data folder itself", "above it, by its real name"])
def test_the_input_folder_is_not_uploaded_into_itself(pipeline: StepPipeline, tmp_path: Path, case: str) -> None:
    """``stt run .`` above the data folder would otherwise copy its own copies until the disk is full."""
    pipeline.write_silence("a.wav")
    (pipeline.data / "input_audio" / "a.wav.wav").write_text(
        "an output in a folder that is listed before the input folder"
    )
    store = pipeline.workspace.store
    if case == "above it, by its real name":
        (tmp_path / "mounted").symlink_to(tmp_path)
        store = DirectoryStore(tmp_path / "mounted" / "data")
    with suppress(UploadError):
        upload_files(store, [pipeline.data if case == "the data folder itself" else pipeline.data.parent])
    raw_audio = pipeline.raw
    assert [p for p in raw_audio.rglob("*") if "raw_audio" in p.relative_to(raw_audio).parts] == []


def read(backend: StoreBackend, key: str) -> bytes:
    with backend.store.fetch(key) as path:
        return path.read_bytes()


def test_files_are_uploaded_once_and_never_over_other_bytes(backend: StoreBackend, tmp_path: Path) -> None:
    """Two files with the same name, uploaded from two folders."""
    for folder, content in (("one", b"1"), ("two", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").write_bytes(content)
    assert upload_files(backend.store, [tmp_path / "one" / "x.wav"]).names == ("x.wav",)
    first = backend.store.find_input("x.wav")
    assert upload_files(backend.store, [tmp_path / "one" / "x.wav"]).names == ("x.wav",)
    assert backend.store.find_input("x.wav") == first
    with pytest.raises(UploadError, match=r"would overwrite .*raw_audio/x\.wav"):
        upload_files(backend.store, [tmp_path / "two" / "x.wav"])
    assert read(backend, f"{Folder.RAW}/x.wav") == b"1"


def test_options_beside_a_recording_are_uploaded_and_replace_older_ones(
    backend: StoreBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "x.wav"
    source.write_bytes(b"1")
    options = tmp_path / "x.wav.options.yaml"
    versions = []
    for content in (None, "language: en", "language: vi"):
        if content:
            options.write_text(content)
        assert upload_files(backend.store, [source]).names == ("x.wav",)
        entry = backend.store.find_input("x.wav")
        assert entry is not None
        versions.append(entry.version)
    assert len(set(versions)) == 3
    assert read(backend, f"{Folder.RAW}/x.wav.options.yaml") == b"language: vi"
    options.unlink()
    caplog.clear()
    upload_files(backend.store, [source])
    assert "x.wav keeps the options that came with it before" in caplog.text
    source.write_bytes(b"2")
    options.write_text("language: fr")
    with pytest.raises(UploadError, match="would overwrite"):
        upload_files(backend.store, [source])
    assert read(backend, f"{Folder.RAW}/x.wav.options.yaml") == b"language: vi", "the bytes are not those it is for"


def test_a_name_that_is_too_long_is_not_an_error_of_the_machine(backend: StoreBackend, tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(8):
        path /= "x" * 200
    path.mkdir(parents=True)
    (path / "x.wav").write_bytes(b"x")
    if backend.store.folder is None:
        with pytest.raises(UploadError, match="1024 bytes"):
            upload_files(backend.store, [tmp_path / ("x" * 200)])
    else:
        assert len(upload_files(backend.store, [tmp_path / ("x" * 200)]).names) == 1
