"""A data folder written by version 0.1.0 opens and works: nothing is lost, and nothing is repeated without need.

``installation-0.1.0.tar.xz`` is such a folder. It holds a recording of speech, silence under two names and a broken file, all
finished, and a batch that was registered and not worked on.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.project import Project

ARCHIVE = Path(__file__).with_name("installation-0.1.0.tar.xz")
OUTPUTS = ("input_audio", "whisper_json", "transcripts")


@pytest.fixture
def upgraded(project: Project) -> Project:
    for name in ("STT_LANGUAGE", "STT_LEDGER_URL"):
        del project.environment[name]
    shutil.rmtree(project.data)
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(project.data.parent, filter="data")
    return project


def read_outputs(project: Project) -> dict[str, bytes]:
    files = (path for folder in OUTPUTS for path in (project.data / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(project.data)): path.read_bytes() for path in files if ".tmp" not in path.parts}


def read_status(project: Project) -> dict[str, object]:
    status: dict[str, object] = json.loads(project.invoke("status", "--json").stdout)
    return {key: status[key] for key in ("inputs", "states")}


def test_an_old_ledger_opens_and_registered_recordings_are_worked_on(upgraded: Project) -> None:
    before = read_outputs(upgraded)
    states = {"received": 1, "normalized": 0, "transcribed": 0, "done": 3, "quarantined": 1, "failed": 0}
    assert read_status(upgraded) == {"inputs": 5, "states": states}
    result = upgraded.invoke("run", "--only-new")
    assert result.returncode in {0, 3}, result.stdout + result.stderr
    assert read_status(upgraded) == {"inputs": 5, "states": {**states, "received": 0, "done": 4}}
    after = read_outputs(upgraded)
    assert before.items() <= after.items(), "finished outputs are unchanged"
    assert {name.rpartition("/")[2] for name in after.keys() - before.keys()} == {
        f"late.wav.{suffix}" for suffix in ("wav", "json", "txt", "srt", "vtt", "html")
    }


def test_an_old_recording_can_be_shown_retried_and_done_again(upgraded: Project) -> None:
    shown = upgraded.invoke("show", "country.flac").stdout
    assert "what you can do for your country" in shown
    assert upgraded.invoke("retry", "broken.mp3").returncode == 0
    result = upgraded.invoke("run")
    assert result.returncode == 3, result.stdout + result.stderr
    assert read_status(upgraded) == {
        "inputs": 5,
        "states": {"received": 0, "normalized": 0, "transcribed": 0, "done": 4, "quarantined": 1, "failed": 0},
    }
    text = (upgraded.data / "transcripts/country.flac.txt").read_text()
    assert "what you can do for your country" in text
