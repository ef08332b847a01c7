"""Which way a recording is decoded: fast only where that is proven, and by the sound itself, whatever its container says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.audio import SAMPLE_RATE, normalize
from speech.context import AMPLE, SNUG, context_seconds
from speech.paths import bandwidth_db, choose

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def heard(tmp_path: Path, name: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    normalize(SAMPLES / name, tmp_path / "x.wav")
    samples, _ = soundfile.read(tmp_path / "x.wav", dtype="float32", always_2d=True)
    return samples[:, 0]


def through_a_telephone(
    samples: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Nothing above 3.9 kHz is left."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > 3900] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def test_wide_band_english_is_decoded_fast_and_through_a_telephone_with_more_room(tmp_path: Path) -> None:
    wide = heard(tmp_path, "austen.m4a")
    assert choose("en", bandwidth_db([wide]), careful=False).name == "fast"
    way = choose("en", bandwidth_db([through_a_telephone(wide)]), careful=False)
    assert (way.name, way.room, "Telephone-band" in way.why) == ("ample", AMPLE, True)
    assert choose("vi", 0.0, careful=False).room == AMPLE


def test_unproven_languages_and_the_operators_wish_lead_to_the_careful_way() -> None:
    assert choose("de", 0.0, careful=False).name == "careful"
    assert choose("de", -60.0, careful=False).name == "careful", "narrow or not"
    assert choose("en", 0.0, careful=True).why == "The careful path was asked for."


def test_silence_has_no_band() -> None:
    assert bandwidth_db([np.zeros(16_000, np.float32)]) == float("-inf")
    assert bandwidth_db([np.ones(10, np.float32)]) == float("-inf")


@pytest.mark.parametrize(("seconds", "context"), [(0.1, 8), (5.0, 8), (5.01, 10), (12.0, 16), (26.9, 30), (30.0, 30)])
def test_the_context_is_the_speech_and_three_seconds_in_steps_of_two(seconds: float, context: int) -> None:
    assert context_seconds(seconds, SNUG) == context
    assert context_seconds(seconds, AMPLE) >= max(context, 10)
