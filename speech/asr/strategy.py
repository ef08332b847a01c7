"""Which way a recording is decoded first: fast where that is proven to lose nothing, carefully everywhere else. Pure.

Fast and ample differ in the context alone: both decode batches of chunks on a cut window and answer to the same guard.
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
"""Languages in which the fast path was measured at no more word errors than the sequential one, on both halves of a corpus of many
speakers."""

_AMPLE_LANGUAGES = frozenset({"vi"})
"""The same for the ample path, on few speakers."""

SHORT_WINDOW_LANGUAGES = _FAST_LANGUAGES | _AMPLE_LANGUAGES
"""Languages for which some way other than the careful one is proven."""

NARROW_BAND_DB = -40.0
"""Recordings with less energy than this above 4.3 kHz, against the band of speech, came through a telephone or a strong filter. In
our corpora wide-band recordings lie above -28 dB, Kennedy's old one at -45 dB and telephone prompts below -48 dB. The figure is
taken from the sound and not from the model, so it is the same on every processor but for the last digits."""

_FFT_SAMPLES = 1024  # samples a spectrum is taken of: 64 ms
_SPEECH_BAND_HZ = (300.0, 3400.0)
_HIGH_BAND_HZ = 4300.0


@dataclass(frozen=True, slots=True)
class DecodingStrategy:
    """The way chosen, and the rule that chose it.

    Attributes:
        name: As transcripts call it.
        why: The rule, as a sentence.
        window_policy: The context that chunks are decoded in; None on the careful way, which cuts nothing.
    """

    name: Literal["fast", "ample", "careful"]
    why: str
    window_policy: WindowPolicy | None = None


def choose_strategy(
    language: str, bandwidth_db: float, *, careful: bool, task: Task = "transcribe"
) -> DecodingStrategy:
    """The way for a recording.

    Args:
        language: Whisper's code.
        bandwidth_db: See ``measure_bandwidth_db``.
        careful: Whether the careful way was asked for.
        task: What is to be written.
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
        whole = len(samples) // _FFT_SAMPLES * _FFT_SAMPLES
        if whole:
            windows = samples[:whole].reshape(-1, _FFT_SAMPLES) * np.hanning(_FFT_SAMPLES)
            power += (np.abs(np.fft.rfft(windows, axis=1)) ** 2).sum(axis=0)
    speech = power[(hertz > _SPEECH_BAND_HZ[0]) & (hertz < _SPEECH_BAND_HZ[1])].sum()
    above = power[hertz > _HIGH_BAND_HZ].sum()
    return float(10 * np.log10(above / speech)) if speech > 0 and above > 0 else float("-inf")
