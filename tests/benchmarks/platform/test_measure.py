"""Measuring a platform: an early interrupt, and the standard clip."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import soundfile

from benchmarks.platform.measure import STANDARD_CLIP, measure
from speech.models.registry import Weights
from speech.transcript import Options

SPEECH = Path(__file__).resolve().parents[3] / "samples" / "lj-printing.mp3"


def test_an_interrupt_before_the_first_iteration_gives_no_result(base_weights: Weights) -> None:
    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(base_weights, Options(), SPEECH, iterations=1, warmup=1, unisolated=True, progress=interrupt)


def test_the_standard_clip_has_thirty_seconds_and_the_checksum_of_its_readme() -> None:
    info = soundfile.info(STANDARD_CLIP)
    assert (info.frames, info.samplerate, info.channels) == (480_000, 16_000, 1)
    page = (STANDARD_CLIP.parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(STANDARD_CLIP.read_bytes()).hexdigest() in page
