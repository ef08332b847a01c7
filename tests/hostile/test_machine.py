"""Faults of the machine: the command names fault and file in one sentence, and succeeds when it is run again without the fault."""

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
from tests.hostile.inputs import encode_wav, read_speech, silence_maker
from tests.project import Project


def expect_failure(project: Project, *expected: str, code: int = 1, **variables: str) -> None:
    """``stt run`` ends with this code, prints these texts, and shows no traceback."""
    check_output(project.stt("run", **variables), code, *expected)


def check_output(result: tuple[int, str], code: int, *expected: str) -> None:
    """Check the exit code and the output of a command."""
    exit_code, output = result
    flat = output.replace("\n", " ")
    assert exit_code == code, output
    assert "Traceback" not in output
    for text in expected:
        assert text in flat, output


def expect_recovery(project: Project, **states: int) -> None:
    """Run again, without the fault."""
    code, output = project.stt("run")
    assert code == 0, output
    assert project.read_states() == states


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[bool]:
    """Mount on a folder; yields False if this user may not."""
    try:
        succeeded = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        succeeded = False
    try:
        yield succeeded
    finally:
        if succeeded:
            subprocess.run(["umount", str(folder)], check=True)


@dataclass
class Disk:
    """A small disk for the data folder: mounted if this user may, otherwise a limit on the file size of the next process."""

    project: Project
    mounted: bool
    size: int

    @property
    def full_error(self) -> str:
        """The error of the operating system when it is full."""
        return "No space left on device" if self.mounted else "File too large"

    def limit(self) -> None:
        """Apply the limit; called in the new process."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))

    def grow(self, size: int, running: int | None = None) -> None:
        """Make room."""
        self.size = size
        if self.mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.project.data)], check=True)
        elif running is not None:
            resource.prlimit(running, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def list_retry_errors(project: Project) -> list[str]:
    """Errors of steps that wait for a retry, from Dagster's event log."""
    with open_instance() as opened:
        return [
            entry.dagster_event.step_retry_data.error.to_string()
            for run in opened.get_runs()
            for entry in opened.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
            if entry.dagster_event is not None
        ]


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_on_a_full_disk_succeeds_after_room_is_made(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """First a minute of telephone audio does not fit, then its normalized audio, which is four times as large."""
    soundfile.write(project.workdir / "minute.wav", np.zeros(60 * 8_000), 8_000, "PCM_U8")
    delivered, normalized = project.raw / "minute.wav", project.data / "input_audio" / "minute.wav.wav"
    with mounted(project.data, "-t", "tmpfs", "-o", "size=300000", "tmpfs") as is_mounted:
        disk = Disk(project, is_mounted, 300_000)
        sentence = f"{disk.full_error} at {delivered}. Make room there, then run again: nothing is lost."
        check_output(project.run_process("run", "minute.wav", limit=disk.limit), 1, sentence)
        assert list_files(project.data) == [], "no partial file is left"

        disk.grow(1_000_000)
        command = project.start("run", "minute.wav", limit=disk.limit)
        monkeypatch.setenv("DAGSTER_HOME", str(project.home))
        errors: list[str] = []
        while not errors and command.poll() is None:
            time.sleep(0.1)
            errors = list_retry_errors(project) if (project.home / "history" / "runs.db").exists() else []
        assert f"{disk.full_error} at {normalized}. Make room there" in "".join(errors)
        assert list_files(project.data) == [delivered]
        assert project.read_states() == {"received": 1}

        disk.grow(10_000_000, command.pid)
        output, _ = command.communicate(timeout=100)
        check_output((command.returncode, output), 0)
        assert project.read_states() == {"done": 1}


def test_an_output_folder_that_cannot_be_written_fails_the_run(project: Project) -> None:
    (project.raw / "a.wav").write_bytes(silence_maker(500)())
    outputs = project.data / "transcripts"
    outputs.mkdir()
    with mounted(outputs, "--bind", str(outputs)) as is_mounted:
        if not is_mounted:
            pytest.skip("only a mount is read-only for root too, and this user may not mount")
        subprocess.run(["mount", "-o", "remount,ro,bind", str(outputs)], check=True)
        expect_failure(project, f"Read-only file system at {outputs}", "Make it writable")
        assert project.read_states() == {"transcribed": 1}
        normalized = (project.data / "input_audio/a.wav.wav").stat().st_mtime_ns
    expect_recovery(project, done=1)
    assert (project.data / "input_audio/a.wav.wav").stat().st_mtime_ns == normalized, "finished work is not repeated"


LOCK_SCRIPT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def check_locked_ledger(project: Project) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_SCRIPT, str(project.ledger)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    address = f"sqlite:///{project.ledger}"
    expect_failure(project, address, "Another process held it for over 1 s", STT_LEDGER_URL=f"{address}?timeout=1")
    holder.communicate("")


def check_damaged_ledger(project: Project) -> None:
    content = project.ledger.read_bytes()
    for start in (0, 2048):  # all of it, and all behind the first tables
        project.ledger.write_bytes(content[:start] + b"\xaa" * (len(content) - start))
        expect_failure(project, str(project.ledger), "The file is damaged: restore it from a backup")
        for path in project.ledger.parent.glob("ledger.db*"):
            path.unlink()
    project.ledger.write_bytes(content)


def check_truncated_weights(project: Project) -> None:
    truncated = project.root / "own/weights"
    shutil.copytree(project.environment["STT_MODEL_DIR"], truncated)
    os.truncate(truncated / "model.bin", (truncated / "model.bin").stat().st_size // 2)
    expect_failure(project, str(truncated / "model.bin"), STT_MODEL_DIR=str(truncated))


def check_bad_dagster_home(project: Project) -> None:
    home, settings = project.home, project.home / "dagster.yaml"
    for invalid_home in ("own/dagster", str(settings)):
        expect_failure(project, "Allowed: the absolute path of a folder that exists", code=2, DAGSTER_HOME=invalid_home)
    content = settings.read_text()
    settings.write_text("no_such_key: 1")
    expect_failure(project, str(settings), "no_such_key", code=2)
    settings.write_text(content)
    (home / "schedules").write_text("no folder")
    check_output(project.stt("ui"), 1, f"Dagster's storage in DAGSTER_HOME={home}")
    (home / "schedules").unlink()
    shutil.rmtree(home / "history")
    (home / "history").mkdir()
    (home / "history" / "runs.db").write_bytes(b"no database" * 1000)
    expect_failure(project, f"Dagster's storage in DAGSTER_HOME={home}")
    shutil.rmtree(home / "history")


def test_faults_before_a_step_begins_are_reported(project: Project) -> None:
    """One fault after the other, and then the same command without a fault."""
    assert project.read_states() == {}
    (project.raw / "a.wav").write_bytes(encode_wav(read_speech()))
    check_locked_ledger(project)
    check_damaged_ledger(project)
    assert project.read_states() == {}
    check_truncated_weights(project)
    check_bad_dagster_home(project)
    assert project.read_states() == {"received": 1}
    expect_recovery(project, done=1)
    assert "country" in (project.data / "transcripts/a.wav.txt").read_text()
