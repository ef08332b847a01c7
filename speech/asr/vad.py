"""Finds speech: the voice-activity detector, window by window, and the options that turn its probabilities into spans.

The detector is Silero VAD version 6 (MIT). Its weights are pinned in the catalogue, and faster-whisper ships them. Audio that it
marks as silence is never given to the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speech.audio.normalize import SAMPLE_RATE
from speech.models.registry import get_default_cache_dir, resolve

VAD_MODEL = "silero-vad-v6"
"""Name of the detector's weights in the catalogue."""

VAD_FRAME_SAMPLES = 512  # samples per probability: what Silero v6 was trained on at 16 kHz
VAD_FRAME_S = VAD_FRAME_SAMPLES / SAMPLE_RATE
_CONTEXT_SAMPLES = 64  # samples of the previous frame, which the model needs before each frame
_STATE_SIZE = 128  # size of the LSTM state


@dataclass(frozen=True, slots=True)
class VadOptions:
    """Which runs of probabilities count as speech.

    Attributes:
        threshold: Speech begins at a probability of at least this (0.5: the detector's authors' default).
        neg_threshold: Speech ends when the probability falls below this (authors' default: threshold - 0.15).
        min_silence_s: Shorter silences do not end speech (160 ms: faster-whisper's choice for batched decoding).
        min_speech_s: Shorter speech is dropped as a click (three frames).
        speech_pad_s: Seconds added before and after speech, because soft consonants are below the threshold (faster-whisper:
            400 ms).
    """

    threshold: float = 0.5
    neg_threshold: float = 0.35
    min_silence_s: float = 0.160
    min_speech_s: float = 0.096
    speech_pad_s: float = 0.4


Span = tuple[float, float]
"""Start and end, in seconds from the start of the recording."""


class VoiceActivityDetector:
    """Detects speech in one channel. Pass consecutive windows in order; the detector keeps its state between calls."""

    def __init__(self, model: Path | None = None) -> None:
        """Load the detector, once in a process.

        Args:
            model: Its checked ONNX file; None: found as ``speech.models.registry.resolve`` does without a model directory, which
                begins with the file that faster-whisper has installed.

        Raises:
            WeightsError: No file was given, and none with the right bytes could be had.
        """
        self._session = _load_session(model)
        # The model's LSTM state after the previous window, and the last samples of that window.
        self._hidden = np.zeros((1, 1, _STATE_SIZE), np.float32)
        self._cell = np.zeros((1, 1, _STATE_SIZE), np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)

    def probabilities(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Speech probability of each frame of 512 samples (32 ms): float32 of shape (ceil(n / 512),).

        Args:
            samples: (n,) float32, one channel at 16 kHz, full scale 1. Every window but the last must have a multiple of 512
                samples; the last one is padded with zeros.
        """
        padded = np.pad(samples, (0, -len(samples) % VAD_FRAME_SAMPLES))
        if not len(padded):
            return np.zeros(0, np.float32)
        stream = np.concatenate([self._context, padded])
        self._context = stream[-_CONTEXT_SAMPLES:]
        frames = np.lib.stride_tricks.sliding_window_view(stream, VAD_FRAME_SAMPLES + _CONTEXT_SAMPLES)[
            ::VAD_FRAME_SAMPLES
        ]
        feed = {"input": np.ascontiguousarray(frames), "h": self._hidden, "c": self._cell}
        probabilities, self._hidden, self._cell = self._session.run(None, feed)
        return np.asarray(probabilities, np.float32).reshape(-1)


@cache
def _load_session(model: Path | None) -> Any:
    from faster_whisper.vad import SileroVADModel

    if model is None:
        return _load_session(resolve(VAD_MODEL, kind="vad", model_dir=None, cache_dir=get_default_cache_dir()).file)
    return SileroVADModel(str(model)).session


def get_speech_spans(probabilities: npt.NDArray[np.float32], seconds: float, options: VadOptions) -> list[Span]:
    """Spans of speech in seconds, with their padding: sorted, not overlapping, inside the recording.

    Args:
        probabilities: (frames,) float32, 0 to 1; frame i covers i * 0.032 s to (i + 1) * 0.032 s.
        seconds: Length of the recording, in seconds.
        options: See ``VadOptions``.
    """
    min_silence, min_speech = _count_frames(options.min_silence_s), _count_frames(options.min_speech_s)
    runs: list[tuple[int, int]] = []
    start: int | None = None
    silent_since: int | None = None
    for frame, probability in enumerate(probabilities.tolist()):
        if start is None:
            if probability >= options.threshold:
                start, silent_since = frame, None
        elif probability >= options.threshold:
            silent_since = None
        elif probability < options.neg_threshold or silent_since is not None:
            silent_since = frame if silent_since is None else silent_since
            if frame + 1 - silent_since >= min_silence:
                runs.append((start, silent_since))
                start = silent_since = None
    if start is not None:
        runs.append((start, len(probabilities)))
    spans = [
        (first_frame * VAD_FRAME_S, min(end_frame * VAD_FRAME_S, seconds))
        for first_frame, end_frame in runs
        if end_frame - first_frame >= min_speech
    ]
    return _pad_spans(spans, seconds, options.speech_pad_s)


def _count_frames(seconds: float) -> int:
    """Frames in at least this many seconds, rounded up, so that floating-point rounding has no effect on comparisons."""
    return math.ceil(seconds / VAD_FRAME_S - 1e-9)


def _pad_spans(spans: Sequence[Span], seconds: float, pad_s: float) -> list[Span]:
    """Widen each span by the padding; where the padding of two spans would overlap, both end in the middle of the gap."""
    middles = [(earlier[1] + later[0]) / 2 for earlier, later in pairwise(spans)]
    starts = [0.0, *middles]
    ends = [*middles, seconds]
    return [
        (max(start - pad_s, earliest), min(end + pad_s, latest))
        for (start, end), earliest, latest in zip(spans, starts, ends, strict=False)
    ]


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Merge spans that touch or overlap, such as those of several channels; the result is sorted and does not overlap."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def measure_union_s(spans: Iterable[Span]) -> float:
    """Length, in seconds, of the union of spans that may overlap."""
    return sum(end - start for start, end in merge_spans(spans))
