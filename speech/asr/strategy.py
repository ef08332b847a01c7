"""Chooses the decoding strategy of a recording: batches of chunks where the recording bears it, careful where it is doubted. Pure.

The strategies ``fast`` and ``ample`` differ only in the length of the encoder's window. Both decode batches of chunks on a
shortened window, and their results go through the same hallucination checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from speech.asr.encoder_window import LONG, SHORT, WHOLE, WindowPolicy
from speech.audio.normalize import SAMPLE_RATE
from speech.transcript import Speed, Task

SHORTEST_WINDOW_LANGUAGE = "en"
"""Two thirds of the speech that Whisper was trained on are English (Radford et al., 2022: 438,000 of 680,000 hours). In
the others the longer window is the safer one. Word errors with ``LONG`` and with ``SHORT``, base, int8, all recordings of the
corpus: Spanish 13.3 and 15.8 %, French 13.9 and 14.0 %, Italian 10.6 and 10.0 % (``python -m benchmarks.lab.peers --setups ours
--groups Spanish French Italian``, with this rule and with another language here)."""

PROVEN_LANGUAGES = frozenset({"en", "vi"})
"""Languages in which the guard of each chunk was enough on recordings of many speakers, however improbable their words were. In the
others a recording must be as probable as ``MIN_AVG_LOGPROB`` says."""

MIN_AVG_LOGPROB = -0.35
"""Mean log-probability of a recording's first results, from which on it is decoded in batches whatever its language. Of 98
recordings in Spanish, French, Italian and Russian nineteen in twenty have -0.33 or more (base, int8, AMD EPYC). It is also the
bound from which the guard believes a segment of a doubtful chunk (``speech.asr.hallucination.CONFIDENT_LOG_PROB_THRESHOLD``)."""

MAX_SUSPECT_SHARE = 0.5
"""Above this share of suspect chunks a recording is decoded carefully from the start. Each suspect is decoded twice, so above one
half the batches save nothing."""

MIN_SAMPLED_CHUNKS = 4
"""With fewer chunks their share says nothing, and the guard of each chunk is enough."""

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
        min_avg_logprob: Mean log-probability that the first results must have; None: any.
    """

    name: Literal["fast", "ample", "careful"]
    why: str
    window_policy: WindowPolicy | None = None
    min_avg_logprob: float | None = None

    @property
    def min_sampled_chunks(self) -> int:
        """How many chunks must be decoded to say anything about a recording; with fewer it is not tried."""
        return MIN_SAMPLED_CHUNKS if self.min_avg_logprob is None else 1


@dataclass(frozen=True, slots=True)
class FirstResults:
    """What the first decode of some chunks of a recording gave.

    Attributes:
        sampled: How many chunks were decoded.
        suspects: How many of them are suspect.
        avg_logprob: Mean log-probability of their texts, natural logarithm; each chunk counts the same.
    """

    sampled: int
    suspects: int
    avg_logprob: float


def choose_strategy(
    language: str, bandwidth_db: float, *, careful: bool, task: Task = "transcribe", speed: Speed = "balanced"
) -> DecodingStrategy:
    """Choose the strategy that a recording begins with.

    Args:
        language: Whisper's code.
        bandwidth_db: See ``measure_bandwidth_db``.
        careful: Whether the user asked for the careful strategy.
        task: Whether to transcribe or to translate.
        speed: What the user asked for. It decides about the window, in place of the sound and the language.
    """
    if careful:
        return DecodingStrategy("careful", "The careful path was asked for.")
    if task == "translate":
        return DecodingStrategy("careful", "No faster path is proven for translations.")
    name, why, window_policy = _choose_window(language, bandwidth_db, speed)
    return DecodingStrategy(name, why, window_policy, None if language in PROVEN_LANGUAGES else MIN_AVG_LOGPROB)


def _choose_window(
    language: str, bandwidth_db: float, speed: Speed
) -> tuple[Literal["fast", "ample"], str, WindowPolicy]:
    """Name of the strategy, the rule as a sentence, and the window."""
    if speed == "accurate":
        return "ample", "The most accurate batches were asked for.", WHOLE
    if speed == "fast":
        return "fast", "The fastest batches were asked for.", SHORT
    if bandwidth_db < NARROW_BAND_DB:
        return "ample", f"Telephone-band sound ({bandwidth_db:.0f} dB above 4.3 kHz) needs more context.", LONG
    if language != SHORTEST_WINDOW_LANGUAGE:
        return "ample", f"The language {language} needs more context.", LONG
    return "fast", "Wide-band speech in a language for which the fast path is proven.", SHORT


def revise_strategy(strategy: DecodingStrategy, first: FirstResults) -> DecodingStrategy:
    """The strategy again, after some chunks of the recording were decoded with it: careful if they speak against it."""
    if strategy.min_avg_logprob is not None and first.avg_logprob < strategy.min_avg_logprob:
        why = f"The first {first.sampled} chunks are improbable ({first.avg_logprob:.2f}) on the {strategy.name} path."
        return DecodingStrategy("careful", why)
    if first.sampled >= MIN_SAMPLED_CHUNKS and first.suspects > MAX_SUSPECT_SHARE * first.sampled:
        why = f"{first.suspects} of the first {first.sampled} chunks are doubted on the {strategy.name} path."
        return DecodingStrategy("careful", why)
    return strategy


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
