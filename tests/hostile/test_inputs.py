"""All hostile inputs are given to the real command at once, and each must have its own outcome. See ``inputs.py``."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recordings.layout import encode_name, list_output_keys
from recordings.ledger.rows import Member
from recordings.storage.directory import DirectoryStore
from speech.models.registry import Weights
from tests.hostile.inputs import Input, Outcome, encode_wav, list_inputs, read_speech, silence_maker
from tests.project import Project, make_project

INPUTS = list_inputs()


@dataclass
class CommandResult:
    """What the command did.

    Attributes:
        project: The project it ran in.
        code: Its exit code.
        output: All it printed.
        members: Name -> its newest delivery in the ledger.
        changes_outside: Files outside the project that appeared, vanished or changed.
    """

    project: Project
    code: int
    output: str
    members: dict[str, Member]
    changes_outside: set[tuple[str, int, int]]


def list_outside(project: Project) -> set[tuple[str, int, int]]:
    """Path, size and modification time of every file and folder outside the project's own folder."""
    entries = set()
    for parent, folders, files in os.walk(project.root):
        if Path(parent) == project.root:
            folders.remove("own")
        for name in files + folders:
            status = os.lstat(os.path.join(parent, name))
            entries.add((os.path.join(parent, name), status.st_size, status.st_mtime_ns))
    return entries


def write(folder: Path, hostile: Input) -> None:
    path = os.path.join(os.fsencode(folder), hostile.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(hostile.make())


class GrowingFile(threading.Thread):
    """Keeps writing to a recording."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.stopped = path, threading.Event()
        path.write_bytes(encode_wav(read_speech()))

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            with self.path.open("ab") as file:
                file.write(bytes(320))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, base_weights: Weights) -> Iterator[CommandResult]:
    project = make_project(tmp_path_factory.mktemp("hostile"), base_weights)
    workdir = project.workdir
    for hostile in INPUTS:
        write(workdir / "in", hostile)
    (workdir / "secret.wav").write_bytes(encode_wav(read_speech()))
    (workdir / "in" / "link.wav").symlink_to(workdir / "secret.wav")
    (workdir / "in" / "folder link").symlink_to(workdir)
    (workdir / "in" / ".hidden.wav").write_bytes(silence_maker(403)())
    os.mkfifo(workdir / "in" / "pipe.wav")
    # Already in the input folder: a file that grows, one that vanishes, and one whose name is delivered with other bytes.
    grower = GrowingFile(project.raw / "growing.wav")
    (project.raw / "vanishing.wav").write_bytes(silence_maker(400)())
    (project.raw / "in").mkdir()
    (project.raw / "in" / "taken.wav").write_bytes(silence_maker(401)())
    (workdir / "in" / "taken.wav").write_bytes(silence_maker(402)())
    files_before, output = list_outside(project), ""
    grower.start()
    try:
        command = project.start("run", "in")
        assert command.stdout is not None
        for line in command.stdout:
            output += line
            if line.startswith("Loading Dagster"):  # the batch is formed, and nothing of it is read yet
                (project.raw / "vanishing.wav").unlink()
        code = command.wait()
    finally:
        grower.stopped.set()
        grower.join()
    yield CommandResult(project, code, output, project.read_members(), files_before ^ list_outside(project))
    shutil.rmtree(project.root)


@pytest.mark.parametrize("hostile", INPUTS, ids=lambda hostile: encode_name(hostile.name)[-60:])
def test_each_input_has_its_outcome(result: CommandResult, hostile: Input) -> None:
    name = encode_name(b"in/" + hostile.name)
    member = result.members[name]
    store = DirectoryStore(result.project.data)
    outputs = [key for key in list_output_keys(name) if store.exists(key)]
    assert outputs == (list_output_keys(name) if member.state == "done" else [])
    assert any(matches(store, member, outcome) for outcome in hostile.outcomes), (member, hostile.outcomes)


def matches(store: DirectoryStore, member: Member, outcome: Outcome) -> bool:
    """Whether a delivery has this outcome."""
    recording = member.recording
    kind = recording.kind if recording else member.kind
    if (member.state, kind) != (outcome.state, outcome.kind):
        return False
    if outcome.state != "done":
        return outcome.reason in (member.shown_reason or "")
    flags = {**member.flags, **(recording.flags if recording else {})}
    flag_texts = " ".join(f"{flag}: {reason}" for flag, reason in flags.items())
    output_json = json.loads(Path(store.locate(list_output_keys(member.delivery.name)[1])).read_text())
    text = " ".join(segment["text"] for segment in output_json["segments"])
    if outcome.text == "" and output_json["segments"]:
        return False  # an invented word
    return outcome.reason in flag_texts and (outcome.text or "") in text


def test_there_are_enough_inputs() -> None:
    assert len(INPUTS) >= 60


def test_the_exit_code_reports_broken_recordings_without_a_traceback(result: CommandResult) -> None:
    assert result.code == 3, result.output
    assert "Traceback" not in result.output


def test_a_refused_file_is_named_and_the_others_of_its_folder_are_taken_in(result: CommandResult) -> None:
    flat = result.output.replace("\n", "")
    assert "Not taken in" in flat
    assert "taken.wav would overwrite" in flat
    assert (result.project.raw / "in" / "taken.wav").read_bytes() == silence_maker(401)()
    assert result.members["in/taken.wav"].state == "done"


def test_a_growing_file_is_not_taken_in_and_a_removed_one_is_quarantined(result: CommandResult) -> None:
    assert "1 files are still being written" in result.output
    assert "growing.wav" not in result.members
    vanished = result.members["vanishing.wav"]
    assert (vanished.state, vanished.kind) == ("quarantined", "changed")
    assert "was removed before it could be read" in str(vanished.shown_reason)


def test_links_hidden_files_and_pipes_are_not_taken_in(result: CommandResult) -> None:
    valid = {"in/taken.wav", "vanishing.wav"}
    assert set(result.members) == {encode_name(b"in/" + hostile.name) for hostile in INPUTS} | valid


def test_no_file_outside_the_data_folder_appears_or_changes(result: CommandResult) -> None:
    assert result.changes_outside == set()


def test_the_states_add_up_to_the_number_of_deliveries(result: CommandResult) -> None:
    states = result.project.read_states()
    assert set(states) == {"done", "quarantined"}
    assert sum(states.values()) == len(result.members)


def test_what_was_taken_of_several_audio_tracks_is_shown(result: CommandResult) -> None:
    code, output = result.project.stt("show", "in/three streams.m4a")
    assert code == 0, output
    flat = " ".join(output.split())
    assert "3 audio tracks. 1 (default): silent; 2: transcribed; 3: the sound of track 2" in flat


@pytest.mark.parametrize("spelling", ["as its bytes", "as it is shown"])
def test_a_name_that_is_not_text_can_be_shown(result: CommandResult, spelling: str) -> None:
    raw = b"names/caf\xe9 \xff\xfe.wav"
    project = result.project
    code, output = (
        project.run_process("show", raw) if spelling == "as its bytes" else project.stt("show", encode_name(raw))
    )
    assert code == 0, output
    assert "caf%E9 %FF%FE.wav" in output
    assert "no_speech" in output
