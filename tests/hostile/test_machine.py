"""Faults of the machine, each through the real command: one sentence says what and where; without the fault a rerun ends well."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.hostile.conftest import Project
from tests.hostile.inputs import hush, kennedy, wav


def fails(project: Project, *words: str, code: int = 1, limit: Callable[[], None] | None = None, **more: str) -> None:
    """``stt run`` ends with this code and says these words, and shows nobody a traceback."""
    ended, said = project.stt("run", limit=limit, **more)
    flat = said.replace("\n", " ")
    assert ended == code, said
    assert "Traceback" not in said
    for word in words:
        assert word in flat, said


def recovers(project: Project, **states: int) -> None:
    """The same command, now that the fault is gone."""
    ended, said = project.stt("run")
    assert ended == 0, said
    assert project.states() == states


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


def test_a_full_disk(project: Project) -> None:
    """A minute of audio does not fit: on a disk of 1 MB where we may mount one, else below a limit for every file."""

    def no_large_file() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    outputs = project.data / "input_audio"
    outputs.mkdir()
    minute = project.raw / "minute.flac"
    soundfile.write(minute, np.zeros(60 * 16_000, np.int16), 16_000)
    with mounted(outputs, "-t", "tmpfs", "-o", "size=1m", "tmpfs") as small:
        cause = "No space left on device" if small else "File too large"
        limit = None if small else no_large_file
        fails(project, f"{cause} at {outputs / 'minute.flac.wav'}. Make room there, then run again", limit=limit)
        assert [path for path in outputs.rglob("*") if path.is_file()] == [], "not even half a file"
        assert project.states() == {"received": 1}
    recovers(project, done=1)


def test_an_output_folder_that_cannot_be_written(project: Project) -> None:
    (project.raw / "a.wav").write_bytes(hush(500)())
    outputs = project.data / "transcripts"
    outputs.mkdir()
    with mounted(outputs, "--bind", str(outputs)) as bound:
        if not bound:
            pytest.skip("only a mount is read-only for everybody, and this user may not mount")
        subprocess.run(["mount", "-o", "remount,ro,bind", str(outputs)], check=True)
        fails(project, f"Read-only file system at {outputs}", "Make it writable")
        assert project.states() == {"transcribed": 1}
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
    (home / "history").mkdir()
    (home / "history" / "runs.db").write_bytes(b"no database" * 1000)
    fails(project, f"Dagster's storage in DAGSTER_HOME={home}")
    shutil.rmtree(home / "history")


def test_what_is_broken_before_a_step_begins(project: Project) -> None:
    """One fault after the other, and then the same command without any."""
    assert project.states() == {}
    (project.raw / "a.wav").write_bytes(wav(kennedy()))
    locked_ledger(project)
    damaged_ledger(project)
    assert project.states() == {}
    torn_weights(project)
    bad_dagster_home(project)
    assert project.states() == {"received": 1}
    recovers(project, done=1)
    assert "country" in (project.data / "transcripts/a.wav.txt").read_text()
