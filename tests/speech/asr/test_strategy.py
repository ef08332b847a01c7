"""How a recording is decoded: in batches, and carefully where it is doubted; the bandwidth is measured on the samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.asr.encoder_window import LONG, SHORT, WHOLE, WindowPolicy, compute_context_s
from speech.asr.language import LANGUAGES
from speech.asr.strategy import FirstResults, choose_strategy, measure_bandwidth_db, revise_strategy
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.transcript import Speed

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


def test_every_other_language_gets_more_context() -> None:
    strategies = {choose_strategy(language, 0.0, careful=False) for language in LANGUAGES - {"en"}}
    assert {(strategy.name, strategy.window_policy) for strategy in strategies} == {("ample", LONG)}
    assert "The language de needs" in choose_strategy("de", 0.0, careful=False).why


def test_the_option_and_translations_lead_to_the_careful_path() -> None:
    assert choose_strategy("en", 0.0, careful=True).why == "The careful path was asked for."
    assert choose_strategy("de", 0.0, careful=False, task="translate").window_policy is None


@pytest.mark.parametrize(("speed", "policy", "context_s"), [("fast", SHORT, 8), ("accurate", WHOLE, 30)])
def test_a_speed_that_is_asked_for_decides_about_the_window(speed: Speed, policy: WindowPolicy, context_s: int) -> None:
    """In every language and band; the balanced one is that of a recording that nobody asks anything for."""
    for language in LANGUAGES:
        for bandwidth_db in (0.0, -60.0):
            strategy = choose_strategy(language, bandwidth_db, careful=False, speed=speed)
            assert strategy.window_policy == policy
            balanced = choose_strategy(language, bandwidth_db, careful=False, speed="balanced")
            assert strategy.min_avg_logprob == balanced.min_avg_logprob
    assert compute_context_s(2.0, policy) == context_s
    assert choose_strategy("en", 0.0, careful=True, speed=speed).window_policy is None, "careful means sequential"


def test_a_recording_is_decoded_carefully_if_most_of_its_first_chunks_are_doubted() -> None:
    strategy = choose_strategy("en", 0.0, careful=False)
    assert revise_strategy(strategy, FirstResults(sampled=4, suspects=2, avg_logprob=-0.9)) == strategy
    assert revise_strategy(strategy, FirstResults(sampled=3, suspects=3, avg_logprob=-0.9)) == strategy, "too few"
    revised = revise_strategy(strategy, FirstResults(sampled=5, suspects=3, avg_logprob=-0.1))
    assert (revised.name, revised.window_policy) == ("careful", None)
    assert revised.why == "3 of the first 5 chunks are doubted on the fast path."


@pytest.mark.parametrize("bandwidth_db", [0.0, -60.0])
def test_an_improbable_recording_is_decoded_carefully_in_languages_with_little_proof(bandwidth_db: float) -> None:
    """However short it is. In English and Vietnamese the guard of each chunk is enough."""
    first = FirstResults(sampled=1, suspects=0, avg_logprob=-0.4)
    for language in LANGUAGES:
        strategy = choose_strategy(language, bandwidth_db, careful=False)
        expected = strategy.name if language in ("en", "vi") else "careful"
        assert revise_strategy(strategy, first).name == expected
        assert revise_strategy(strategy, replace(first, avg_logprob=-0.3)) == strategy
    assert (
        "improbable (-0.40) on the ample path" in revise_strategy(choose_strategy("sw", 0.0, careful=False), first).why
    )


def test_silence_has_no_bandwidth() -> None:
    assert measure_bandwidth_db([np.zeros(16_000, np.float32)]) == float("-inf")
    assert measure_bandwidth_db([np.ones(10, np.float32)]) == float("-inf")
