"""Every hostile input goes through the real command at once, and each has to end in its own way. See ``inputs`` for both."""

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
from tests.hostile.inputs import End, Input, everything, hush, kennedy, wav
from tests.project import Project, make_project

INPUTS = everything()


@dataclass
class Outcome:
    """What the command left behind.

    Attributes:
        project: Where it ran.
        code: Its exit code.
        said: All it printed.
        members: Name -> the newest delivery under it, as the ledger shows it.
        strangers: Files that appeared, vanished or changed where the command had no business.
    """

    project: Project
    code: int
    said: str
    members: dict[str, Member]
    strangers: set[tuple[str, int, int]]


def outside(project: Project) -> set[tuple[str, int, int]]:
    """Every file and folder that is not the project's own, as it is."""
    found = set()
    for parent, folders, files in os.walk(project.root):
        if Path(parent) == project.root:
            folders.remove("own")
        for name in files + folders:
            status = os.lstat(os.path.join(parent, name))
            found.add((os.path.join(parent, name), status.st_size, status.st_mtime_ns))
    return found


def write(folder: Path, each: Input) -> None:
    path = os.path.join(os.fsencode(folder), each.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(each.make())


class Grower(threading.Thread):
    """Somebody who writes to a recording all the time."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.enough = path, threading.Event()
        path.write_bytes(wav(kennedy()))

    def run(self) -> None:
        while not self.enough.wait(0.1):
            with self.path.open("ab") as file:
                file.write(bytes(320))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, base_weights: Weights) -> Iterator[Outcome]:
    project = make_project(tmp_path_factory.mktemp("hostile"), base_weights)
    desk = project.workdir
    for each in INPUTS:
        write(desk / "in", each)
    (desk / "secret.wav").write_bytes(wav(kennedy()))
    (desk / "in" / "link.wav").symlink_to(desk / "secret.wav")
    (desk / "in" / "folder link").symlink_to(desk)
    (desk / "in" / ".hidden.wav").write_bytes(hush(403)())
    os.mkfifo(desk / "in" / "pipe.wav")
    # Three that lie in the input folder already: one grows, one vanishes, one holds a name that is delivered with other bytes.
    grower = Grower(project.raw / "growing.wav")
    (project.raw / "vanishing.wav").write_bytes(hush(400)())
    (project.raw / "in").mkdir()
    (project.raw / "in" / "taken.wav").write_bytes(hush(401)())
    (desk / "in" / "taken.wav").write_bytes(hush(402)())
    before, said = outside(project), ""
    grower.start()
    try:
        command = project.start("run", "in")
        assert command.stdout is not None
        for line in command.stdout:
            said += line
            if line.startswith("Loading Dagster"):  # the batch is made, and no byte of it is read yet
                (project.raw / "vanishing.wav").unlink()
        code = command.wait()
    finally:
        grower.enough.set()
        grower.join()
    yield Outcome(project, code, said, project.read_members(), before ^ outside(project))
    shutil.rmtree(project.root)


@pytest.mark.parametrize("each", INPUTS, ids=lambda each: encode_name(each.name)[-60:])
def test_it_ends_as_it_must(outcome: Outcome, each: Input) -> None:
    name = encode_name(b"in/" + each.name)
    member = outcome.members[name]
    store = DirectoryStore(outcome.project.data)
    made = [key for key in list_output_keys(name) if store.exists(key)]
    assert made == (list_output_keys(name) if member.state == "done" else [])
    assert any(fits(store, member, end) for end in each.ends), (member, each.ends)


def fits(store: DirectoryStore, member: Member, end: End) -> bool:
    """Whether a delivery ended in this way."""
    recording = member.recording
    kind = recording.kind if recording else member.kind
    if (member.state, kind) != (end.state, end.kind):
        return False
    if end.state != "done":
        return end.says in (member.shown_reason or "")
    flags = {**member.flags, **(recording.flags if recording else {})}
    said = " ".join(f"{flag}: {why}" for flag, why in flags.items())
    told = json.loads(Path(store.locate(list_output_keys(member.delivery.name)[1])).read_text())
    text = " ".join(segment["text"] for segment in told["segments"])
    if end.heard == "" and told["segments"]:
        return False  # a word that nobody said
    return end.says in said and (end.heard or "") in text


def test_there_are_enough_of_them() -> None:
    assert len(INPUTS) >= 60


def test_the_command_says_that_some_are_broken_and_shows_no_traceback(outcome: Outcome) -> None:
    assert outcome.code == 3, outcome.said
    assert "Traceback" not in outcome.said


def test_one_refused_file_is_named_and_the_others_of_its_folder_are_taken(outcome: Outcome) -> None:
    flat = outcome.said.replace("\n", "")
    assert "Not taken in" in flat
    assert "taken.wav would overwrite" in flat
    assert (outcome.project.raw / "in" / "taken.wav").read_bytes() == hush(401)()
    assert outcome.members["in/taken.wav"].state == "done"


def test_one_that_grows_waits_and_one_that_vanishes_says_so(outcome: Outcome) -> None:
    assert "1 files are still being written" in outcome.said
    assert "growing.wav" not in outcome.members
    vanished = outcome.members["vanishing.wav"]
    assert (vanished.state, vanished.kind) == ("quarantined", "changed")
    assert "was removed before it could be read" in str(vanished.shown_reason)


def test_what_is_no_input_is_left_alone(outcome: Outcome) -> None:
    others = {"in/taken.wav", "vanishing.wav"}
    assert set(outcome.members) == {encode_name(b"in/" + each.name) for each in INPUTS} | others


def test_no_file_outside_the_data_folder_appears_or_changes(outcome: Outcome) -> None:
    assert outcome.strangers == set()


def test_the_status_adds_up(outcome: Outcome) -> None:
    states = outcome.project.read_states()
    assert set(states) == {"done", "quarantined"}
    assert sum(states.values()) == len(outcome.members)


@pytest.mark.parametrize("way", ["as its bytes", "as it is shown"])
def test_a_name_that_is_no_text_can_be_asked_for(outcome: Outcome, way: str) -> None:
    raw = b"names/caf\xe9 \xff\xfe.wav"
    project = outcome.project
    code, said = project.run_process("show", raw) if way == "as its bytes" else project.stt("show", encode_name(raw))
    assert code == 0, said
    assert "caf%E9 %FF%FE.wav" in said
    assert "no_speech" in said
