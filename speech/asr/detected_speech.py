"""Where speech was heard in a recording, and how sure the detector is of it. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from speech.asr.chunks import Chunk, plan_chunks
from speech.asr.vad import VAD_FRAME_S, Span, measure_union_s, merge_spans
from speech.audio.level import QUIET_DBFS
from speech.transcript import SpeechSpan

_VOICED_PROBABILITY = 0.5  # the detector's authors' threshold

_WIDEN_S = 1.0
"""Speech without text is decoded from the pause before it on and up to the pause behind it, if they are as near as this."""

_SURE_PROBABILITY = 0.65
_SURE_FRAMES = 3
"""The detector is sure of speech where it gives at least this probability in so many frames (0.1 s, the shortest speech that
counts). Of 200 generated clips without speech (``benchmarks.lab.nonspeech``) the third highest frame has 0.49 at most. Of 15 short
answers, each said alone by seven voices of eSpeak NG, and of 38 short words cut from people's sentences it has 0.79 at least. The
bound keeps the same distance from both, since other processors round otherwise (measured on an AMD EPYC)."""


@dataclass(frozen=True, slots=True)
class DetectedSpeech:
    """Detected speech of a recording.

    Attributes:
        duration_s: Length of the recording, seconds.
        spans: For each channel, sorted (start, end) in seconds, with the detector's padding.
        probabilities: For each channel, (frames,) float32, 32 ms a frame.
        gains_db: For each channel, what is added to each frame before it is decoded; None where nothing is.
        quiet_spans: What was heard only with that, sorted (start, end) in seconds, of all channels.
    """

    duration_s: float
    spans: tuple[tuple[Span, ...], ...]
    probabilities: tuple[npt.NDArray[np.float32], ...]
    gains_db: tuple[npt.NDArray[np.float32] | None, ...] = ()
    quiet_spans: tuple[Span, ...] = ()

    @property
    def flags(self) -> dict[str, str]:
        """What the recording is to be flagged with: flag -> reason."""
        if not self.quiet_spans:
            return {}
        first_s = int(self.quiet_spans[0][0])
        return {
            "quiet_speech": f"About {measure_union_s(self.quiet_spans):.0f} s of speech lie below {QUIET_DBFS} dBFS, first at "
            f"{first_s // 60}:{first_s % 60:02d}. They were amplified before they were transcribed. Listen there: words may be "
            "missing or wrong. Bring the microphone nearer, or adjust its gain."
        }

    @property
    def speech_spans(self) -> tuple[SpeechSpan, ...]:
        """Those of all channels, by time, as a transcript has them."""
        everything = [(*span, channel) for channel, spans in enumerate(self.spans) for span in merge_spans(spans)]
        return tuple(SpeechSpan(start=round(s, 3), end=round(e, 3), channel=c) for s, e, c in sorted(everything))

    def cut_chunks(self, max_s: float) -> tuple[Chunk, ...]:
        """Chunks of at most so many seconds, of all channels, by time."""
        chunks = [
            chunk
            for channel, (spans, probabilities) in enumerate(zip(self.spans, self.probabilities, strict=True))
            for chunk in plan_chunks(spans, probabilities, channel, max_s=max_s)
        ]
        return tuple(sorted(chunks, key=lambda chunk: (chunk.pieces[0][0], chunk.channel)))

    def measure_s(self, chunk: Chunk, start: float, end: float) -> float:
        """Seconds of detected speech of a chunk between two moments of the recording."""
        spans = self.spans[chunk.channel]
        # A long recording has thousands of spans, in order and apart from each other.
        near = spans[bisect_right(spans, start, key=itemgetter(1)) : bisect_left(spans, end, key=itemgetter(0))]
        return sum(
            max(0.0, min(piece_end, span_end, end) - max(piece_start, span_start, start))
            for piece_start, piece_end in chunk.pieces
            for span_start, span_end in near
        )

    def measure_voiced_s(self, channel: int, start: float, end: float) -> float:
        """Seconds between two moments of the recording that the detector itself calls speech, without its padding."""
        frames = self.probabilities[channel][math.ceil(start / VAD_FRAME_S) : int(end / VAD_FRAME_S)]
        return float((frames >= _VOICED_PROBABILITY).sum()) * VAD_FRAME_S

    def widen(self, chunk: Chunk, span: Span) -> Chunk:
        """The part of a chunk with a span of the recording and, where a pause is near, all that is said up to it."""
        start, end = span
        for span_start, span_end in self.spans[chunk.channel]:
            if span_start <= start < span_end and start - span_start <= _WIDEN_S:
                start = span_start
            if span_start < end <= span_end and span_end - end <= _WIDEN_S:
                end = span_end
        return chunk.take_between(start, end)

    def is_sure(self, channel: int, start: float, end: float) -> bool:
        """Whether the detector is sure that somebody speaks between two moments of the recording."""
        frames = self.probabilities[channel][int(start / VAD_FRAME_S) : math.ceil(end / VAD_FRAME_S)]
        return int((frames >= _SURE_PROBABILITY).sum()) >= _SURE_FRAMES
