"""Chooses the decoding strategy of a recording: fast where measurements show no loss, careful everywhere else. Pure.

The strategies ``fast`` and ``ample`` differ only in the length of the encoder's window. Both decode batches of chunks on a
shortened window, and their results go through the same hallucination checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from speech.asr.encoder_window import LONG, SHORT, WindowPolicy
from speech.audio.normalize import SAMPLE_RATE
from speech.transcript import Task

_FAST_LANGUAGES = frozenset({"en"})
"""Languages in which the fast strategy makes no more word errors than the careful one, measured on both halves of a corpus of many
speakers."""

_AMPLE_LANGUAGES = frozenset({"vi"})
"""The same for the ample strategy, measured on few speakers."""

SHORT_WINDOW_LANGUAGES = _FAST_LANGUAGES | _AMPLE_LANGUAGES
"""Languages for which a strategy with a shortened window is proven."""

NARROW_BAND_DB = -40.0
"""Recordings with less energy than this above 4.3 kHz, against the band of speech, came through a telephone or a strong filter. In
our corpora wide-band recordings lie above -28 dB, a speech by Kennedy (1961) at -45 dB and telephone prompts below -48 dB. The
figure is computed from the sound, not by the model, so it is the same on every processor except for the last digits."""

_FFT_SAMPLES = 1024  # samples a spectrum is taken of: 64 ms
_SPEECH_BAND_HZ = (300.0, 3400.0)
_HIGH_BAND_HZ = 4300.0


@dataclass(frozen=True, slots=True)
class DecodingStrategy:
    """The chosen strategy, and the rule that chose it.

    Attributes:
        name: The name in transcripts.
        why: The rule, as a sentence.
        window_policy: Length of the encoder's window; None for the careful strategy, which uses the full window.
    """

    name: Literal["fast", "ample", "careful"]
    why: str
    window_policy: WindowPolicy | None = None


def choose_strategy(
    language: str, bandwidth_db: float, *, careful: bool, task: Task = "transcribe"
) -> DecodingStrategy:
    """Choose the strategy for a recording.

    Args:
        language: Whisper's code.
        bandwidth_db: See ``measure_bandwidth_db``.
        careful: Whether the user asked for the careful strategy.
        task: Whether to transcribe or to translate.
    """
    if careful:
        return DecodingStrategy("careful", "The careful path was asked for.")
    if task == "translate":
        return DecodingStrategy("careful", "No faster path is proven for translations.")
    if language not in SHORT_WINDOW_LANGUAGES:
        return DecodingStrategy("careful", f"No faster path is proven for the language {language}.")
    if bandwidth_db < NARROW_BAND_DB:
        return DecodingStrategy(
            "ample", f"Telephone-band sound ({bandwidth_db:.0f} dB above 4.3 kHz) needs more context.", LONG
        )
    if language in _AMPLE_LANGUAGES:
        return DecodingStrategy("ample", f"The language {language} needs more context.", LONG)
    return DecodingStrategy("fast", "Wide-band speech in a language for which the fast path is proven.", SHORT)


def measure_bandwidth_db(parts: Sequence[npt.NDArray[np.float32]]) -> float:
    """Energy above 4.3 kHz against the energy between 300 and 3400 Hz, in decibels; -inf for silence.

    Args:
        parts: Stretches of speech of one recording, 16 kHz.
    """
    hertz = np.fft.rfftfreq(_FFT_SAMPLES, 1 / SAMPLE_RATE)
    power = np.zeros(len(hertz))
    for samples in parts:
        sample_count = len(samples) // _FFT_SAMPLES * _FFT_SAMPLES
        if sample_count:
            windows = samples[:sample_count].reshape(-1, _FFT_SAMPLES) * np.hanning(_FFT_SAMPLES)
            power += (np.abs(np.fft.rfft(windows, axis=1)) ** 2).sum(axis=0)
    speech = power[(hertz > _SPEECH_BAND_HZ[0]) & (hertz < _SPEECH_BAND_HZ[1])].sum()
    above = power[hertz > _HIGH_BAND_HZ].sum()
    return float(10 * np.log10(above / speech)) if speech > 0 and above > 0 else float("-inf")
