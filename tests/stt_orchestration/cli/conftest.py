"""A project in which a command finds nothing but its defaults, and what is asked of every command that is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.project import Project

PROJECT = Path(__file__).resolve().parents[3]
SAMPLES = PROJECT / "samples"


@pytest.fixture
def own(project: Project) -> Project:
    """A project that leaves to the command what others give it: language by ear, the ledger in the data folder, that folder."""
    for name in ("STT_LANGUAGE", "STT_LEDGER_URL"):
        del project.environment[name]
    shutil.rmtree(project.data)
    return project


def check_refusal(own: Project, arguments: list[str], more: dict[str, str], code: int, sentence: str) -> None:
    """A command ends with an exit code and a sentence on standard error, and never with a traceback."""
    ended = own.invoke(*arguments, **more)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended.stderr
    assert sentence in ended.stderr
