"""Fixtures and helpers for the tests of the commands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speech.models.registry import Weights
from tests.project import Project

PROJECT = Path(__file__).resolve().parents[3]
SAMPLES = PROJECT / "samples"
SPEECH = SAMPLES / "lj-printing.mp3"
Stt = Callable[..., "tuple[int, str]"]

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="--pin needs affinity, which this system lacks"
)


@pytest.fixture
def bare_project(project: Project) -> Project:
    """A project without settings for the language and the ledger, and without a data folder: the command uses its defaults."""
    for name in ("STT_LANGUAGE", "STT_LEDGER_URL"):
        del project.environment[name]
    shutil.rmtree(project.data)
    return project


@pytest.fixture
def stt(
    tmp_path: Path, base_weights: Weights, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Stt:
    """``stt`` in this process, with defaults and an empty data folder: arguments -> exit code and everything printed."""
    from stt_orchestration.cli.app import app  # slow to import

    for name in [name for name in os.environ if name.startswith(("STT_", "WHISPER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STT_MODEL_DIR", str(base_weights.path))

    def call(*arguments: str | Path) -> tuple[int, str]:
        capfd.readouterr()
        code = app([str(argument) for argument in arguments], standalone_mode=False)
        captured = capfd.readouterr()
        return int(code or 0), captured.out + captured.err

    return call


def check_refusal(
    bare_project: Project, arguments: list[str], variables: dict[str, str], code: int, sentence: str
) -> None:
    """Check that a command ends with this exit code and this sentence on standard error, without a traceback."""
    result = bare_project.invoke(*arguments, **variables)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert sentence in result.stderr
