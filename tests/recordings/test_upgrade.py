"""A data folder that version 0.1.0 wrote opens and goes on: nothing is lost, nothing is done again that need not be.

``installation-0.1.0.tar.xz`` is such a folder: a recording of speech, silence under two names, a broken one, all finished, and a
batch that was registered and not worked on.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.project import Project

WRITTEN = Path(__file__).with_name("installation-0.1.0.tar.xz")
OUTPUTS = ("input_audio", "whisper_json", "transcripts")


@pytest.fixture
def upgraded(project: Project) -> Project:
    for name in ("STT_LANGUAGE", "STT_LEDGER_URL"):
        del project.environment[name]
    shutil.rmtree(project.data)
    with tarfile.open(WRITTEN) as archive:
        archive.extractall(project.data.parent, filter="data")
    return project


def outputs(project: Project) -> dict[str, bytes]:
    files = (path for folder in OUTPUTS for path in (project.data / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(project.data)): path.read_bytes() for path in files if ".tmp" not in path.parts}


def status(project: Project) -> dict[str, object]:
    told: dict[str, object] = json.loads(project.invoke("status", "--json").stdout)
    return told


def test_an_old_ledger_opens_and_what_was_registered_is_worked_on(upgraded: Project) -> None:
    before = outputs(upgraded)
    states = {"received": 1, "normalized": 0, "transcribed": 0, "done": 3, "quarantined": 1, "failed": 0}
    assert status(upgraded) == {"inputs": 5, "states": states}
    ended = upgraded.invoke("run", "--only-new")
    assert ended.returncode in {0, 3}, ended.stdout + ended.stderr
    assert status(upgraded) == {"inputs": 5, "states": {**states, "received": 0, "done": 4}}
    after = outputs(upgraded)
    assert before.items() <= after.items(), "what was finished is left as it was"
    assert {name.rpartition("/")[2] for name in after.keys() - before.keys()} == {
        f"late.wav.{suffix}" for suffix in ("wav", "json", "txt", "srt", "vtt", "html")
    }


def test_it_is_shown_retried_and_done_again_like_one_of_today(upgraded: Project) -> None:
    shown = upgraded.invoke("show", "country.flac").stdout
    assert "what you can do for your country" in shown
    assert upgraded.invoke("retry", "broken.mp3").returncode == 0
    ended = upgraded.invoke("run")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert status(upgraded) == {
        "inputs": 5,
        "states": {"received": 0, "normalized": 0, "transcribed": 0, "done": 4, "quarantined": 1, "failed": 0},
    }
    text = (upgraded.data / "transcripts/country.flac.txt").read_text()
    assert "what you can do for your country" in text
