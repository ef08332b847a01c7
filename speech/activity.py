"""Where speech is: the voice-activity detector, window by window, and the rules that turn its probabilities into spans.

The detector is Silero VAD version 6 (MIT), as faster-whisper ships it. What it calls silence never reaches the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from speech.audio import SAMPLE_RATE

FRAME = 512  # samples a probability stands for: what Silero v6 was trained on at 16 kHz
FRAME_S = FRAME / SAMPLE_RATE
_CONTEXT = 64  # samples of the frame before, which the detector wants in front of each frame
_STATE = 128  # width of its recurrent state


@dataclass(frozen=True, slots=True)
class ActivityRules:
    """When a run of probabilities is speech.

    Attributes:
        threshold: Speech begins at or above it (0.5: the detector's authors' default).
        release: Speech goes on until a frame falls below it (authors' default: threshold - 0.15).
        min_silence_s: Shorter silences do not end speech (160 ms: faster-whisper's choice for batched decoding).
        min_speech_s: Shorter bursts are clicks, not words (three frames).
        pad_s: Kept before and after speech, because soft consonants fall below the threshold (faster-whisper: 400 ms).
    """

    threshold: float = 0.5
    release: float = 0.35
    min_silence_s: float = 0.160
    min_speech_s: float = 0.096
    pad_s: float = 0.4


Span = tuple[float, float]
"""Start and end of a stretch, in seconds from the start of the recording."""


class ActivityDetector:
    """Hears one channel as a stream: feed it windows in order, and it remembers what it needs of the past."""

    def __init__(self) -> None:
        self._session = _session()
        self._hidden = np.zeros((1, 1, _STATE), np.float32)
        self._cell = np.zeros((1, 1, _STATE), np.float32)
        self._past = np.zeros(_CONTEXT, np.float32)

    def hear(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Speech probability of each frame of 512 samples.

        Args:
            samples: One channel, 16 kHz; only a stream's last window may be no multiple of 512, it is padded with silence.
        """
        padded = np.pad(samples, (0, -len(samples) % FRAME))
        if not len(padded):
            return np.zeros(0, np.float32)
        stream = np.concatenate([self._past, padded])
        self._past = stream[-_CONTEXT:]
        frames = np.lib.stride_tricks.sliding_window_view(stream, FRAME + _CONTEXT)[::FRAME]
        feed = {"input": np.ascontiguousarray(frames), "h": self._hidden, "c": self._cell}
        probabilities, self._hidden, self._cell = self._session.run(None, feed)
        return np.asarray(probabilities, np.float32).reshape(-1)


@lru_cache(maxsize=1)
def _session() -> Any:
    from faster_whisper.vad import get_vad_model

    return get_vad_model().session


def speech_spans(probabilities: npt.NDArray[np.float32], seconds: float, rules: ActivityRules) -> list[Span]:
    """Spans of speech, in order, apart from each other, inside the recording, with their padding.

    Args:
        probabilities: One per frame of 512 samples.
        seconds: Length of the recording.
        rules: See ``ActivityRules``.
    """
    min_silence, min_speech = _frames(rules.min_silence_s), _frames(rules.min_speech_s)
    runs: list[tuple[int, int]] = []
    start: int | None = None
    silent_since: int | None = None
    for frame, probability in enumerate(probabilities.tolist()):
        if start is None:
            if probability >= rules.threshold:
                start, silent_since = frame, None
        elif probability >= rules.threshold:
            silent_since = None
        elif probability < rules.release or silent_since is not None:
            silent_since = frame if silent_since is None else silent_since
            if frame + 1 - silent_since >= min_silence:
                runs.append((start, silent_since))
                start = silent_since = None
    if start is not None:
        runs.append((start, len(probabilities)))
    spoken = [
        (first * FRAME_S, min(behind * FRAME_S, seconds)) for first, behind in runs if behind - first >= min_speech
    ]
    return _padded(spoken, seconds, rules.pad_s)


def _frames(seconds: float) -> int:
    """Whole frames that make up at least so many seconds; counting in frames, no rounding decides what is kept."""
    return math.ceil(seconds / FRAME_S - 1e-9)


def _padded(spans: Sequence[Span], seconds: float, pad_s: float) -> list[Span]:
    """Widen each span by the padding; neighbours nearer to each other than that meet in the middle."""
    middles = [(left[1] + right[0]) / 2 for left, right in pairwise(spans)]
    starts = [0.0, *middles]
    ends = [*middles, seconds]
    return [
        (max(start - pad_s, earliest), min(end + pad_s, latest))
        for (start, end), earliest, latest in zip(spans, starts, ends, strict=False)
    ]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The union of spans that may touch or overlap, such as those of several channels, as spans apart from each other."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def union_seconds(spans: Iterable[Span]) -> float:
    """Length of the union of spans that may overlap."""
    return sum(end - start for start, end in joined(spans))
