"""Where speech was heard in a recording, and how sure the detector is of it."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speech.asr.chunks import GLUE_S, Chunk, plan_chunks
from speech.asr.quiet_speech import QuietSpeech, amplify, hear_quiet_speech, subtract_spans
from speech.asr.vad import (
    VAD_FRAME_S,
    VAD_FRAME_SAMPLES,
    Span,
    VadOptions,
    VoiceActivityDetector,
    get_speech_spans,
    measure_union_s,
    merge_spans,
)
from speech.audio.level import QUIET_DBFS
from speech.audio.wav import SAMPLE_RATE, WavReader
from speech.transcript import SpeechSpan

_VOICED_PROBABILITY = 0.5  # the detector's authors' threshold

_SURE_PROBABILITY = 0.65
_SURE_FRAMES = 3
"""The detector is sure of speech where it gives at least this probability in so many frames (0.1 s, the shortest speech that
counts). Of 200 generated clips without speech (``benchmarks.lab.nonspeech``) the third highest frame has 0.49 at most. Of 15 short
answers, each said alone by seven voices of eSpeak NG, and of 38 short words cut from people's sentences it has 0.79 at least. The
bound keeps the same distance from both, since other processors round otherwise (measured on an AMD EPYC)."""


_VAD_WINDOW_FRAMES = 60 * SAMPLE_RATE // VAD_FRAME_SAMPLES  # the detector reads one minute at a time: 4 MB a channel


@dataclass(frozen=True, slots=True)
class DetectedSpeech:
    """Detected speech of a recording.

    Attributes:
        duration_s: Length of the recording, seconds.
        spans: For each channel, sorted (start, end) in seconds, with the detector's padding.
        probabilities: For each channel, (frames,) float32, 32 ms a frame.
        gains_db: For each channel, what is added to each frame of quiet speech before it is decoded.
        quiet_spans: For each channel, those of ``spans`` that were heard only with these gains.
        new_spans: What was heard only with them, without padding, of all channels.
    """

    duration_s: float
    spans: tuple[tuple[Span, ...], ...]
    probabilities: tuple[npt.NDArray[np.float32], ...]
    gains_db: tuple[npt.NDArray[np.float32], ...]
    quiet_spans: tuple[tuple[Span, ...], ...]
    new_spans: tuple[Span, ...]

    @property
    def flags(self) -> dict[str, str]:
        """What the recording is to be flagged with: flag -> reason."""
        if not self.new_spans:
            return {}
        first_s = int(min(self.new_spans)[0])
        return {
            "quiet_speech": f"About {measure_union_s(self.new_spans):.0f} s of speech lie below {QUIET_DBFS} dBFS, first at "
            f"{first_s // 60}:{first_s % 60:02d}. They were amplified before they were transcribed. Listen there: words may be "
            "missing or wrong. Bring the microphone nearer, or adjust its gain."
        }

    @property
    def speech_spans(self) -> tuple[SpeechSpan, ...]:
        """Those of all channels, by time, as a transcript has them."""
        everything = [(*span, channel) for channel, spans in enumerate(self.spans) for span in merge_spans(spans)]
        return tuple(SpeechSpan(start=round(s, 3), end=round(e, 3), channel=c) for s, e, c in sorted(everything))

    def cut_chunks(self, max_s: float) -> tuple[Chunk, ...]:
        """All chunks, by time. Quiet speech is in chunks of its own."""
        chunks = [
            chunk
            for channel, (spans, quiet, probabilities) in enumerate(
                zip(self.spans, self.quiet_spans, self.probabilities, strict=True)
            )
            for part in (sorted(set(spans) - set(quiet)), quiet)
            for chunk in plan_chunks(part, probabilities, channel, max_s=max_s)
        ]
        return tuple(sorted(chunks, key=lambda chunk: (chunk.pieces[0][0], chunk.channel)))

    def is_quiet(self, chunk: Chunk) -> bool:
        """Whether a chunk holds what was heard only with a gain."""
        begin = chunk.pieces[0][0]
        return any(start <= begin < end for start, end in self.quiet_spans[chunk.channel])

    def read_chunk(self, path: Path, chunk: Chunk) -> npt.NDArray[np.float32]:
        """Read a chunk's audio, with silence between its pieces; quiet speech is amplified.

        Returns float32 of shape (n,) at 16 kHz, n = ``count_samples(chunk)``. Each call opens the file, because a reader has only
        one position.
        """
        glue = np.zeros(round(GLUE_S * SAMPLE_RATE), np.float32)
        parts: list[npt.NDArray[np.float32]] = []
        is_quiet = self.is_quiet(chunk)
        with WavReader(path) as wav:
            for start, end in chunk.pieces:
                start_frame = round(start * SAMPLE_RATE)
                samples = wav.read(start_frame, round(end * SAMPLE_RATE) - start_frame)[chunk.channel]
                parts += [
                    amplify(samples, self.gains_db[chunk.channel], start_frame) if is_quiet else samples,
                    glue,
                ]
        return np.concatenate(parts[:-1])

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

    def measure_spans_s(self, channel: int, spans: Iterable[Span]) -> float:
        """Seconds of detected speech of a channel in spans of the recording, which may overlap."""
        joined = merge_spans(spans)
        return sum(self.measure_s(Chunk(channel, ((start, end),)), start, end) for start, end in joined)

    def measure_voiced_s(self, chunk: Chunk, start: float, end: float) -> float:
        """Seconds of a chunk between two moments of the recording that the detector calls speech, without its padding."""
        pieces = ((max(piece_start, start), min(piece_end, end)) for piece_start, piece_end in chunk.pieces)
        frames = [
            self.probabilities[chunk.channel][math.ceil(piece_start / VAD_FRAME_S) : int(piece_end / VAD_FRAME_S)]
            for piece_start, piece_end in pieces
            if piece_end > piece_start
        ]
        return sum(float((part >= _VOICED_PROBABILITY).sum()) for part in frames) * VAD_FRAME_S

    def widen(self, chunk: Chunk, span: Span, side_s: float) -> Chunk:
        """The part of a chunk with a span of the recording and all that is said up to a pause that is at most so near."""
        start, end = span
        for span_start, span_end in self.spans[chunk.channel]:
            if span_start <= start < span_end and start - span_start <= side_s:
                start = span_start
            if span_start < end <= span_end and span_end - end <= side_s:
                end = span_end
        return chunk.take_between(start, end)

    def is_sure(self, channel: int, start: float, end: float) -> bool:
        """Whether the detector is sure that somebody speaks between two moments of the recording."""
        frames = self.probabilities[channel][int(start / VAD_FRAME_S) : math.ceil(end / VAD_FRAME_S)]
        return int((frames >= _SURE_PROBABILITY).sum()) >= _SURE_FRAMES


def detect_speech(
    wav: WavReader,
    model: Path | None,
    options: VadOptions,
    slot: AbstractContextManager[object],
    report: Callable[[float], None],
) -> DetectedSpeech:
    """Detect speech in windows of (channels, 60 s * 16,000) float32 at 16 kHz, and hear what is quiet in them a second time.

    Each window is computed while ``slot`` is held, so that other calls get their turn in between.
    """
    detectors = [VoiceActivityDetector(model) for _ in range(wav.channels)]
    collected = [_Hearing() for _ in detectors]

    def hear(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return VoiceActivityDetector(model).probabilities(samples)

    for start in range(0, wav.frames, _VAD_WINDOW_FRAMES * VAD_FRAME_SAMPLES):
        window = wav.read(start, _VAD_WINDOW_FRAMES * VAD_FRAME_SAMPLES)
        for channel, detector in enumerate(detectors):
            with slot:
                probabilities = detector.probabilities(window[channel])
                quiet = hear_quiet_speech(window, channel, probabilities, hear, options)
            collected[channel].add(probabilities, quiet, start / SAMPLE_RATE)
        report(0.0)
    plain = [get_speech_spans(_join(hearing.plain), wav.duration_s, options) for hearing in collected]
    quiet_spans = [
        subtract_spans(get_speech_spans(_join(hearing.quiet), wav.duration_s, options), spans)
        if hearing.new_spans
        else []
        for hearing, spans in zip(collected, plain, strict=True)
    ]
    return DetectedSpeech(
        wav.duration_s,
        spans=tuple(tuple(sorted(spans + quiet)) for spans, quiet in zip(plain, quiet_spans, strict=True)),
        probabilities=tuple(hearing.join_probabilities() for hearing in collected),
        gains_db=tuple(_join(hearing.gains_db if hearing.new_spans else []) for hearing in collected),
        quiet_spans=tuple(tuple(quiet) for quiet in quiet_spans),
        new_spans=tuple(span for hearing in collected for span in hearing.new_spans),
    )


@dataclass(slots=True)
class _Hearing:
    """What was heard in one channel so far, window by window: probabilities of speech and gains, float32 (frames,) each."""

    plain: list[npt.NDArray[np.float32]] = field(default_factory=list)
    quiet: list[npt.NDArray[np.float32]] = field(default_factory=list)
    gains_db: list[npt.NDArray[np.float32]] = field(default_factory=list)
    new_spans: list[Span] = field(default_factory=list)

    def add(self, probabilities: npt.NDArray[np.float32], quiet: QuietSpeech | None, start_s: float) -> None:
        """Add a window. A frame counts as quiet or as plain, never as both."""
        if quiet is None:
            nothing = np.broadcast_to(np.float32(0), probabilities.shape)  # takes no memory
            self.plain.append(probabilities)
            self.quiet.append(nothing)
            self.gains_db.append(nothing)
            return
        self.plain.append(np.where(quiet.is_amplified, np.float32(0), probabilities))
        self.quiet.append(quiet.probabilities)
        self.gains_db.append(quiet.gains_db)
        self.new_spans += [(start_s + start, start_s + end) for start, end in quiet.spans]

    def join_probabilities(self) -> npt.NDArray[np.float32]:
        """Of plain and of quiet speech."""
        plain = _join(self.plain)
        return np.maximum(plain, _join(self.quiet)) if self.new_spans else plain


def _join(parts: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
