"""Faults of the machine, each through the real command: one sentence says what and where; without the fault a rerun ends well."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import soundfile

from stt_orchestration.instance import open_instance
from tests.hostile.inputs import hush, kennedy, wav
from tests.project import Project


def fails(project: Project, *words: str, code: int = 1, **more: str) -> None:
    """``stt run`` ends with this code and says these words, and shows nobody a traceback."""
    says(project.stt("run", **more), code, *words)


def says(came: tuple[int, str], code: int, *words: str) -> None:
    """A command's exit code and output are as they should be."""
    ended, said = came
    flat = said.replace("\n", " ")
    assert ended == code, said
    assert "Traceback" not in said
    for word in words:
        assert word in flat, said


def recovers(project: Project, **states: int) -> None:
    """The same command, now that the fault is gone."""
    ended, said = project.stt("run")
    assert ended == 0, said
    assert project.read_states() == states


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[bool]:
    """Mount on a folder; False where this user may not."""
    try:
        done = subprocess.run(["mount", *options, str(place)], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(place)], check=True)


@dataclass
class Disk:
    """A small one for the data folder: mounted where we may, else a limit for every file of the process that is started next."""

    project: Project
    mounted: bool
    size: int

    @property
    def full(self) -> str:
        """What the operating system says."""
        return "No space left on device" if self.mounted else "File too large"

    def limit(self) -> None:
        """To be called in the process."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))

    def grow(self, size: int, running: int | None = None) -> None:
        """Somebody makes room."""
        self.size = size
        if self.mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.project.data)], check=True)
        elif running is not None:
            resource.prlimit(running, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def retried(project: Project) -> list[str]:
    """Why steps wait for their next try, as Dagster's log has it."""
    with open_instance() as opened:
        return [
            entry.dagster_event.step_retry_data.error.to_string()
            for run in opened.get_runs()
            for entry in opened.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
            if entry.dagster_event is not None
        ]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_disk_is_full_until_somebody_makes_room(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """First a minute of telephone audio does not fit, then its normalized audio does not, four times as large."""
    soundfile.write(project.workdir / "minute.wav", np.zeros(60 * 8_000), 8_000, "PCM_U8")
    delivered, normalized = project.raw / "minute.wav", project.data / "input_audio" / "minute.wav.wav"
    with mounted(project.data, "-t", "tmpfs", "-o", "size=300000", "tmpfs") as small:
        disk = Disk(project, small, 300_000)
        sentence = f"{disk.full} at {delivered}. Make room there, then run again: nothing is lost."
        says(project.run_process("run", "minute.wav", limit=disk.limit), 1, sentence)
        assert files(project.data) == [], "not even half a file"

        disk.grow(1_000_000)
        command = project.start("run", "minute.wav", limit=disk.limit)
        monkeypatch.setenv("DAGSTER_HOME", str(project.home))
        why: list[str] = []
        while not why and command.poll() is None:
            time.sleep(0.1)
            why = retried(project) if (project.home / "history" / "runs.db").exists() else []
        assert f"{disk.full} at {normalized}. Make room there" in "".join(why)
        assert files(project.data) == [delivered]
        assert project.read_states() == {"received": 1}

        disk.grow(10_000_000, command.pid)
        said, _ = command.communicate(timeout=100)
        says((command.returncode, said), 0)
        assert project.read_states() == {"done": 1}


def test_an_output_folder_that_cannot_be_written(project: Project) -> None:
    (project.raw / "a.wav").write_bytes(hush(500)())
    outputs = project.data / "transcripts"
    outputs.mkdir()
    with mounted(outputs, "--bind", str(outputs)) as bound:
        if not bound:
            pytest.skip("only a mount is read-only for everybody, and this user may not mount")
        subprocess.run(["mount", "-o", "remount,ro,bind", str(outputs)], check=True)
        fails(project, f"Read-only file system at {outputs}", "Make it writable")
        assert project.read_states() == {"transcribed": 1}
        normalized = (project.data / "input_audio/a.wav.wav").stat().st_mtime_ns
    recovers(project, done=1)
    assert (project.data / "input_audio/a.wav.wav").stat().st_mtime_ns == normalized, "what was done stays done"


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def locked_ledger(project: Project) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    address = f"sqlite:///{project.ledger}"
    fails(project, address, "Another process held it for over 1 s", STT_LEDGER_URL=f"{address}?timeout=1")
    holder.communicate("")


def damaged_ledger(project: Project) -> None:
    good = project.ledger.read_bytes()
    for start in (0, 2048):  # all of it, and all behind the first tables
        project.ledger.write_bytes(good[:start] + b"\xaa" * (len(good) - start))
        fails(project, str(project.ledger), "The file is damaged: restore it from a backup")
        for left in project.ledger.parent.glob("ledger.db*"):
            left.unlink()
    project.ledger.write_bytes(good)


def torn_weights(project: Project) -> None:
    torn = project.root / "own/weights"
    shutil.copytree(project.environment["STT_MODEL_DIR"], torn)
    os.truncate(torn / "model.bin", (torn / "model.bin").stat().st_size // 2)
    fails(project, str(torn / "model.bin"), STT_MODEL_DIR=str(torn))


def bad_dagster_home(project: Project) -> None:
    home, settings = project.home, project.home / "dagster.yaml"
    for chosen in ("own/dagster", str(settings)):
        fails(project, "Allowed: the absolute path of a folder that exists", code=2, DAGSTER_HOME=chosen)
    good = settings.read_text()
    settings.write_text("no_such_key: 1")
    fails(project, str(settings), "no_such_key", code=2)
    settings.write_text(good)
    (home / "schedules").write_text("no folder")
    says(project.stt("ui"), 1, f"Dagster's storage in DAGSTER_HOME={home}")
    (home / "schedules").unlink()
    shutil.rmtree(home / "history")
    (home / "history").mkdir()
    (home / "history" / "runs.db").write_bytes(b"no database" * 1000)
    fails(project, f"Dagster's storage in DAGSTER_HOME={home}")
    shutil.rmtree(home / "history")


def test_what_is_broken_before_a_step_begins(project: Project) -> None:
    """One fault after the other, and then the same command without any."""
    assert project.read_states() == {}
    (project.raw / "a.wav").write_bytes(wav(kennedy()))
    locked_ledger(project)
    damaged_ledger(project)
    assert project.read_states() == {}
    torn_weights(project)
    bad_dagster_home(project)
    assert project.read_states() == {"received": 1}
    recovers(project, done=1)
    assert "country" in (project.data / "transcripts/a.wav.txt").read_text()
