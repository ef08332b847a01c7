"""Listens again where a recording is quiet: to somebody far from the microphone, or to a beginning before it was turned up.

The detector hears nothing far below the loudest parts. A gain for the whole recording would clip those. So quiet stretches are
amplified one by one, and heard a second time. What is new there becomes chunks of its own, so the text of the rest is as ever.
Noise and hum stay silent at any gain; a recording in which nothing new is heard is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from speech.asr.vad import VAD_FRAME_S, VAD_FRAME_SAMPLES, Span, VadOptions, get_speech_spans
from speech.audio.level import QUIET_DBFS, TARGET_DBFS

FAINT_DBFS = -82
"""A stretch that stays below this level has no words left in 16 bits."""

MAX_GAIN_DB = TARGET_DBFS - FAINT_DBFS

NEIGHBOUR_FRAMES = 16
"""The level of a frame is that of the 0.5 s on both sides, so that gaps between words are not louder than the words."""

LOUDEST_FRAMES = 4
"""The level is exceeded by three frames at most, about 0.1 s: a click among quiet words changes nothing."""

MIN_STRETCH_FRAMES = 16
"""Shorter stretches, below 0.5 s, are gaps in what is loud."""

CROSS_TALK_DB = 20
"""Where another channel is louder by this much within the 0.5 s, the sound may be that channel's, and is not heard again."""

MAX_HEARD_SHARE = 0.5
"""Speech of which the first hearing has heard this share is not new, only a little longer."""

MIN_NEW_S = 1.5
"""What is heard anew in a minute counts from this many seconds on. In 281 recordings of 3,200 s, less than 1 s was so heard in each
of three meetings, where nobody spoke, and nothing in the others."""


@dataclass(frozen=True, slots=True)
class QuietSpeech:
    """What the second hearing of a window found.

    Attributes:
        probabilities: Of speech in the stretches where something new was heard, the higher of both hearings; 0 elsewhere. (frames,)
            float32.
        gains_db: (frames,) float32: what was added to each frame; 0 outside these stretches.
        is_amplified: (frames,) bool: whether a frame is in one of them.
        spans: What was heard anew, seconds from the start of the window.
    """

    probabilities: npt.NDArray[np.float32]
    gains_db: npt.NDArray[np.float32]
    is_amplified: npt.NDArray[np.bool_]
    spans: tuple[Span, ...]


def hear_quiet_speech(
    window: npt.NDArray[np.float32],
    channel: int,
    probabilities: npt.NDArray[np.float32],
    hear: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    options: VadOptions,
) -> QuietSpeech | None:
    """Hear the quiet stretches of one channel of a window again; None where that brings nothing new.

    Args:
        window: (channels, n) float32 at 16 kHz, full scale 1.
        channel: Its number.
        probabilities: Of the first hearing of the channel, (ceil(n / 512),) float32.
        hear: Makes probabilities of samples, beginning anew with each call.
        options: What counts as speech.
    """
    samples = window[channel]
    if not len(samples):
        return None
    levels = _measure_levels(samples)
    is_quiet = levels < QUIET_DBFS
    if not is_quiet.any():
        return None
    for other, other_samples in enumerate(window):
        if other != channel:
            is_quiet &= _measure_levels(other_samples) < levels + CROSS_TALK_DB
    heard, gains_db = np.zeros(len(levels), np.float32), np.zeros(len(levels), np.float32)
    is_amplified = np.zeros(len(levels), dtype=bool)
    spans: list[Span] = []
    for first, end in _find_stretches(levels, is_quiet):
        gain_db = np.clip(TARGET_DBFS - levels[first:end], 0, MAX_GAIN_DB).astype(np.float32)
        part = samples[first * VAD_FRAME_SAMPLES : end * VAD_FRAME_SAMPLES]
        again = hear(amplify(part, gain_db, 0))
        new = [
            (first * VAD_FRAME_S + start, first * VAD_FRAME_S + stop)
            for start, stop in _find_runs(again, options)
            if (probabilities[first + _to_frame(start) : first + _to_frame(stop)] >= options.threshold).mean()
            < MAX_HEARD_SHARE
        ]
        if new:
            heard[first:end] = np.maximum(probabilities[first:end], again)
            gains_db[first:end] = gain_db
            is_amplified[first:end] = True
            spans += new
    if sum(stop - start for start, stop in spans) < MIN_NEW_S:
        return None
    return QuietSpeech(heard, gains_db, is_amplified, tuple(spans))


def amplify(samples: npt.NDArray[np.float32], gains_db: npt.NDArray[np.float32], start: int) -> npt.NDArray[np.float32]:
    """Amplify samples by the gains of their frames, which fade into each other. What exceeds full scale is clipped.

    Args:
        samples: (n,) float32, full scale 1.
        gains_db: (frames,) float32, 512 samples each.
        start: The number of the first sample, counted from the first frame.
    """
    positions = np.arange(start, start + len(samples)) / VAD_FRAME_SAMPLES - 0.5
    decibels = np.interp(positions, np.arange(len(gains_db)), gains_db)
    louder: npt.NDArray[np.float32] = np.clip(samples * 10 ** (decibels / 20), -1, 1).astype(np.float32)
    return louder


def subtract_spans(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """What of some spans lies outside others; both are sorted and do not overlap among themselves."""
    left: list[Span] = []
    for start, end in spans:
        near = [span for span in taken if span[1] > start and span[0] < end]
        bounds = [start, *(bound for span in near for bound in span), end]
        left += [(begin, stop) for begin, stop in zip(bounds[::2], bounds[1::2], strict=True) if begin < stop]
    return left


def _measure_levels(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Level around each frame, dBFS: float64 (frames,)."""
    padded = np.pad(samples, (0, -len(samples) % VAD_FRAME_SAMPLES)).reshape(-1, VAD_FRAME_SAMPLES)
    frames = padded - padded.mean(axis=1, keepdims=True)
    decibels = 10 * np.log10(np.maximum(np.einsum("fs,fs->f", frames, frames) / VAD_FRAME_SAMPLES, 1e-12))
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(decibels, NEIGHBOUR_FRAMES, mode="edge"), 2 * NEIGHBOUR_FRAMES + 1
    )
    level: npt.NDArray[np.float64] = np.partition(around, -LOUDEST_FRAMES, axis=1)[:, -LOUDEST_FRAMES].astype(
        np.float64
    )
    return level


def _find_stretches(levels: npt.NDArray[np.float64], is_quiet: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First frame and end of each quiet stretch that is long enough, and not wholly faint."""
    between = np.concatenate(([False], is_quiet, [False]))
    edges = np.flatnonzero(between[1:] != between[:-1])
    return [
        (int(first), int(end))
        for first, end in zip(edges[::2], edges[1::2], strict=True)
        if end - first >= MIN_STRETCH_FRAMES and levels[first:end].max() >= FAINT_DBFS
    ]


def _find_runs(probabilities: npt.NDArray[np.float32], options: VadOptions) -> list[Span]:
    return get_speech_spans(probabilities, len(probabilities) * VAD_FRAME_S, replace(options, speech_pad_s=0.0))


def _to_frame(seconds: float) -> int:
    return round(seconds / VAD_FRAME_S)
