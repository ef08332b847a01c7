"""Which way a recording is decoded: fast only where that is proven, and by the sound itself, whatever its container says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.asr.encoder_window import LONG, SHORT, compute_context_s
from speech.asr.strategy import choose_strategy, measure_bandwidth_db
from speech.audio.normalize import SAMPLE_RATE, normalize

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


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
    assert choose_strategy("en", measure_bandwidth_db([wide]), careful=False).name == "fast"
    way = choose_strategy("en", measure_bandwidth_db([through_a_telephone(wide)]), careful=False)
    assert (way.name, way.window_policy, "Telephone-band" in way.why) == ("ample", LONG, True)
    assert choose_strategy("vi", 0.0, careful=False).window_policy == LONG


def test_unproven_languages_and_the_operators_wish_lead_to_the_careful_way() -> None:
    assert choose_strategy("de", 0.0, careful=False).name == "careful"
    assert choose_strategy("de", -60.0, careful=False).name == "careful", "narrow or not"
    assert choose_strategy("en", 0.0, careful=True).why == "The careful path was asked for."


def test_silence_has_no_band() -> None:
    assert measure_bandwidth_db([np.zeros(16_000, np.float32)]) == float("-inf")
    assert measure_bandwidth_db([np.ones(10, np.float32)]) == float("-inf")


@pytest.mark.parametrize(("seconds", "context"), [(0.1, 8), (5.0, 8), (5.01, 10), (12.0, 16), (26.9, 30), (30.0, 30)])
def test_the_context_is_the_speech_and_three_seconds_in_steps_of_two(seconds: float, context: int) -> None:
    assert compute_context_s(seconds, SHORT) == context
    assert compute_context_s(seconds, LONG) >= max(context, 10)
