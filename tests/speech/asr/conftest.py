"""Normalized samples, engines, and transcripts that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speech.asr.engine import Engine
from speech.asr.model_pool import EngineConfig
from speech.audio.normalize import normalize
from speech.models.registry import Weights
from speech.transcript import Transcript
from tests.speech.asr.helpers import ENGLISH, SAMPLES, transcribe


@pytest.fixture(scope="session")
def audio_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, normalized under their own names."""
    audio_dir = tmp_path_factory.mktemp("normalized")
    for sample in ("jfk.opus", "austen.m4a", "lj-printing.mp3", "two-speakers.flac", "silence.wav"):
        normalize(SAMPLES / sample, audio_dir / sample)
    return audio_dir


@pytest.fixture(scope="session")
def engine(base_weights: Weights) -> Iterator[Engine]:
    """One loaded model for all tests, with two workers."""
    with Engine(base_weights, EngineConfig(workers=2)) as engine:
        yield engine


@pytest.fixture(scope="session")
def jfk(engine: Engine, audio_dir: Path) -> Transcript:
    return transcribe(engine, audio_dir / "jfk.opus")


@pytest.fixture(scope="session")
def conversation(engine: Engine, audio_dir: Path) -> Transcript:
    return transcribe(engine, audio_dir / "two-speakers.flac", ENGLISH)
