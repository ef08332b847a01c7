"""How a recording is decoded: fast only where that is proven; the bandwidth is measured on the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from speech.asr.encoder_window import LONG
from speech.asr.strategy import choose_strategy, measure_bandwidth_db
from speech.audio.normalize import SAMPLE_RATE, normalize

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def read_normalized(tmp_path: Path, name: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    normalize(SAMPLES / name, tmp_path / "x.wav")
    samples, _ = soundfile.read(tmp_path / "x.wav", dtype="float32", always_2d=True)
    return samples[:, 0]


def remove_treble(
    samples: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Remove everything above 3.9 kHz, as a telephone does."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > 3900] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def test_wide_band_english_is_fast_and_telephone_band_english_is_ample(tmp_path: Path) -> None:
    wide = read_normalized(tmp_path, "austen.m4a")
    assert choose_strategy("en", measure_bandwidth_db([wide]), careful=False).name == "fast"
    strategy = choose_strategy("en", measure_bandwidth_db([remove_treble(wide)]), careful=False)
    assert (strategy.name, strategy.window_policy, "Telephone-band" in strategy.why) == ("ample", LONG, True)
    assert choose_strategy("vi", 0.0, careful=False).window_policy == LONG


def test_other_languages_and_the_option_lead_to_the_careful_path() -> None:
    assert choose_strategy("de", 0.0, careful=False).name == "careful"
    assert choose_strategy("de", -60.0, careful=False).name == "careful", "whatever its bandwidth"
    assert choose_strategy("en", 0.0, careful=True).why == "The careful path was asked for."


def test_silence_has_no_bandwidth() -> None:
    assert measure_bandwidth_db([np.zeros(16_000, np.float32)]) == float("-inf")
    assert measure_bandwidth_db([np.ones(10, np.float32)]) == float("-inf")
